#include "engine/gguf_write.h"

#include <string.h>

#define MAX_HEAD_BYTES ((size_t)256 << 20)

void gguf_write_init(struct gguf_writer *w) {
    *w = (struct gguf_writer){0};
    buf_init(&w->values, MAX_HEAD_BYTES);
    buf_init(&w->tensors, MAX_HEAD_BYTES);
}

void gguf_write_finish(struct gguf_writer *w) {
    buf_finish(&w->values);
    buf_finish(&w->tensors);
}

static void put(struct gguf_writer *w, struct buf *b, const void *bytes, size_t n) {
    if (w->status == 0 && n > 0)
        w->status = buf_append(b, bytes, n);
}

static void put_text(struct gguf_writer *w, struct buf *b, const char *data, size_t len) {
    uint64_t n = len;
    put(w, b, &n, sizeof n);
    put(w, b, data, len);
}

static void put_key(struct gguf_writer *w, const char *key, size_t len, enum gguf_type type) {
    uint32_t t = (uint32_t)type;
    put_text(w, &w->values, key, len);
    put(w, &w->values, &t, sizeof t);
    w->n_values++;
}

void gguf_write_text(struct gguf_writer *w, const char *key, struct gguf_text text) {
    put_key(w, key, strlen(key), GGUF_STRING);
    put_text(w, &w->values, text.data, text.len);
}

void gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t value) {
    put_key(w, key, strlen(key), GGUF_U32);
    put(w, &w->values, &value, sizeof value);
}

void gguf_write_f32(struct gguf_writer *w, const char *key, float value) {
    put_key(w, key, strlen(key), GGUF_F32);
    put(w, &w->values, &value, sizeof value);
}

void gguf_write_bool(struct gguf_writer *w, const char *key, bool value) {
    uint8_t byte = value ? 1 : 0;
    put_key(w, key, strlen(key), GGUF_BOOL);
    put(w, &w->values, &byte, sizeof byte);
}

static void put_array_head(struct gguf_writer *w, enum gguf_type item, uint64_t n) {
    uint32_t type = (uint32_t)item;
    put(w, &w->values, &type, sizeof type);
    put(w, &w->values, &n, sizeof n);
}

void gguf_write_array(struct gguf_writer *w, const char *key, enum gguf_type item, uint64_t n) {
    put_key(w, key, strlen(key), GGUF_ARRAY);
    put_array_head(w, item, n);
}

void gguf_write_item_text(struct gguf_writer *w, const char *data, size_t len) {
    put_text(w, &w->values, data, len);
}

void gguf_write_item_i32(struct gguf_writer *w, int32_t value) {
    put(w, &w->values, &value, sizeof value);
}

static size_t scalar_bytes(enum gguf_type type) {
    static const uint8_t bytes[GGUF_TYPE_COUNT] = {
        [GGUF_U8] = 1,  [GGUF_I8] = 1,   [GGUF_U16] = 2, [GGUF_I16] = 2, [GGUF_U32] = 4, [GGUF_I32] = 4,
        [GGUF_F32] = 4, [GGUF_BOOL] = 1, [GGUF_U64] = 8, [GGUF_I64] = 8, [GGUF_F64] = 8};
    return bytes[type];
}

void gguf_write_copy(struct gguf_writer *w, const struct gguf_value *v) {
    put_key(w, v->key.data, v->key.len, v->type);
    if (v->type == GGUF_STRING) {
        put_text(w, &w->values, (const char *)v->data + sizeof v->n, (size_t)v->n);
    } else if (v->type != GGUF_ARRAY) {
        put(w, &w->values, v->data, scalar_bytes(v->type));
    } else {
        put_array_head(w, v->item, v->n);
        for (uint64_t i = 0; i < v->n && v->item == GGUF_STRING; i++)
            put_text(w, &w->values, v->texts[i].data, v->texts[i].len);
        if (v->item != GGUF_STRING)
            put(w, &w->values, v->data, scalar_bytes(v->item) * (size_t)v->n);
    }
}

void gguf_write_tensor(struct gguf_writer *w, struct gguf_text name, uint32_t ggml_type, int64_t rows,
                       int64_t cols, uint64_t bytes) {
    uint32_t n_dims = rows > 1 ? 2 : 1;
    uint64_t dims[] = {(uint64_t)cols, (uint64_t)rows};
    put_text(w, &w->tensors, name.data, name.len);
    put(w, &w->tensors, &n_dims, sizeof n_dims);
    put(w, &w->tensors, dims, n_dims * sizeof dims[0]);
    put(w, &w->tensors, &ggml_type, sizeof ggml_type);
    put(w, &w->tensors, &w->data_bytes, sizeof w->data_bytes);
    w->n_tensors++;
    w->data_bytes += (bytes + GGUF_WRITE_ALIGNMENT - 1) / GGUF_WRITE_ALIGNMENT * GGUF_WRITE_ALIGNMENT;
}

int gguf_write_head(const struct gguf_writer *w, struct buf *out) {
    static const uint8_t zeros[GGUF_WRITE_ALIGNMENT];
    const uint32_t version = 3;
    int rc = w->status;
    rc = rc ? rc : buf_append(out, "GGUF", 4);
    rc = rc ? rc : buf_append(out, &version, sizeof version);
    rc = rc ? rc : buf_append(out, &w->n_tensors, sizeof w->n_tensors);
    rc = rc ? rc : buf_append(out, &w->n_values, sizeof w->n_values);
    rc = rc || w->values.len == 0 ? rc : buf_append(out, w->values.data, w->values.len);
    rc = rc || w->tensors.len == 0 ? rc : buf_append(out, w->tensors.data, w->tensors.len);
    size_t over = out->len % GGUF_WRITE_ALIGNMENT;
    return rc || over == 0 ? rc : buf_append(out, zeros, GGUF_WRITE_ALIGNMENT - over);
}
