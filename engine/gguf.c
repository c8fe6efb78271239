#include "engine/gguf.h"

#include "kernels/dtype.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUES       65536
#define MAX_TENSORS      65536
#define MAX_ITEMS        (1u << 24)
#define MAX_NAME_BYTES   256
#define MAX_STRING_BYTES (1u << 20)
#define MIN_ALIGNMENT    8 /* docs/gguf.md: a multiple of 8 */
#define MAX_ALIGNMENT    65536
/* Of a value (key length, type, one byte) and of a tensor (name length, dimensions, one of them, type,
 * offset): what a count is checked against before memory is taken for it. */
#define MIN_VALUE_BYTES  13
#define MIN_TENSOR_BYTES 32

struct cursor {
    const uint8_t *data;
    size_t size, at;
    const char *path;
    struct gguf_text field; /* key or tensor name that is being read */
    char *err;
    size_t errlen;
};

static int bad_at(const struct cursor *c, size_t at, const char *what) {
    char field[64];
    if (c->field.data == NULL)
        return err_set(c->err, c->errlen, -EINVAL, "Model file '%s' is damaged at byte %zu: %s.", c->path, at,
                       what);
    return err_set(c->err, c->errlen, -EINVAL, "Model file '%s' is damaged at byte %zu ('%s'): %s.", c->path,
                   at, gguf_text_show(c->field, field), what);
}

static int bad(const struct cursor *c, const char *what) {
    return bad_at(c, c->at, what);
}

static int take(struct cursor *c, size_t n, const uint8_t **at, const char *what) {
    if (n > c->size - c->at)
        return bad(c, what);
    *at = c->data + c->at;
    c->at += n;
    return 0;
}

static int take_u32(struct cursor *c, uint32_t *v, const char *what) {
    const uint8_t *at = c->data;
    int rc = take(c, 4, &at, what);
    if (rc == 0)
        memcpy(v, at, 4);
    return rc;
}

static int take_u64(struct cursor *c, uint64_t *v, const char *what) {
    const uint8_t *at = c->data;
    int rc = take(c, 8, &at, what);
    if (rc == 0)
        memcpy(v, at, 8);
    return rc;
}

static int take_text(struct cursor *c, struct gguf_text *t, size_t max, const char *what) {
    uint64_t n = 0;
    int rc = take_u64(c, &n, what);
    if (rc < 0)
        return rc;
    if (n > c->size - c->at)
        return bad_at(c, c->at - 8, what);
    if (n > max)
        return bad_at(c, c->at - 8,
                      max == MAX_NAME_BYTES ? "a name of more than 256 bytes"
                                            : "a string of more than 1 MiB");
    t->data = (const char *)c->data + c->at;
    t->len = (size_t)n;
    c->at += (size_t)n;
    return 0;
}

static size_t scalar_bytes(uint32_t type) {
    static const uint8_t bytes[GGUF_TYPE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < GGUF_TYPE_COUNT ? bytes[type] : 0;
}

static int take_array(struct cursor *c, struct gguf_value *v) {
    uint32_t item = 0;
    int rc = take_u32(c, &item, "an array without a type");
    rc = rc ? rc : take_u64(c, &v->n, "an array without a length");
    if (rc < 0)
        return rc;
    if (v->n > MAX_ITEMS)
        return bad_at(c, c->at - 8, "an array of more than 16,777,216 items");
    v->item = (enum gguf_type)item;
    v->data = c->data + c->at;
    if (item == GGUF_STRING) {
        if (v->n > (c->size - c->at) / 8)
            return bad_at(c, c->at - 8, "an array of strings that is cut off");
        v->texts = calloc((size_t)v->n + 1, sizeof *v->texts);
        if (v->texts == NULL)
            return err_set(c->err, c->errlen, -ENOMEM, "Not enough memory for the values of '%s'.", c->path);
        for (uint64_t i = 0; i < v->n && rc == 0; i++)
            rc = take_text(c, &v->texts[i], MAX_STRING_BYTES, "a string that is cut off");
        return rc;
    }
    size_t bytes = scalar_bytes(item);
    if (bytes == 0)
        return bad_at(c, c->at - 12,
                      item == GGUF_ARRAY ? "an array of arrays" : "an array of an unknown type");
    return take(c, bytes * (size_t)v->n, &v->data, "an array that is cut off");
}

static int take_value(struct cursor *c, struct gguf_value *v) {
    uint32_t type = 0;
    c->field = (struct gguf_text){NULL, 0};
    int rc = take_text(c, &v->key, MAX_NAME_BYTES, "a key that is cut off");
    c->field = v->key;
    rc = rc ? rc : take_u32(c, &type, "a value without a type");
    if (rc < 0)
        return rc;
    v->type = (enum gguf_type)type;
    if (type == GGUF_ARRAY)
        return take_array(c, v);
    v->data = c->data + c->at;
    if (type == GGUF_STRING) {
        struct gguf_text text = {0};
        rc = take_text(c, &text, MAX_STRING_BYTES, "a string that is cut off");
        v->n = text.len;
        return rc;
    }
    size_t bytes = scalar_bytes(type);
    if (bytes == 0)
        return bad_at(c, c->at - 4, "a value of an unknown type");
    return take(c, bytes, &v->data, "a value that is cut off");
}

static int take_tensor(struct cursor *c, struct gguf_tensor *t) {
    uint32_t n_dims = 0;
    uint64_t dims[4] = {1, 1, 1, 1};
    c->field = (struct gguf_text){NULL, 0};
    int rc = take_text(c, &t->name, MAX_NAME_BYTES, "a tensor name that is cut off");
    c->field = t->name;
    rc = rc ? rc : take_u32(c, &n_dims, "a tensor without dimensions");
    if (rc == 0 && (n_dims == 0 || n_dims > 4))
        return bad_at(c, c->at - 4, "a tensor of 0 or more than 4 dimensions");
    for (uint32_t i = 0; i < n_dims && rc == 0; i++) {
        rc = take_u64(c, &dims[i], "a tensor without dimensions");
        if (rc == 0 && (dims[i] == 0 || dims[i] > 1u << 30))
            return bad_at(c, c->at - 8, "a tensor dimension of 0 or above 2^30");
    }
    rc = rc ? rc : take_u32(c, &t->ggml_type, "a tensor without a type");
    rc = rc ? rc : take_u64(c, &t->offset, "a tensor without an offset");
    if (rc < 0)
        return rc;
    t->tensor.type = dtype_of_ggml(t->ggml_type);
    t->tensor.cols = (int64_t)dims[0];
    t->tensor.rows = (int64_t)dims[1];
    if (dims[2] != 1 || dims[3] != 1)
        t->tensor.type = DTYPE_COUNT;
    if (t->tensor.type == DTYPE_COUNT)
        return 0;
    if (t->tensor.cols % dtype_info(t->tensor.type)->block_elements != 0)
        return bad(c, "a tensor whose rows are no whole blocks of its type");
    /* At most 2^32 bytes times 2^30 rows. */
    t->bytes = (uint64_t)dtype_row_bytes(t->tensor.type, t->tensor.cols) * dims[1];
    return 0;
}

static int by_offset(const void *a, const void *b) {
    const struct gguf_tensor *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static int by_name(const void *a, const void *b) {
    return gguf_text_compare(((const struct gguf_tensor *)a)->name, ((const struct gguf_tensor *)b)->name);
}

static int by_key(const void *a, const void *b) {
    return gguf_text_compare(((const struct gguf_value *)a)->key, ((const struct gguf_value *)b)->key);
}

/* Sorts the values and refuses equal keys. */
static int sort_values(struct cursor *c, struct gguf *g) {
    qsort(g->values, g->n_values, sizeof *g->values, by_key);
    for (size_t i = 1; i < g->n_values; i++) {
        if (gguf_text_compare(g->values[i - 1].key, g->values[i].key) != 0)
            continue;
        c->field = g->values[i].key;
        return bad_at(c, (size_t)((const uint8_t *)c->field.data - c->data), "a key that occurs twice");
    }
    return 0;
}

/* Points the tensors into the data section, which begins after the cursor, and sorts them by name. */
static int place(struct cursor *c, struct gguf *g) {
    int64_t alignment = 32;
    int rc = gguf_read_integer(g, "general.alignment", MIN_ALIGNMENT, MAX_ALIGNMENT, &alignment, c->err,
                               c->errlen);
    if (rc < 0)
        return rc;
    if ((alignment & (alignment - 1)) != 0)
        return err_set(c->err, c->errlen, -EINVAL,
                       "Model file '%s': general.alignment is %lld and should be a power of two.", c->path,
                       (long long)alignment);
    uint64_t start = (c->at + (uint64_t)alignment - 1) / (uint64_t)alignment * (uint64_t)alignment;
    uint64_t end = 0;
    qsort(g->tensors, g->n_tensors, sizeof *g->tensors, by_offset);
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct gguf_tensor *t = &g->tensors[i];
        if (t->tensor.type == DTYPE_COUNT)
            continue;
        size_t at = (size_t)((const uint8_t *)t->name.data - c->data);
        c->field = t->name;
        if (start > g->file.size || t->offset > g->file.size - start ||
            t->bytes > g->file.size - start - t->offset)
            return bad_at(c, at, "a tensor that ends behind the file, which is cut off or lies");
        if (t->offset % (uint64_t)alignment != 0)
            return bad_at(c, at, "a tensor at an offset that is not aligned");
        if (t->offset < end)
            return bad_at(c, at, "a tensor that overlaps the one before it");
        end = t->offset + t->bytes;
        t->tensor.data = g->file.data + start + t->offset;
    }
    qsort(g->tensors, g->n_tensors, sizeof *g->tensors, by_name);
    for (size_t i = 1; i < g->n_tensors; i++) {
        c->field = g->tensors[i].name;
        if (gguf_text_compare(g->tensors[i - 1].name, c->field) == 0)
            return bad_at(c, (size_t)((const uint8_t *)c->field.data - c->data),
                          "a tensor name that occurs twice");
    }
    return 0;
}

static int parse(struct cursor *c, struct gguf *g) {
    const uint8_t *magic = c->data;
    uint64_t n_tensors = 0, n_values = 0;
    int rc = take(c, 4, &magic, "too short for a GGUF file");
    if (rc == 0 && memcmp(magic, "GGUF", 4) != 0) {
        c->at = 0;
        return bad(c, "it does not begin with 'GGUF'");
    }
    rc = rc ? rc : take_u32(c, &g->version, "no version");
    if (rc == 0 && (g->version == 2u << 24 || g->version == 3u << 24))
        return err_set(
            c->err, c->errlen, -ENOTSUP,
            "Model file '%s' is big-endian (GGUF version %u); only little-endian ones are supported.",
            c->path, g->version >> 24);
    if (rc == 0 && g->version != 2 && g->version != 3)
        return err_set(c->err, c->errlen, -ENOTSUP,
                       "Model file '%s' is GGUF version %u; versions 2 and 3 are supported.", c->path,
                       g->version);
    rc = rc ? rc : take_u64(c, &n_tensors, "no number of tensors");
    rc = rc ? rc : take_u64(c, &n_values, "no number of values");
    if (rc < 0)
        return rc;
    if (n_tensors > MAX_TENSORS || n_values > MAX_VALUES)
        return bad_at(c, 8, "more than 65,536 tensors or values");
    if (n_values * MIN_VALUE_BYTES + n_tensors * MIN_TENSOR_BYTES > c->size - c->at)
        return bad_at(c, 8, "more tensors or values than the file has room for");
    g->values = calloc((size_t)n_values + 1, sizeof *g->values);
    g->tensors = calloc((size_t)n_tensors + 1, sizeof *g->tensors);
    if (g->values == NULL || g->tensors == NULL)
        return err_set(c->err, c->errlen, -ENOMEM, "Not enough memory for the lists of '%s'.", c->path);
    while (rc == 0 && g->n_values < n_values)
        rc = take_value(c, &g->values[g->n_values++]);
    while (rc == 0 && g->n_tensors < n_tensors)
        rc = take_tensor(c, &g->tensors[g->n_tensors++]);
    rc = rc ? rc : sort_values(c, g);
    return rc ? rc : place(c, g);
}

int gguf_open(const char *path, struct gguf **out, char *err, size_t errlen) {
    struct gguf *g = calloc(1, sizeof *g);
    if (g == NULL || (g->path = strdup(path)) == NULL) {
        free(g);
        return err_set(err, errlen, -ENOMEM, "Not enough memory for model file '%s'.", path);
    }
    int rc = mapped_file_open(&g->file, path, 1);
    if (rc < 0) {
        rc = err_set(err, errlen, rc, "Cannot read model file '%s': %s.", path,
                     rc == -EINVAL ? "it is empty or no file" : strerror(-rc));
    } else {
        struct cursor c = {
            .data = g->file.data, .size = g->file.size, .path = path, .err = err, .errlen = errlen};
        rc = parse(&c, g);
    }
    if (rc < 0) {
        gguf_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

void gguf_close(struct gguf *g) {
    if (g == NULL)
        return;
    for (size_t i = 0; i < g->n_values; i++)
        free(g->values[i].texts);
    free(g->values);
    free(g->tensors);
    mapped_file_close(&g->file);
    free(g->path);
    free(g);
}
