/* Strings of slightly wrong JSON, and of Python. Part of repair_json. Pure. [any-thread] */
#ifndef AGENT_REPAIR_STRING_H
#define AGENT_REPAIR_STRING_H

#include "agent/shapes.h"
#include "base/buf.h"

/* Appends the string that starts with a quote at *at as a JSON string, and moves behind it. A JSON string is
 * copied byte for byte. -EINVAL with *what (static; a few words), *at where it went wrong; -ENOBUFS,
 * -ENOMEM. */
HX_MUST_CHECK int repair_string(const char *text, size_t len, size_t *at, struct buf *out,
                                struct shapes_set *repaired, const char **what);

#endif
