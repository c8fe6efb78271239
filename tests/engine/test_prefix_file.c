/* The file of common beginnings: what was saved is found again, bit by bit; whatever is cut, altered, foreign
 * or nonsense is ignored as a whole, with a sentence. */
#include "engine/prefix_file.h"
#include "tests/engine/random_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define N_PAGES 6
#define VOCAB   50
#define MODEL   77

static const struct random_shape shape = {.n_layers = 1,
                                          .n_heads = 2,
                                          .n_kv_heads = 1,
                                          .head_dim = 8,
                                          .dim = 16,
                                          .ffn_dim = 32,
                                          .n_vocab = VOCAB,
                                          .type = DTYPE_F32,
                                          .seed = 3};

static struct random_engine weights;
static char folder[64], path[96];

struct side {
    struct forward *f;
    struct pages *p;
};

static struct side open_side(enum dtype kv) {
    struct side s = {.p = pages_create(N_PAGES, 0, NULL, NULL)};
    char err[200];
    struct forward_config config = {.max_rows = 4,
                                    .max_outputs = 1,
                                    .max_context = 256,
                                    .n_pages = N_PAGES,
                                    .kv_type = kv,
                                    .n_threads = 1};
    assert_non_null(s.p);
    if (forward_open(&weights.model, &config, &s.f, err, sizeof err) < 0)
        fail_msg("%s", err);
    return s;
}

static void close_side(struct side *s) {
    pages_destroy(s->p);
    forward_close(s->f);
}

static void fill(struct side *s, int32_t page, int seed) {
    size_t n = forward_device_page_bytes(s->f);
    uint8_t *bytes = malloc(n);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(i * 7 + (size_t)seed * 31);
    assert_int_equal(forward_write_page(s->f, page, bytes), 0);
    free(bytes);
}

static void expect(struct side *s, int32_t page, int seed) {
    size_t n = forward_device_page_bytes(s->f);
    uint8_t *bytes = malloc(n);
    assert_non_null(bytes);
    assert_int_equal(forward_read_page(s->f, page, bytes), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bytes[i], (uint8_t)(i * 7 + (size_t)seed * 31));
    free(bytes);
}

static void ids(int32_t *tokens, int seed) {
    for (int i = 0; i < KERNELS_PAGE_TOKENS; i++)
        tokens[i] = (i * 3 + seed) % VOCAB;
}

/* Saves two whole pages and 20 tokens of a third, and nothing of a fourth, which is one session's. */
static int save(size_t most) {
    struct side s = open_side(DTYPE_F16);
    int32_t tokens[KERNELS_PAGE_TOKENS], page[4];
    char err[300] = "";
    for (int i = 0; i < 4; i++) {
        ids(tokens, i);
        page[i] = pages_take(s.p);
        fill(&s, page[i], i);
        if (i < 2)
            page[i] = pages_publish(s.p, page[i], i > 0 ? page[i - 1] : PAGES_NONE, tokens);
        else
            pages_leave(s.p, page[i], page[1], tokens, 40);
    }
    pages_share(s.p, page[0], KERNELS_PAGE_TOKENS);
    pages_share(s.p, page[1], KERNELS_PAGE_TOKENS);
    pages_share(s.p, page[2], 20);
    int n = prefix_file_save(path, most, MODEL, s.f, s.p, err, sizeof err);
    close_side(&s);
    return n;
}

/* What is loaded into a fresh engine; after a failure all pages are free. */
static int load(uint64_t model, enum dtype kv, char *err, size_t errlen) {
    struct side s = open_side(kv);
    int n = prefix_file_load(path, model, s.f, s.p, VOCAB, err, errlen), matched = 0;
    assert_int_equal(pages_in_use(s.p), 0);
    int32_t tokens[KERNELS_PAGE_TOKENS];
    ids(tokens, 0);
    if (n <= 0)
        assert_int_equal(pages_find_part(s.p, PAGES_NONE, tokens, KERNELS_PAGE_TOKENS, &matched), PAGES_NONE);
    close_side(&s);
    return n;
}

static void test_saved_and_loaded(void **state) {
    (void)state;
    char err[300] = "";
    struct stat st;
    assert_int_equal(load(MODEL, DTYPE_F16, err, sizeof err), 0); /* there is none */
    assert_string_equal(err, "");
    assert_int_equal(save((size_t)1 << 20), 3);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);

    struct side s = open_side(DTYPE_F16);
    int32_t tokens[KERNELS_PAGE_TOKENS], page = PAGES_NONE;
    int matched = 0;
    assert_int_equal(prefix_file_load(path, MODEL, s.f, s.p, VOCAB, err, sizeof err), 148);
    for (int i = 0; i < 2; i++) {
        ids(tokens, i);
        page = pages_find(s.p, page, tokens);
        assert_true(page != PAGES_NONE);
        expect(&s, page, i);
    }
    ids(tokens, 2);
    page = pages_find_part(s.p, page, tokens, KERNELS_PAGE_TOKENS, &matched);
    assert_int_equal(matched, 20);
    expect(&s, page, 2);
    /* It is written again, though nobody used it, and what is left of it is the same. */
    assert_int_equal(prefix_file_save(path, (size_t)1 << 20, MODEL, s.f, s.p, err, sizeof err), 3);
    close_side(&s);
    assert_int_equal(load(MODEL, DTYPE_F16, err, sizeof err), 148);
}

static void test_ceiling(void **state) {
    (void)state;
    char err[300] = "";
    struct stat st;
    struct side s = open_side(DTYPE_F16);
    size_t page = forward_device_page_bytes(s.f);
    close_side(&s);
    size_t most = 4096 + 2 * page;
    (void)unlink(path);
    assert_int_equal(save(most), 2);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, most);
    assert_int_equal(load(MODEL, DTYPE_F16, err, sizeof err), 128);
    assert_int_equal(save(100), 0); /* no room for a page: the old file stays */
    assert_int_equal(load(MODEL, DTYPE_F16, err, sizeof err), 128);
}

static uint8_t *read_file(size_t *n) {
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc((size_t)1 << 20);
    assert_true(file != NULL && bytes != NULL);
    *n = fread(bytes, 1, (size_t)1 << 20, file);
    fclose(file);
    return bytes;
}

static void write_file(const uint8_t *bytes, size_t n) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

static void expect_ignored(uint64_t model, enum dtype kv, int code, const char *why) {
    char err[300] = "";
    int rc = load(model, kv, err, sizeof err);
    if (rc != code || strstr(err, "is ignored: ") == NULL || strstr(err, why) == NULL)
        fail_msg("%d '%s', not %d '%s'", rc, err, code, why);
}

static void test_cut_or_altered(void **state) {
    (void)state;
    size_t n;
    char err[300];
    assert_int_equal(save((size_t)1 << 20), 3);
    uint8_t *bytes = read_file(&n);
    int fd = open(path, O_WRONLY | O_CLOEXEC); /* in place: writing anew waits for the disk */
    assert_true(fd >= 0);
    for (size_t at = 0; at < n; at += at < 1200 ? 1 : 13) {
        uint8_t altered = bytes[at] ^ (uint8_t)(1 << at % 8);
        assert_int_equal(pwrite(fd, &altered, 1, (off_t)at), 1);
        if (load(MODEL, DTYPE_F16, err, sizeof err) >= 0)
            fail_msg("byte %zu may be altered", at);
        assert_int_equal(pwrite(fd, &bytes[at], 1, (off_t)at), 1);
    }
    assert_int_equal(load(MODEL, DTYPE_F16, err, sizeof err), 148);
    for (size_t cut = n; cut > 0; cut -= cut > 1300 ? 509 : 1) {
        assert_int_equal(ftruncate(fd, (off_t)cut - 1), 0);
        assert_true(load(MODEL, DTYPE_F16, err, sizeof err) < 0);
    }
    close(fd);
    bytes[n] = 0;
    write_file(bytes, n + 1);
    expect_ignored(MODEL, DTYPE_F16, -EBADMSG, "cut off");
    write_file(bytes, n);
    assert_int_equal(load(MODEL, DTYPE_F16, err, sizeof err), 148);
    free(bytes);
}

static void test_foreign(void **state) {
    (void)state;
    assert_int_equal(save((size_t)1 << 20), 3);
    expect_ignored(MODEL + 1, DTYPE_F16, -EPROTO, "another model or device");
    expect_ignored(MODEL, DTYPE_F32, -EPROTO, "another model or device");
    assert_int_equal(chmod(path, 0620), 0);
    expect_ignored(MODEL, DTYPE_F16, -EACCES, "only this user can write");
    assert_int_equal(chmod(path, 0600), 0);
    char other[128];
    (void)snprintf(other, sizeof other, "%s.elsewhere", path);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(symlink(other, path), 0);
    expect_ignored(MODEL, DTYPE_F16, -ELOOP, "");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(other), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_ignored(MODEL, DTYPE_F16, -EACCES, "");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_ignored(MODEL, DTYPE_F16, -EACCES, "");
    assert_int_equal(save((size_t)1 << 20), -EISDIR);
    assert_int_equal(rmdir(path), 0);
}

/* Records that somebody made up, with a sum that fits. */
static void test_nonsense(void **state) {
    (void)state;
    static const struct {
        size_t at; /* int of which record, which of its ints, its value */
        size_t of;
        int32_t value;
    } made_up[] = {{0, 0, 0},  {0, 0, -2}, {1, 0, 1},  {1, 0, 2},  {2, 0, 1000},  {0, 1, 0},
                   {0, 1, 65}, {0, 1, -1}, {0, 1, 30}, {0, 2, -1}, {1, 7, VOCAB}, {2, 21, 1 << 30}};
    size_t n;
    assert_int_equal(save((size_t)1 << 20), 3);
    uint8_t *bytes = read_file(&n);
    for (size_t i = 0; i < sizeof made_up / sizeof *made_up; i++) {
        uint8_t *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, bytes, n);
        struct prefix_header *h = (struct prefix_header *)(void *)copy;
        memcpy(copy + sizeof *h + (made_up[i].at * 66 + made_up[i].of) * 4, &made_up[i].value, 4);
        h->sum = prefix_file_sum(copy, n);
        write_file(copy, n);
        free(copy);
        expect_ignored(MODEL, DTYPE_F16, -EBADMSG, "makes no sense");
    }
    free(bytes);
}

static void test_models_differ(void **state) {
    (void)state;
    uint64_t model = prefix_file_model(&weights.model);
    assert_int_equal(prefix_file_model(&weights.model), model);
    float *weight = (float *)(uintptr_t)weights.model.layers[0].w_down.data;
    float before = weight[3];
    weight[3] += 1;
    assert_true(prefix_file_model(&weights.model) != model);
    weight[3] = before;
    weights.model.rms_eps *= 2;
    assert_true(prefix_file_model(&weights.model) != model);
    weights.model.rms_eps /= 2;
    assert_int_equal(prefix_file_model(&weights.model), model);
}

static int setup(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/hermesd-prefix-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/prefixes.kv", folder);
    random_engine_init(&weights, &shape, 256);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    (void)unlink(path);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left */
    random_engine_finish(&weights);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_saved_and_loaded), cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_cut_or_altered),   cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_nonsense),         cmocka_unit_test(test_models_differ),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
