/* A GGUF file, any bytes; or two, which are tried as the parts of a model too. Whatever they are: no crash,
 * no leak; a refusal is a sentence; what opens can be read to its last row. Two of three changes are to a
 * number that the format has there (a length, a count, a type, a dimension, an offset, a value), so that the
 * rest of the file stays what it was. */
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "tests/fuzz/folder.h"

#include <stdbool.h>

static void use(const struct model *m) {
    struct token_list list = {0};
    if (m->tokenizer != NULL && tokenizer_encode_template(m->tokenizer, "hello <|im_end|>", 16, &list) < 0)
        abort();
    token_list_finish(&list);
    folder_touch(m);
}

/* Where a second file begins, of two one behind the other; 0: nowhere. */
static size_t second_part(const uint8_t *data, size_t size) {
    const uint8_t *at = size > 8 ? memmem(data + 4, size - 4, "GGUF", 4) : NULL;
    return at != NULL ? (size_t)(at - data) : 0;
}

/* ---- where the numbers of a file stand ---- */

#define MOST_FIELDS 4096

struct field {
    size_t at;
    size_t bytes;
};

struct walk {
    const uint8_t *data;
    size_t size, at;
    struct field fields[MOST_FIELDS];
    size_t n;
};

/* Notes a number, and returns it; `at` is behind the file once one is not there. */
static uint64_t number(struct walk *w, size_t bytes) {
    uint64_t v = 0;
    if (w->size < bytes || w->at > w->size - bytes || w->n == MOST_FIELDS) {
        w->at = SIZE_MAX;
        return 0;
    }
    memcpy(&v, w->data + w->at, bytes);
    w->fields[w->n++] = (struct field){w->at, bytes};
    w->at += bytes;
    return v;
}

static void skip(struct walk *w, uint64_t bytes) {
    w->at = w->at <= w->size && bytes <= w->size - w->at ? w->at + (size_t)bytes : SIZE_MAX;
}

static void walk_value(struct walk *w) {
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    skip(w, number(w, 8));
    uint64_t type = number(w, 4), n = 1;
    bool array = type == 9;
    if (array) {
        type = number(w, 4);
        n = number(w, 8);
    }
    for (; n > 0 && w->at <= w->size && type < sizeof sizes && type != 9; n--) {
        if (type == 8)
            skip(w, number(w, 8));
        else if (!array || n % 37 == 0)
            (void)number(w, sizes[type]);
        else
            skip(w, sizes[type]);
    }
}

/* From byte `at` on. */
static void walk_file(struct walk *w, size_t at) {
    w->at = at;
    skip(w, 4);
    (void)number(w, 4);
    uint64_t n_tensors = number(w, 8), n_values = number(w, 8);
    for (; n_values > 0 && w->at <= w->size; n_values--)
        walk_value(w);
    for (; n_tensors > 0 && w->at <= w->size; n_tensors--) {
        skip(w, number(w, 8));
        for (uint64_t dims = number(w, 4); dims > 0 && w->at <= w->size; dims--)
            (void)number(w, 8);
        (void)number(w, 4);
        (void)number(w, 8);
    }
}

static uint64_t lie(const struct walk *w, const struct field *f, uint64_t was, uint64_t random) {
    uint64_t rest = w->size - f->at - f->bytes;
    const uint64_t lies[] = {0,         1,          was - 1,      was + 1,    was * 2,         was / 2,
                             rest,      rest - 1,   rest + 1,     UINT64_MAX, INT64_MAX,       UINT32_MAX,
                             INT32_MAX, 1ull << 30, 1ull << 31,   1ull << 63, UINT64_MAX - 31, random % 64,
                             random,    was ^ 32,   random % 4096};
    return lies[random / 4096 % (sizeof lies / sizeof lies[0])];
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    static struct walk w;
    uint64_t random = seed * 0x9E3779B97F4A7C15ull + 0x632BE59BD9B4E019ull, v = 0;
    random ^= random >> 29;
    w = (struct walk){.data = data, .size = size};
    size_t second = second_part(data, size);
    if (random % 3 != 0)
        walk_file(&w, 0);
    if (random % 3 != 0 && second > 0)
        walk_file(&w, second);
    if (w.n == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    random *= 0xBF58476D1CE4E5B9ull;
    random ^= random >> 31;
    const struct field *f = &w.fields[random % w.n];
    memcpy(&v, data + f->at, f->bytes);
    v = lie(&w, f, v, random / w.n);
    memcpy(data + f->at, &v, f->bytes);
    return size;
}

/* Two files as the parts of a model. */
static void try_parts(const uint8_t *data, size_t size, size_t second) {
    static const char *path, *other;
    struct model *m = NULL;
    char err[600] = "";
    path = path != NULL ? path : folder_file("m-00001-of-00002.gguf");
    other = other != NULL ? other : folder_file("m-00002-of-00002.gguf");
    folder_write(path, data, second);
    folder_write(other, data + second, size - second);
    int rc = model_open_weights(path, &m, err, sizeof err);
    folder_expect_sentence(rc, err);
    if (rc == 0)
        use(m);
    model_close(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *path;
    size_t second = second_part(data, size);
    if (second > 0)
        try_parts(data, size, second);
    struct model *m = NULL;
    char err[600] = "";
    path = path != NULL ? path : folder_file("model.gguf");
    folder_write(path, data, size);
    int rc = model_open(path, &m, err, sizeof err);
    folder_expect_sentence(rc, err);
    if (rc < 0) {
        rc = model_open_weights(path, &m, err, sizeof err);
        folder_expect_sentence(rc, err);
    }
    if (rc == 0)
        use(m);
    model_close(m);
    return 0;
}
