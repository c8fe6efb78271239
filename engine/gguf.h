/* GGUF files (ggml/docs/gguf.md, versions 2 and 3), mapped and checked. Private to engine/. */
#ifndef ENGINE_GGUF_H
#define ENGINE_GGUF_H

#include "base/err.h"
#include "kernels/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPE_COUNT
};

/* Bytes of the file, not NUL-terminated. */
struct gguf_text {
    const char *data;
    size_t len;
};

struct gguf_value {
    struct gguf_text key;
    enum gguf_type type;
    enum gguf_type item;     /* of an array */
    uint64_t n;              /* items of an array */
    const uint8_t *data;     /* first byte of the value, or of an array's first item */
    struct gguf_text *texts; /* strings of an array of strings, owned */
};

struct gguf_tensor {
    struct gguf_text name;
    struct tensor tensor; /* type DTYPE_COUNT: not one of ours */
    uint32_t ggml_type;
};

struct gguf {
    const uint8_t *map;
    size_t size;
    uint32_t version;
    struct gguf_value *values;
    size_t n_values;
    struct gguf_tensor *tensors;
    size_t n_tensors;
};

HX_MUST_CHECK int gguf_open(const char *path, struct gguf **out, char *err, size_t errlen);
void gguf_close(struct gguf *g);

/* NULL when absent. */
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);
/* Scalars; `fallback` when the key is absent or of another kind. */
int64_t gguf_integer(const struct gguf *g, const char *key, int64_t fallback);
double gguf_number(const struct gguf *g, const char *key, double fallback);
struct gguf_text gguf_string(const struct gguf *g, const char *key);
bool gguf_text_is(struct gguf_text t, const char *text);

#endif
