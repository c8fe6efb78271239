/* What the JSON of a call says: a name and arguments. Pure. [any-thread] */
#ifndef AGENT_TOOLCALL_H
#define AGENT_TOOLCALL_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct toolcall {
    char *name;      /* "" when the call has none */
    char *arguments; /* JSON text of an object, as the model wrote it; "{}" when the call has none */
};

/* Reads {"name": …, "arguments": {…}}, keys in any order; only keys of the outer object count. -EINVAL with a
 * sentence for the model: then `out` holds a name where there was one, for the answer, and no arguments.
 * -ENOMEM. The caller ends `out` in every case. */
HX_MUST_CHECK int toolcall_read(const char *json, size_t len, struct toolcall *out, char *err, size_t errlen);
void toolcall_finish(struct toolcall *call);

/* *signature is equal for equal names and equal arguments, whatever the spacing, the order of keys and
 * the spelling of numbers. `arguments` may be text that is not JSON. -ENOMEM. */
HX_MUST_CHECK int toolcall_signature(const char *name, const char *arguments, size_t len,
                                     uint64_t *signature);

#endif
