/* The file of common beginnings: what was saved is found again, bit by bit, and read when it is wanted; a
 * file that is cut, foreign or nonsense is ignored as a whole, with a sentence; a page that was altered, or
 * cut off meanwhile, is lost alone. */
#include "engine/prefix_file.h"
#include "engine/prefix_sum.h"
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
#define MOST    ((size_t)1 << 20)

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
    struct prefix_file *file;
    struct pages *p;
    int n_tokens; /* found in the file; or a negative errno */
};

/* An engine of n_pages pages that opens the file, as far as `most` bytes of it. */
static struct side open_with(int n_pages, size_t most, uint64_t model, enum dtype kv, char *err,
                             size_t errlen) {
    struct side s = {0};
    char why[200];
    struct forward_config config = {.max_rows = 4,
                                    .max_outputs = 1,
                                    .max_context = 256,
                                    .n_pages = n_pages,
                                    .kv_type = kv,
                                    .n_threads = 1};
    if (forward_open(&weights.model, &config, &s.f, why, sizeof why) < 0)
        fail_msg("%s", why);
    int rc = prefix_file_open(path, most, model, VOCAB, s.f, &s.file, err, errlen);
    assert_true(rc <= 0 && (rc == 0 || s.file == NULL));
    struct pages_store kept = prefix_file_store(s.file);
    s.p = pages_create(n_pages, NULL, &kept);
    assert_non_null(s.p);
    s.n_tokens = rc < 0 ? rc : prefix_file_enter(s.file, s.p);
    assert_int_equal(pages_in_use(s.p), 0);
    return s;
}

static struct side open_side(char *err, size_t errlen) {
    return open_with(N_PAGES, MOST, MODEL, DTYPE_F16, err, errlen);
}

static void close_side(struct side *s) {
    pages_destroy(s->p);
    prefix_file_close(s->file);
    forward_close(s->f);
}

static int save_side(struct side *s, size_t most) {
    char err[300] = "";
    int n = prefix_file_save(path, most, MODEL, s->f, s->p, s->file, err, sizeof err);
    assert_int_equal(n < 0, err[0] != '\0');
    return n;
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
    struct side s = open_with(N_PAGES, 0, MODEL, DTYPE_F16, NULL, 0);
    int32_t tokens[KERNELS_PAGE_TOKENS], page[4];
    prefix_file_close(s.file); /* it counts for nothing here */
    s.file = NULL;
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
    int n = save_side(&s, most);
    close_side(&s);
    return n;
}

/* How many of the three pages are there, with what they hold; of these the tokens in *n_tokens. */
static int find(struct side *s, int *n_tokens) {
    int32_t tokens[KERNELS_PAGE_TOKENS], page[3] = {PAGES_NONE, PAGES_NONE, PAGES_NONE};
    int n = 0, matched = 0;
    *n_tokens = 0;
    for (; n < 3; n++) {
        int32_t parent = n > 0 ? page[n - 1] : PAGES_NONE;
        ids(tokens, n);
        page[n] = n < 2 ? pages_find(s->p, parent, tokens)
                        : pages_find_part(s->p, parent, tokens, KERNELS_PAGE_TOKENS, &matched);
        if (page[n] == PAGES_NONE)
            break;
        expect(s, page[n], n);
        *n_tokens += n < 2 ? KERNELS_PAGE_TOKENS : matched;
    }
    for (int i = n - 1; i >= 0; i--)
        pages_drop(s->p, page[i]);
    return n;
}

/* Opens the file and wants all of it: the tokens that were there; or why it is ignored. */
static int load_as(uint64_t model, enum dtype kv, char *err, size_t errlen) {
    struct side s = open_with(N_PAGES, MOST, model, kv, err, errlen);
    int n = s.n_tokens, n_tokens = 0;
    (void)find(&s, &n_tokens);
    assert_true(n > 0 || n_tokens == 0);
    close_side(&s);
    return n > 0 ? n_tokens : n;
}

static int load(char *err, size_t errlen) {
    return load_as(MODEL, DTYPE_F16, err, errlen);
}

static void test_saved_and_found(void **state) {
    (void)state;
    char err[300] = "";
    struct stat st, again;
    int n_tokens;
    assert_int_equal(load(err, sizeof err), 0); /* there is none */
    assert_string_equal(err, "");
    assert_int_equal(save(MOST), 3);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);

    /* Nobody wants anything: nothing takes a page, and the file is left as it is. */
    struct side s = open_side(err, sizeof err);
    assert_int_equal(s.n_tokens, 148);
    int32_t taken[N_PAGES];
    for (int i = 0; i < N_PAGES; i++) {
        taken[i] = pages_take(s.p);
        assert_true(taken[i] != PAGES_NONE);
    }
    assert_int_equal(pages_take(s.p), PAGES_NONE);
    for (int i = 0; i < N_PAGES; i++)
        pages_drop(s.p, taken[i]);
    assert_int_equal(save_side(&s, MOST), 3);
    assert_int_equal(stat(path, &again), 0);
    assert_int_equal(again.st_ino, st.st_ino);

    /* It is wanted, comes back after it gave way, and is written again. */
    for (int round = 0; round < 2; round++) {
        assert_int_equal(find(&s, &n_tokens), 3);
        assert_int_equal(n_tokens, 148);
        for (int i = 0; i < N_PAGES; i++) {
            taken[i] = pages_take(s.p);
            fill(&s, taken[i], 99);
        }
        for (int i = 0; i < N_PAGES; i++)
            pages_drop(s.p, taken[i]);
    }
    assert_null(prefix_file_lost(s.file));
    assert_int_equal(save_side(&s, MOST), 3);
    close_side(&s);
    assert_int_equal(stat(path, &again), 0);
    assert_true(again.st_ino != st.st_ino);
    assert_int_equal(load(err, sizeof err), 148);
}

/* What was computed since is kept beside what was there, wherever that is; a file that was replaced or
 * removed meanwhile is read as it was. */
static void test_old_and_new(void **state) {
    (void)state;
    char err[300] = "";
    int32_t tokens[KERNELS_PAGE_TOKENS], page;
    assert_int_equal(save(MOST), 3);
    struct side s = open_side(err, sizeof err);
    assert_int_equal(unlink(path), 0);
    ids(tokens, 0);
    page = pages_find(s.p, PAGES_NONE, tokens); /* one of the three is in a page again */
    assert_true(page != PAGES_NONE);
    pages_drop(s.p, page);
    ids(tokens, 30);
    page = pages_take(s.p);
    fill(&s, page, 30);
    page = pages_publish(s.p, page, PAGES_NONE, tokens);
    pages_share(s.p, page, KERNELS_PAGE_TOKENS);
    pages_drop(s.p, page);
    assert_int_equal(save_side(&s, MOST), 4);
    close_side(&s);
    s = open_side(err, sizeof err);
    assert_int_equal(s.n_tokens, 148 + 64);
    int n_tokens;
    assert_int_equal(find(&s, &n_tokens), 3);
    page = pages_find(s.p, PAGES_NONE, tokens);
    assert_true(page != PAGES_NONE);
    expect(&s, page, 30);
    close_side(&s);
}

/* Processes in which only the first page is wanted: what is behind it drops out after eight of them, not
 * after any number in which nothing is. */
static void test_unwanted(void **state) {
    (void)state;
    char err[300] = "";
    int32_t tokens[KERNELS_PAGE_TOKENS];
    assert_int_equal(save(MOST), 3);
    ids(tokens, 0);
    for (int run = 0; run < 2 * PREFIX_FILE_RUNS + 1; run++) {
        struct side s = open_side(err, sizeof err);
        if (run % 2 == 0)
            pages_drop(s.p, pages_find(s.p, PAGES_NONE, tokens));
        assert_int_equal(save_side(&s, MOST), run < 2 * PREFIX_FILE_RUNS ? 3 : 1);
        close_side(&s);
    }
    struct side s = open_side(err, sizeof err);
    assert_int_equal(s.n_tokens, 64);
    close_side(&s);

    /* Wanted once, they count as new. */
    assert_int_equal(save(MOST), 3);
    for (int run = 0; run < 3 * PREFIX_FILE_RUNS; run++) {
        int n_tokens;
        s = open_side(err, sizeof err);
        pages_drop(s.p, pages_find(s.p, PAGES_NONE, tokens));
        if (run % PREFIX_FILE_RUNS == 0)
            assert_int_equal(find(&s, &n_tokens), 3);
        assert_int_equal(save_side(&s, MOST), 3);
        close_side(&s);
    }
}

static void test_ceiling(void **state) {
    (void)state;
    char err[300] = "";
    struct stat st;
    struct side s = open_side(err, sizeof err);
    size_t page = forward_device_page_bytes(s.f);
    close_side(&s);
    size_t most = PREFIX_FILE_ALIGN + 2 * page;
    assert_int_equal(prefix_file_room(most, page), 2);
    assert_int_equal(prefix_file_room(most - 1, page), 1);
    assert_int_equal(prefix_file_room(100, page), 0);
    assert_int_equal(prefix_file_room(SIZE_MAX, page), PREFIX_FILE_PAGES);
    (void)unlink(path);
    assert_int_equal(save(most), 2);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, most);
    assert_int_equal(load(err, sizeof err), 128);
    assert_int_equal(save(100), 0); /* no room for a page: the old file stays */
    assert_int_equal(load(err, sizeof err), 128);
    /* A ceiling that is lower than it was: what was used last is there, and the file becomes smaller. */
    assert_int_equal(save(MOST), 3);
    s = open_with(N_PAGES, most, MODEL, DTYPE_F16, err, sizeof err);
    assert_int_equal(s.n_tokens, 128);
    assert_int_equal(save_side(&s, most), 2);
    close_side(&s);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, most);
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
    int rc = load_as(model, kv, err, sizeof err);
    if (rc != code || strstr(err, "is ignored: ") == NULL || strstr(err, why) == NULL)
        fail_msg("%d '%s', not %d '%s'", rc, err, code, why);
}

/* Of what says what is there every byte counts; of a page, when it is wanted. */
static void test_altered(void **state) {
    (void)state;
    size_t n;
    char err[300];
    assert_int_equal(save(MOST), 3);
    uint8_t *bytes = read_file(&n);
    const struct prefix_header *h = (const struct prefix_header *)(void *)bytes;
    size_t known = sizeof *h + 3 * sizeof(struct prefix_record), page = (size_t)h->page_bytes;
    assert_int_equal(n, h->data_at + 3 * page);
    int fd = open(path, O_WRONLY | O_CLOEXEC); /* in place: writing anew waits for the disk */
    assert_true(fd >= 0);
    for (size_t at = 0; at < n; at += at + 1 == known ? h->data_at - at : at < known ? 1 : 13) {
        uint8_t altered = bytes[at] ^ (uint8_t)(1 << at % 8);
        assert_int_equal(pwrite(fd, &altered, 1, (off_t)at), 1);
        int left = at < known ? 0 : (int)((at - h->data_at) / page) * KERNELS_PAGE_TOKENS;
        int got = load(err, sizeof err);
        if (at < known ? got >= 0 : got != left)
            fail_msg("byte %zu altered: %d", at, got);
        assert_int_equal(pwrite(fd, &bytes[at], 1, (off_t)at), 1);
    }
    assert_int_equal(load(err, sizeof err), 148);

    /* Altered, and then not wanted: it is not written again, nor what is behind it. */
    uint8_t altered = (uint8_t)~bytes[h->data_at + page + 5];
    assert_int_equal(pwrite(fd, &altered, 1, (off_t)(h->data_at + page + 5)), 1);
    close(fd);
    struct side s = open_side(err, sizeof err);
    int32_t tokens[KERNELS_PAGE_TOKENS];
    int n_tokens;
    ids(tokens, 0);
    pages_drop(s.p, pages_find(s.p, PAGES_NONE, tokens));
    assert_null(prefix_file_lost(s.file));
    assert_int_equal(save_side(&s, MOST), 1);
    assert_non_null(strstr(prefix_file_lost(s.file), "Page 1 of the prefix cache"));
    assert_non_null(strstr(prefix_file_lost(s.file), "it was altered."));
    assert_int_equal(find(&s, &n_tokens), 1);
    close_side(&s);
    assert_int_equal(load(err, sizeof err), 64);

    /* Nothing is left of it: there is no file any more. */
    bytes[h->data_at] ^= 1;
    write_file(bytes, n);
    s = open_side(err, sizeof err);
    assert_int_equal(find(&s, &n_tokens), 0);
    assert_non_null(prefix_file_lost(s.file));
    assert_int_equal(save_side(&s, MOST), 0);
    close_side(&s);
    assert_int_equal(access(path, F_OK), -1);
    free(bytes);
}

static void test_cut(void **state) {
    (void)state;
    size_t n;
    char err[300];
    assert_int_equal(save(MOST), 3);
    uint8_t *bytes = read_file(&n);
    for (size_t cut = n; cut > 0; cut -= cut > 1300 ? 509 : 1) {
        assert_int_equal(truncate(path, (off_t)cut - 1), 0);
        assert_true(load(err, sizeof err) < 0);
    }
    bytes[n] = 0;
    write_file(bytes, n + 1);
    expect_ignored(MODEL, DTYPE_F16, -EBADMSG, "cut off");
    write_file(bytes, n);
    assert_int_equal(load(err, sizeof err), 148);
    free(bytes);
}

/* Cut off while it is mapped, to nothing and in the middle of pages: what is gone is computed again. */
static void test_cut_while_in_use(void **state) {
    (void)state;
    static const size_t left[] = {0, 1000, PREFIX_FILE_ALIGN, PREFIX_FILE_ALIGN + 2048 + 100};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        char err[300] = "";
        int n_tokens;
        assert_int_equal(save(MOST), 3);
        struct side s = open_side(err, sizeof err);
        assert_int_equal(forward_device_page_bytes(s.f), 2048);
        assert_int_equal(s.n_tokens, 148);
        assert_int_equal(truncate(path, (off_t)left[i]), 0);
        assert_int_equal(find(&s, &n_tokens), i < 3 ? 0 : 1);
        const char *lost = prefix_file_lost(s.file);
        assert_non_null(strstr(lost, "is not used, nor what is behind it"));
        if (i < 3) /* the rest of a page of memory is there, as zeros */
            assert_non_null(strstr(lost, "it was cut off while it was in use."));
        assert_int_equal(save_side(&s, MOST), i < 3 ? 0 : 1);
        close_side(&s);
    }
}

static void test_foreign(void **state) {
    (void)state;
    assert_int_equal(save(MOST), 3);
    expect_ignored(MODEL + 1, DTYPE_F16, -EPROTO, "another model or device");
    expect_ignored(MODEL, DTYPE_F32, -EPROTO, "another model or device");
    expect_ignored(MODEL, DTYPE_Q8_0, -EPROTO, "another model or device");
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
    assert_int_equal(save(MOST), -EISDIR);
    assert_int_equal(rmdir(path), 0);
}

/* Records that somebody made up, with a sum that fits. */
static void test_nonsense(void **state) {
    (void)state;
    enum { PARENT = 2, TOKENS = 3, IDLE = 4, FIRST = 6, INTS = sizeof(struct prefix_record) / 4 };
    static const struct {
        size_t at; /* which record, which of its ints, its value */
        size_t of;
        int32_t value;
    } made_up[] = {{0, PARENT, 0},        {0, PARENT, -2},
                   {1, PARENT, 1},        {1, PARENT, 2},
                   {2, PARENT, 1000},     {0, TOKENS, 0},
                   {0, TOKENS, 65},       {0, TOKENS, -1},
                   {0, TOKENS, 30},       {0, FIRST, -1},
                   {1, FIRST + 5, VOCAB}, {2, FIRST + 19, 1 << 30},
                   {0, IDLE, -1},         {1, IDLE, PREFIX_FILE_RUNS + 1}};
    size_t n;
    assert_int_equal(save(MOST), 3);
    uint8_t *bytes = read_file(&n);
    size_t known = sizeof(struct prefix_header) + 3 * sizeof(struct prefix_record);
    for (size_t i = 0; i < sizeof made_up / sizeof *made_up; i++) {
        uint8_t *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, bytes, n);
        struct prefix_header *h = (struct prefix_header *)(void *)copy;
        memcpy(copy + sizeof *h + (made_up[i].at * INTS + made_up[i].of) * 4, &made_up[i].value, 4);
        h->sum = 0;
        h->sum = prefix_sum(PREFIX_SUM_START, copy, known);
        write_file(copy, n);
        free(copy);
        expect_ignored(MODEL, DTYPE_F16, -EBADMSG, "makes no sense");
    }
    free(bytes);
}

/* Numbers of pages and places that somebody made up, with a sum that fits as far as there is anything to sum
 * up. */
static void test_nonsense_of_the_whole(void **state) {
    (void)state;
    size_t n;
    assert_int_equal(save(MOST), 3);
    uint8_t *bytes = read_file(&n);
    struct prefix_header *h = (struct prefix_header *)(void *)bytes, right = *h;
    const uint32_t counts[] = {0, 1, 2, 4, 1000, PREFIX_FILE_PAGES, PREFIX_FILE_PAGES + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        *h = right;
        h->n_pages = counts[i];
        write_file(bytes, n);
        expect_ignored(MODEL, DTYPE_F16, -EBADMSG, "cut off");
    }
    const uint64_t places[] = {0, 8, right.data_at - 1, right.data_at + 1, n, n + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        *h = right;
        h->data_at = places[i];
        write_file(bytes, n);
        expect_ignored(MODEL, DTYPE_F16, -EBADMSG, "cut off");
    }
    *h = right;
    h->page_bytes = 0;
    write_file(bytes, n);
    expect_ignored(MODEL, DTYPE_F16, -EPROTO, "another model or device");
    free(bytes);
}

static void test_models_differ(void **state) {
    (void)state;
    uint64_t model = prefix_sum_model(&weights.model);
    assert_int_equal(prefix_sum_model(&weights.model), model);
    float *weight = (float *)(uintptr_t)weights.model.layers[0].w_down.data;
    float before = weight[3];
    weight[3] += 1;
    assert_true(prefix_sum_model(&weights.model) != model);
    weight[3] = before;
    weights.model.rms_eps *= 2;
    assert_true(prefix_sum_model(&weights.model) != model);
    weights.model.rms_eps /= 2;
    assert_int_equal(prefix_sum_model(&weights.model), model);
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
        cmocka_unit_test(test_saved_and_found),  cmocka_unit_test(test_old_and_new),
        cmocka_unit_test(test_unwanted),         cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_altered),          cmocka_unit_test(test_cut),
        cmocka_unit_test(test_cut_while_in_use), cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_nonsense),         cmocka_unit_test(test_nonsense_of_the_whole),
        cmocka_unit_test(test_models_differ),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
