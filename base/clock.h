/* Time. Durations come from the monotonic clock, dates from the wall clock; the two are never mixed.
 * [any-thread] */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_ns(void);
/* Nanoseconds since 1970-01-01T00:00:00Z. */
int64_t clock_wall_ns(void);

#define CLOCK_TEXT_SIZE 25
/* RFC 3339 in UTC with milliseconds, "2026-11-23T05:00:00.123Z". */
void clock_format(int64_t wall_ns, char text[CLOCK_TEXT_SIZE]);

#endif
