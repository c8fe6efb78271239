/* Between the parts of repair: one call out of one JSON object, or out of <function=…>. Pure. [any-thread] */
#ifndef AGENT_REPAIR_INNER_H
#define AGENT_REPAIR_INNER_H

#include "agent/rawjson.h"
#include "agent/repair.h"
#include "base/buf.h"

#define REPAIR_BYTES_MAX (2u * 1024 * 1024) /* an escaped byte may have six */

/* Adds an empty call; NULL when memory is out. */
struct repair_call *repair_add(struct repair_calls *calls);
/* Gives the call this error, once. 0, -ENOMEM. */
HX_MUST_CHECK int repair_refuse(struct repair_call *call, const char *fmt, ...) HX_PRINTF(2, 3);

/* ---- repair_call.c ---- */

/* Fills the call from a JSON value that json_check() accepts. What is wrong becomes its error. -ENOMEM. */
HX_MUST_CHECK int repair_call_read(struct rawjson value, const struct repair_tools *tools,
                                   struct repair_call *call);
/* The tool that is called so, or the only one whose name is a variant of it (noted in *repaired); NULL. */
const struct agent_tool *repair_tool(const struct repair_tools *tools, const char *name,
                                     struct shapes_set *repaired);

/* ---- repair_markup.c ---- */

bool repair_markup_is(const char *text, size_t len);
/* Adds a call for each <function=N>…</function>; a text that is something else becomes one with an error.
 * -ENOMEM. */
HX_MUST_CHECK int repair_markup_read(const char *text, size_t len, const struct repair_tools *tools,
                                     struct repair_calls *calls);

/* ---- repair_coerce.c ---- */

/* Appends `value` with texts replaced by the numbers and truth values they spell, where the schema's type is
 * one of those alone. *changed when there were any. 0, -ENOBUFS, -ENOMEM. */
HX_MUST_CHECK int repair_coerce(struct rawjson value, struct rawjson schema, struct buf *out, bool *changed);
/* The schema of a property, the tool's own when it has one; {NULL, 0} for none. */
struct rawjson repair_property(struct rawjson schema, const char *key);

#endif
