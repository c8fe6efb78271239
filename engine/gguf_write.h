/* Writing GGUF files (ggml/docs/gguf.md, version 3): values and the list of tensors are gathered, then the
 * head is made; the tensors' bytes are the caller's to write behind it, in the order they were named, each
 * padded to GGUF_WRITE_ALIGNMENT. Private to engine/. One thread. */
#ifndef ENGINE_GGUF_WRITE_H
#define ENGINE_GGUF_WRITE_H

#include "base/buf.h"
#include "engine/gguf.h"

#define GGUF_WRITE_ALIGNMENT 32

struct gguf_writer {
    struct buf values, tensors;
    uint64_t n_values, n_tensors;
    uint64_t data_bytes; /* of the data section so far, padded */
    int status;          /* the first failure; gguf_write_head() returns it */
};

void gguf_write_init(struct gguf_writer *w);
void gguf_write_finish(struct gguf_writer *w);

void gguf_write_text(struct gguf_writer *w, const char *key, struct gguf_text text);
void gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t value);
void gguf_write_f32(struct gguf_writer *w, const char *key, float value);
void gguf_write_bool(struct gguf_writer *w, const char *key, bool value);
/* The key and the head of an array; exactly `n` items of gguf_write_item_… follow. */
void gguf_write_array(struct gguf_writer *w, const char *key, enum gguf_type item, uint64_t n);
void gguf_write_item_text(struct gguf_writer *w, const char *data, size_t len);
void gguf_write_item_i32(struct gguf_writer *w, int32_t value);
/* A value of another file as it is. */
void gguf_write_copy(struct gguf_writer *w, const struct gguf_value *value);

/* Of a vector (rows 1) or matrix of `bytes` bytes. */
void gguf_write_tensor(struct gguf_writer *w, struct gguf_text name, uint32_t ggml_type, int64_t rows,
                       int64_t cols, uint64_t bytes);

/* Everything before the data section, padded. 0, -ENOBUFS for more than the head of a file may have (256
 * MiB), -ENOMEM. */
HX_MUST_CHECK int gguf_write_head(const struct gguf_writer *w, struct buf *out);

#endif
