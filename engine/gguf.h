/* GGUF files (ggml/docs/gguf.md, versions 2 and 3), mapped and checked. Private to engine/.
 *
 * gguf_open() checks the structure: every count and length against what is left of the file before anything
 * is allocated, unique keys and tensor names, tensors inside the file, aligned and apart from each other.
 * What a value means is checked when it is read (engine/gguf_value.c), against the range the reader names.
 * Every refusal names the field and the byte where it stands. */
#ifndef ENGINE_GGUF_H
#define ENGINE_GGUF_H

#include "base/err.h"
#include "base/mapped_file.h"
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
    uint64_t n;              /* items of an array; bytes of a string, as they were checked */
    const uint8_t *data;     /* first byte of the value, or of an array's first item */
    struct gguf_text *texts; /* strings of an array of strings, owned */
};

struct gguf_tensor {
    struct gguf_text name;
    struct tensor tensor; /* type DTYPE_COUNT: of a type or a number of dimensions that is not ours */
    uint32_t ggml_type;
    uint64_t offset; /* in the data section */
    uint64_t bytes;  /* 0 for DTYPE_COUNT */
};

struct gguf {
    char *path; /* as given, owned */
    struct mapped_file file;
    uint32_t version;
    struct gguf_value *values; /* sorted by key once the file is open */
    size_t n_values;
    struct gguf_tensor *tensors; /* sorted by name once the file is open */
    size_t n_tensors;
};

/* -ENOENT and other errnos of the file; -EINVAL for a damaged file; -ENOTSUP for another version. */
HX_MUST_CHECK int gguf_open(const char *path, struct gguf **out, char *err, size_t errlen);
void gguf_close(struct gguf *g);

/* ---- engine/gguf_value.c ---- */

/* NULL when absent. */
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

/* Each leaves *value alone and returns 0 when the key is absent; returns 1 when it was read; -EINVAL when it
 * is of another type or outside min … max (NaN is). */
HX_MUST_CHECK int gguf_read_integer(const struct gguf *g, const char *key, int64_t min, int64_t max,
                                    int64_t *value, char *err, size_t errlen);
HX_MUST_CHECK int gguf_read_number(const struct gguf *g, const char *key, double min, double max,
                                   double *value, char *err, size_t errlen);
HX_MUST_CHECK int gguf_read_string(const struct gguf *g, const char *key, struct gguf_text *value, char *err,
                                   size_t errlen);
/* Arrays of strings (value->texts) or of I32. */
HX_MUST_CHECK int gguf_read_array(const struct gguf *g, const char *key, enum gguf_type item,
                                  const struct gguf_value **value, char *err, size_t errlen);

bool gguf_text_is(struct gguf_text t, const char *text);
/* Order of bytes, as memcmp(). */
int gguf_text_compare(struct gguf_text a, struct gguf_text b);
/* `t` for a message: at most 60 bytes of it, printable ASCII, others as '?'. Returns `out`. */
const char *gguf_text_show(struct gguf_text t, char out[64]);

#endif
