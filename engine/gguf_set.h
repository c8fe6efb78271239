/* The GGUF files of one model: one, or the parts that llama.cpp's gguf-split makes of it
 * (NAME-00001-of-00003.gguf, …; keys split.no, split.count and split.tensors.count). The first part has the
 * values of the model and is the one to open. Private to engine/. */
#ifndef ENGINE_GGUF_SET_H
#define ENGINE_GGUF_SET_H

#include "engine/gguf.h"

#define GGUF_SET_MAX 256

struct gguf_set {
    struct gguf *parts[GGUF_SET_MAX]; /* owned; [0] has the values */
    int n;
};

/* Opens `path` and, when it is the first part of several, all others beside it. As gguf_open(); -EINVAL also
 * for a part that is not the first, that is missing, that says other numbers than its name or than the first,
 * for tensors that are too few or too many, or in two parts. */
HX_MUST_CHECK int gguf_set_open(const char *path, struct gguf_set **out, char *err, size_t errlen);
void gguf_set_close(struct gguf_set *s);

/* NULL when absent. *in (where not NULL) is the part that has it. */
const struct gguf_tensor *gguf_set_find_tensor(const struct gguf_set *s, const char *name,
                                               const struct gguf **in);

#endif
