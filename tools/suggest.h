/* "Did you mean": the known name closest to a wrong one. [any-thread] */
#ifndef TOOLS_SUGGEST_H
#define TOOLS_SUGGEST_H

#include <stddef.h>

/* Looks at the names that `name_at(arg, i)` gives for i < count. NULL when none is close: more than a third
 * of the letters differ (case and the difference between _ and - count nothing), or a name is longer than 64
 * bytes. Borrowed from name_at. */
const char *suggest_name(const char *wrong, size_t count, const char *(*name_at)(const void *arg, size_t i),
                         const void *arg);

#endif
