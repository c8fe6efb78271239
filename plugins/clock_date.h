/* Civil dates of the proleptic Gregorian calendar, years 1 to 9999. [any-thread] */
#ifndef PLUGINS_CLOCK_DATE_H
#define PLUGINS_CLOCK_DATE_H

#include <stdint.h>
#include <stddef.h>

#define CLOCK_DAY_MIN (-719162L) /* 0001-01-01, counted from 1970-01-01 */
#define CLOCK_DAY_MAX 2932896L   /* 9999-12-31 */

/* Strict YYYY-MM-DD to days since 1970-01-01: 0, or -EINVAL with one sentence for the model. */
int clock_parse_date(const char *text, long *day, char *err, size_t errlen);
/* `out` has room for 11 bytes; day within the bounds above. */
void clock_format_date(long day, char *out);
/* "Monday" … "Sunday". */
const char *clock_weekday(long day);
/* "+02:00", "-05:30", "Z" or "UTC" to seconds: 0, or -EINVAL with one sentence. Within 18 hours, as ISO 8601
 * users have it. */
int clock_parse_offset(const char *text, long *seconds, char *err, size_t errlen);
/* `out` has room for 7 bytes. */
void clock_format_offset(long seconds, char *out);

#endif
