/* What the values of a GGUF file say, each against the range its reader names. */
#include "engine/gguf.h"

#include <errno.h>
#include <string.h>

static const char *const type_names[GGUF_TYPE_COUNT] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                        "bool", "string", "array", "u64", "i64", "f64"};

bool gguf_text_is(struct gguf_text t, const char *text) {
    return t.data != NULL && t.len == strlen(text) && memcmp(t.data, text, t.len) == 0;
}

int gguf_text_compare(struct gguf_text a, struct gguf_text b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.data, b.data, n) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

const char *gguf_text_show(struct gguf_text t, char out[64]) {
    size_t n = 0;
    for (; n < t.len && n < 60; n++)
        out[n] = t.data[n] >= 32 && t.data[n] < 127 ? t.data[n] : '?';
    out[n] = '\0';
    return out;
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key) {
    const struct gguf_text wanted = {key, strlen(key)};
    size_t low = 0, high = g->n_values;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = gguf_text_compare(g->values[middle].key, wanted);
        if (order == 0)
            return &g->values[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name) {
    const struct gguf_text wanted = {name, strlen(name)};
    size_t low = 0, high = g->n_tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = gguf_text_compare(g->tensors[middle].name, wanted);
        if (order == 0)
            return &g->tensors[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static size_t offset_of(const struct gguf *g, const struct gguf_value *v) {
    return (size_t)(v->data - g->file.data);
}

static int wrong_type(const struct gguf *g, const struct gguf_value *v, const char *key, const char *wanted,
                      char *err, size_t errlen) {
    return err_set(err, errlen, -EINVAL, "Model file '%s': %s at byte %zu is of type %s and should be %s.",
                   g->path, key, offset_of(g, v), type_names[v->type], wanted);
}

/* False for a type that is no integer. An unsigned 64-bit value above INT64_MAX becomes INT64_MAX, which no
 * range contains. */
static bool integer_of(const struct gguf_value *v, int64_t *out) {
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
    } x = {0};
    static const uint8_t bytes[GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 0, 1, 0, 0, 8, 8, 0};
    if (bytes[v->type] == 0)
        return false;
    memcpy(&x, v->data, bytes[v->type]);
    switch (v->type) {
    case GGUF_I8:
        *out = x.i8;
        return true;
    case GGUF_U16:
        *out = x.u16;
        return true;
    case GGUF_I16:
        *out = x.i16;
        return true;
    case GGUF_U32:
        *out = x.u32;
        return true;
    case GGUF_I32:
        *out = x.i32;
        return true;
    case GGUF_U64:
        *out = x.u64 > INT64_MAX ? INT64_MAX : (int64_t)x.u64;
        return true;
    case GGUF_I64:
        *out = x.i64;
        return true;
    default:
        *out = x.u8;
        return true;
    }
}

int gguf_read_integer(const struct gguf *g, const char *key, int64_t min, int64_t max, int64_t *value,
                      char *err, size_t errlen) {
    const struct gguf_value *v = gguf_find(g, key);
    int64_t n = 0;
    if (v == NULL)
        return 0;
    if (!integer_of(v, &n))
        return wrong_type(g, v, key, "an integer", err, errlen);
    if (n < min || n > max)
        return err_set(err, errlen, -EINVAL,
                       "Model file '%s': %s at byte %zu is %lld and should be %lld to %lld.", g->path, key,
                       offset_of(g, v), (long long)n, (long long)min, (long long)max);
    *value = n;
    return 1;
}

int gguf_read_number(const struct gguf *g, const char *key, double min, double max, double *value, char *err,
                     size_t errlen) {
    const struct gguf_value *v = gguf_find(g, key);
    double x = 0;
    float f = 0;
    if (v == NULL)
        return 0;
    if (v->type == GGUF_F32)
        memcpy(&f, v->data, sizeof f);
    else if (v->type == GGUF_F64)
        memcpy(&x, v->data, sizeof x);
    else
        return wrong_type(g, v, key, "f32 or f64", err, errlen);
    x = v->type == GGUF_F32 ? (double)f : x;
    if (!(x >= min && x <= max)) /* catches NaN */
        return err_set(err, errlen, -EINVAL, "Model file '%s': %s at byte %zu is %g and should be %g to %g.",
                       g->path, key, offset_of(g, v), x, min, max);
    *value = x;
    return 1;
}

int gguf_read_string(const struct gguf *g, const char *key, struct gguf_text *value, char *err,
                     size_t errlen) {
    const struct gguf_value *v = gguf_find(g, key);
    if (v == NULL)
        return 0;
    if (v->type != GGUF_STRING)
        return wrong_type(g, v, key, "a string", err, errlen);
    /* Not the length that stands there: somebody may have written to the file since it was checked. */
    *value = (struct gguf_text){(const char *)v->data + sizeof v->n, (size_t)v->n};
    return 1;
}

int gguf_read_array(const struct gguf *g, const char *key, enum gguf_type item,
                    const struct gguf_value **value, char *err, size_t errlen) {
    const struct gguf_value *v = gguf_find(g, key);
    if (v == NULL)
        return 0;
    if (v->type != GGUF_ARRAY || v->item != item)
        return wrong_type(g, v, key, item == GGUF_STRING ? "an array of strings" : "an array of i32", err,
                          errlen);
    *value = v;
    return 1;
}
