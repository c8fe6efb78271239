/* Dates and times as RFC 3339 writes them. The text is NUL-terminated. [any-thread] */
#ifndef TOOLS_FORMAT_TIME_H
#define TOOLS_FORMAT_TIME_H

#include <stdbool.h>
#include <stddef.h>

bool format_is_date(const char *text, size_t len);
bool format_is_time(const char *text, size_t len);
bool format_is_date_time(const char *text, size_t len);
bool format_is_duration(const char *text, size_t len);

#endif
