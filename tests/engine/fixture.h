/* A tiny random model as files, GGUF or Hugging Face folder, with one lie in it where a test wants one: 2
 * layers, 4 heads of 2 that share 2, width 8, a vocabulary of the 256 bytes, four merges and four added
 * tokens. */
#ifndef TESTS_ENGINE_FIXTURE_H
#define TESTS_ENGINE_FIXTURE_H

#include "base/buf.h"
#include "engine/gguf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct model;

#define FIXTURE_VOCAB 264
#define FIXTURE_BOS   260
#define FIXTURE_END   261 /* <|im_end|> */

/* A number in the file: a length, a count, a type, an offset or a value. */
struct fixture_mark {
    size_t at;
    int bytes;
    char what[80];
};

struct fixture {
    struct buf bytes;
    struct fixture_mark marks[2048];
    int n_marks;
};

/* What is wrong with the file; all zero: nothing. */
struct fixture_lie {
    const char *drop;  /* this key or tensor is missing */
    const char *twice; /* this key or tensor occurs twice */
    const char *key;   /* this key gets another value, or is there too: type and bytes as in the file */
    enum gguf_type type;
    const void *value;
    size_t value_len;
    const char *token;  /* what the third of the four added tokens is called */
    const char *extra;  /* one more tensor, a row of the model's width */
    const char *tensor; /* of this tensor the entry says something else where it is not 0 */
    uint32_t n_dims;    /* 99: none */
    uint64_t dims[5];
    uint32_t ggml_type;
    uint64_t offset; /* 1: 0 */
};

/* The bytes of a GGUF file, with a mark for every number before the data. fixture_finish() frees. */
void fixture_gguf(struct fixture *f, const struct fixture_lie *lie);
void fixture_finish(struct fixture *f);

/* That file without a lie, opened; `name` in the temporary folder for the moment. The caller's (model_close).
 * Fails the running test. */
struct model *fixture_open(const char *name);

/* Writes bytes to a file, replacing it. */
void fixture_write(const char *path, const void *bytes, size_t len);
/* The same by folder and name. */
void fixture_write_in(const char *folder, const char *name, const void *bytes, size_t len);
/* What a file has, and room for FIXTURE_ROOM more bytes, which are 0; the caller's. Fails the running test.
 */
#define FIXTURE_ROOM 4096
char *fixture_read_in(const char *folder, const char *name, size_t *len);
/* The files of a Hugging Face folder, which is made. */
void fixture_hf(const char *folder);

/* A name in the temporary folder for this process, in a static buffer per call. */
const char *fixture_path(char out[256], const char *name);

#endif
