#include "engine/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_VALUES  65536
#define MAX_TENSORS 65536
#define MAX_ITEMS   (1u << 24)

struct cursor {
    const uint8_t *data;
    size_t size, at;
    const char *path;
    char *err;
    size_t errlen;
};

static int bad(const struct cursor *c, const char *what) {
    return err_set(c->err, c->errlen, -EINVAL, "Model file '%s' is damaged at byte %zu: %s.", c->path, c->at,
                   what);
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

static int take_text(struct cursor *c, struct gguf_text *t, const char *what) {
    uint64_t n = 0;
    int rc = take_u64(c, &n, what);
    if (rc < 0)
        return rc;
    if (n > c->size - c->at)
        return bad(c, what);
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
        return bad(c, "an array of more than 16,777,216 items");
    v->item = (enum gguf_type)item;
    v->data = c->data + c->at;
    if (item == GGUF_STRING) {
        if (v->n > (c->size - c->at) / 8)
            return bad(c, "an array of strings that is cut off");
        v->texts = calloc((size_t)v->n + 1, sizeof *v->texts);
        if (v->texts == NULL)
            return err_set(c->err, c->errlen, -ENOMEM, "Not enough memory for the values of '%s'.", c->path);
        for (uint64_t i = 0; i < v->n && rc == 0; i++)
            rc = take_text(c, &v->texts[i], "a string that is cut off");
        return rc;
    }
    size_t bytes = scalar_bytes(item);
    if (bytes == 0)
        return bad(c, "an array of an unknown type");
    return take(c, bytes * (size_t)v->n, &v->data, "an array that is cut off");
}

static int take_value(struct cursor *c, struct gguf_value *v) {
    uint32_t type = 0;
    int rc = take_text(c, &v->key, "a key that is cut off");
    rc = rc ? rc : take_u32(c, &type, "a value without a type");
    if (rc < 0)
        return rc;
    v->type = (enum gguf_type)type;
    if (type == GGUF_ARRAY)
        return take_array(c, v);
    v->data = c->data + c->at;
    if (type == GGUF_STRING) {
        struct gguf_text text;
        return take_text(c, &text, "a string that is cut off");
    }
    size_t bytes = scalar_bytes(type);
    if (bytes == 0)
        return bad(c, "a value of an unknown type");
    return take(c, bytes, &v->data, "a value that is cut off");
}

static enum dtype dtype_of(uint32_t ggml_type) {
    switch (ggml_type) {
    case 0:
        return DTYPE_F32;
    case 1:
        return DTYPE_F16;
    case 8:
        return DTYPE_Q8_0;
    case 30:
        return DTYPE_BF16;
    default:
        return DTYPE_COUNT;
    }
}

static int take_tensor(struct cursor *c, struct gguf_tensor *t, uint64_t *offset) {
    uint32_t n_dims = 0;
    uint64_t dims[4] = {1, 1, 1, 1};
    int rc = take_text(c, &t->name, "a tensor name that is cut off");
    rc = rc ? rc : take_u32(c, &n_dims, "a tensor without dimensions");
    if (rc == 0 && (n_dims == 0 || n_dims > 4))
        return bad(c, "a tensor of 0 or more than 4 dimensions");
    for (uint32_t i = 0; i < n_dims && rc == 0; i++) {
        rc = take_u64(c, &dims[i], "a tensor without dimensions");
        if (rc == 0 && (dims[i] == 0 || dims[i] > 1u << 30))
            return bad(c, "a tensor dimension of 0 or above 2^30");
    }
    rc = rc ? rc : take_u32(c, &t->ggml_type, "a tensor without a type");
    rc = rc ? rc : take_u64(c, offset, "a tensor without an offset");
    if (rc < 0)
        return rc;
    t->tensor.type = dtype_of(t->ggml_type);
    t->tensor.cols = (int64_t)dims[0];
    t->tensor.rows = (int64_t)dims[1];
    if (dims[2] != 1 || dims[3] != 1)
        t->tensor.type = DTYPE_COUNT;
    return 0;
}

static uint64_t row_bytes(enum dtype type, uint64_t cols) {
    return type == DTYPE_F32 ? cols * 4 : type == DTYPE_Q8_0 ? cols / 32 * 34 : cols * 2;
}

/* Points the tensors into the data section. */
static int place(struct cursor *c, struct gguf *g, const uint64_t *offsets) {
    int64_t alignment = gguf_integer(g, "general.alignment", 32);
    if (alignment < 1 || alignment > 65536 || (alignment & (alignment - 1)) != 0)
        return bad(c, "an alignment that is no power of two up to 65536");
    size_t start = (c->at + (size_t)alignment - 1) / (size_t)alignment * (size_t)alignment;
    for (size_t i = 0; i < g->n_tensors; i++) {
        struct tensor *t = &g->tensors[i].tensor;
        if (t->type == DTYPE_COUNT)
            continue;
        if (t->type == DTYPE_Q8_0 && t->cols % 32 != 0)
            return bad(c, "a Q8_0 tensor whose rows are no whole blocks");
        uint64_t bytes = row_bytes(t->type, (uint64_t)t->cols) * (uint64_t)t->rows;
        if (start > g->size || offsets[i] > g->size - start || bytes > g->size - start - offsets[i])
            return err_set(c->err, c->errlen, -EINVAL,
                           "Model file '%s' is cut off: tensor '%.*s' ends behind it.", c->path,
                           (int)(g->tensors[i].name.len < 100 ? g->tensors[i].name.len : 100),
                           g->tensors[i].name.data);
        t->data = g->map + start + offsets[i];
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
    if (rc == 0 && g->version != 2 && g->version != 3)
        return err_set(c->err, c->errlen, -ENOTSUP,
                       "Model file '%s' is GGUF version %u; versions 2 and 3 are supported.", c->path,
                       g->version);
    rc = rc ? rc : take_u64(c, &n_tensors, "no number of tensors");
    rc = rc ? rc : take_u64(c, &n_values, "no number of values");
    if (rc == 0 && (n_tensors > MAX_TENSORS || n_values > MAX_VALUES))
        return bad(c, "more than 65,536 tensors or values");
    if (rc < 0)
        return rc;
    g->values = calloc((size_t)n_values + 1, sizeof *g->values);
    g->tensors = calloc((size_t)n_tensors + 1, sizeof *g->tensors);
    uint64_t *offsets = calloc((size_t)n_tensors + 1, sizeof *offsets);
    if (g->values == NULL || g->tensors == NULL || offsets == NULL)
        rc = err_set(c->err, c->errlen, -ENOMEM, "Not enough memory for the lists of '%s'.", c->path);
    while (rc == 0 && g->n_values < n_values)
        rc = take_value(c, &g->values[g->n_values++]);
    while (rc == 0 && g->n_tensors < n_tensors) {
        rc = take_tensor(c, &g->tensors[g->n_tensors], &offsets[g->n_tensors]);
        g->n_tensors++;
    }
    rc = rc ? rc : place(c, g, offsets);
    free(offsets);
    return rc;
}

int gguf_open(const char *path, struct gguf **out, char *err, size_t errlen) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0) {
        int rc = fd < 0 ? -errno : -EINVAL;
        if (fd >= 0)
            close(fd);
        return err_set(err, errlen, rc, "Cannot read model file '%s': %s.", path,
                       rc == -EINVAL ? "it is empty or no file" : strerror(-rc));
    }
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    int rc = map == MAP_FAILED ? -errno : 0;
    close(fd);
    if (rc < 0)
        return err_set(err, errlen, rc, "Cannot map model file '%s': %s.", path, strerror(-rc));
    struct gguf *g = calloc(1, sizeof *g);
    if (g == NULL) {
        munmap(map, (size_t)st.st_size);
        return err_set(err, errlen, -ENOMEM, "Not enough memory for model file '%s'.", path);
    }
    g->map = map;
    g->size = (size_t)st.st_size;
    struct cursor c = {.data = g->map, .size = g->size, .path = path, .err = err, .errlen = errlen};
    rc = parse(&c, g);
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
    munmap((void *)(uintptr_t)g->map, g->size);
    free(g);
}

bool gguf_text_is(struct gguf_text t, const char *text) {
    return t.len == strlen(text) && memcmp(t.data, text, t.len) == 0;
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key) {
    for (size_t i = 0; i < g->n_values; i++)
        if (gguf_text_is(g->values[i].key, key))
            return &g->values[i];
    return NULL;
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name) {
    for (size_t i = 0; i < g->n_tensors; i++)
        if (gguf_text_is(g->tensors[i].name, name))
            return &g->tensors[i];
    return NULL;
}

int64_t gguf_integer(const struct gguf *g, const char *key, int64_t fallback) {
    const struct gguf_value *v = gguf_find(g, key);
    if (v == NULL)
        return fallback;
    int64_t out = 0;
    switch (v->type) {
    case GGUF_U8:
    case GGUF_BOOL:
        return v->data[0];
    case GGUF_I8:
        return (int8_t)v->data[0];
    case GGUF_U16: {
        uint16_t x;
        memcpy(&x, v->data, 2);
        return x;
    }
    case GGUF_I16: {
        int16_t x;
        memcpy(&x, v->data, 2);
        return x;
    }
    case GGUF_U32: {
        uint32_t x;
        memcpy(&x, v->data, 4);
        return x;
    }
    case GGUF_I32: {
        int32_t x;
        memcpy(&x, v->data, 4);
        return x;
    }
    case GGUF_U64:
    case GGUF_I64:
        memcpy(&out, v->data, 8);
        return out;
    default:
        return fallback;
    }
}

double gguf_number(const struct gguf *g, const char *key, double fallback) {
    const struct gguf_value *v = gguf_find(g, key);
    if (v == NULL)
        return fallback;
    if (v->type == GGUF_F32) {
        float x;
        memcpy(&x, v->data, 4);
        return (double)x;
    }
    if (v->type == GGUF_F64) {
        double x;
        memcpy(&x, v->data, 8);
        return x;
    }
    return fallback;
}

struct gguf_text gguf_string(const struct gguf *g, const char *key) {
    const struct gguf_value *v = gguf_find(g, key);
    if (v == NULL || v->type != GGUF_STRING)
        return (struct gguf_text){NULL, 0};
    uint64_t n;
    memcpy(&n, v->data, 8);
    return (struct gguf_text){(const char *)v->data + 8, (size_t)n};
}
