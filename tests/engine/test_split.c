/* Models split into several GGUF files: all parts are one model; what is missing, double or lies is refused
 * with one sentence. */
#include "engine/cli_logits.h"
#include "engine/gguf_set.h"
#include "engine/model.h"
#include "tests/engine/fixture.h"
#include "tests/engine/write_gguf.h"
#include "tests/kernels/random_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define N_PARTS 3

static char prefix[256], whole[256];

static const struct random_shape shape = {.n_layers = 2,
                                          .n_heads = 2,
                                          .n_kv_heads = 1,
                                          .head_dim = 16,
                                          .dim = 32,
                                          .ffn_dim = 64,
                                          .n_vocab = 40,
                                          .type = DTYPE_Q4_0,
                                          .seed = 5};

static const char *part(int i) {
    static char names[4][512];
    static int turn;
    return write_gguf_part(names[turn = (turn + 1) % 4], prefix, i, N_PARTS);
}

static void write_model(bool bare_first) {
    struct kernels_model m;
    random_model_init(&m, &shape);
    write_gguf(whole, &m, &(struct write_gguf){.n_ctx = 64});
    write_gguf(prefix, &m, &(struct write_gguf){.n_ctx = 64, .n_parts = N_PARTS, .bare_first = bare_first});
    random_model_finish(&m);
}

static char *read_whole(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    *len = fread(bytes, 1, 1 << 20, f);
    (void)fclose(f);
    return bytes;
}

static int try_open(const char *path, char err[500]) {
    struct model *m = NULL;
    err[0] = '\0';
    int rc = model_open_weights(path, &m, err, 500);
    if (rc < 0 && (m != NULL || strlen(err) < 20 || err[strlen(err) - 1] != '.'))
        fail_msg("the refusal is no sentence: '%s'", err);
    model_close(m);
    return rc;
}

static void refused(const char *path, int want, const char *says) {
    char err[500];
    int rc = try_open(path, err);
    if (rc != want || strstr(err, says) == NULL)
        fail_msg("%d '%s', wanted %d and '%s'", rc, err, want, says);
}

static void logits_of(const char *path, struct buf *out) {
    static const int32_t ids[] = {1, 2, 3, 5, 8};
    char err[300] = "";
    buf_init(out, 1 << 20);
    if (engine_cli_logits(path, ids, 5, 0, out, err, sizeof err) < 0)
        fail_msg("%s", err);
}

static void test_parts_are_one_model(void **state) {
    (void)state;
    for (int bare = 0; bare < 2; bare++) {
        write_model(bare);
        struct buf one, parts;
        struct model *m = NULL;
        char err[300] = "";
        logits_of(whole, &one);
        logits_of(part(1), &parts);
        assert_int_equal(one.len, parts.len);
        assert_memory_equal(one.data, parts.data, one.len);
        buf_finish(&one);
        buf_finish(&parts);
        assert_int_equal(model_open_weights(part(1), &m, err, sizeof err), 0);
        assert_string_equal(m->format, "GGUF v3 in 3 parts");
        model_close(m);
    }
}

static void test_missing_and_misnamed(void **state) {
    (void)state;
    write_model(false);
    char other[300];
    refused(part(2), -EINVAL, "is part 2 of 3; open the first one");
    (void)snprintf(other, sizeof other, "%s.gguf", prefix);
    assert_int_equal(rename(part(1), other), 0);
    refused(other, -EINVAL, "its name must end in -00001-of-00003.gguf");
    assert_int_equal(rename(other, part(1)), 0);
    assert_int_equal(unlink(part(3)), 0);
    refused(part(1), -ENOENT, "Part 3 of 3 of model");
    fixture_write(part(3), "", 0);
    refused(part(1), -EINVAL, "-00003-of-00003.gguf");
}

/* One part in the place of another, and one of another model. */
static void test_swapped_and_foreign(void **state) {
    (void)state;
    write_model(false);
    size_t len = 0;
    char *third = read_whole(part(3), &len);
    fixture_write(part(2), third, len);
    refused(part(1), -EINVAL, "says that it is part 3 of 3");
    free(third);
    write_model(false);
    char *lone = read_whole(whole, &len);
    fixture_write(part(2), lone, len);
    refused(part(1), -EINVAL, "says that it is part 1 of 1");
    free(lone);
}

/* Puts `n` bytes behind the key of one part. */
static void lie(int i, const char *key, uint64_t value, size_t n) {
    size_t len = 0;
    char *bytes = read_whole(part(i), &len);
    char *at = memmem(bytes, len, key, strlen(key));
    assert_non_null(at);
    memcpy(at + strlen(key) + 4, &value, n);
    fixture_write(part(i), bytes, len);
    free(bytes);
}

static void test_numbers_that_lie(void **state) {
    (void)state;
    static const uint64_t numbers[] = {0,  1,   2,   3,     4,     20,         21,
                                       22, 256, 257, 32767, 65535, 0x7FFFFFFF, 0xFFFFFFFF};
    static const struct {
        const char *key;
        size_t bytes;
    } keys[] = {{"split.no", 2}, {"split.count", 2}, {"split.tensors.count", 4}};
    int refusals = 0;
    for (int i = 1; i <= N_PARTS; i++)
        for (int k = 0; k < 3; k++)
            for (size_t n = 0; n < sizeof numbers / sizeof numbers[0]; n++) {
                char err[500];
                write_model(false);
                lie(i, keys[k].key, numbers[n], keys[k].bytes);
                int rc = try_open(part(1), err);
                refusals += rc < 0 ? 1 : 0;
                if (rc == 0 && numbers[n] != 21 && numbers[n] != (k == 0 ? (uint64_t)i - 1 : N_PARTS))
                    fail_msg("part %d: %s of %llu opens", i, keys[k].key, (unsigned long long)numbers[n]);
            }
    assert_true(refusals >= N_PARTS * 3 * 12);
    write_model(false);
    lie(1, "split.count", 0, 2); /* as if it were whole */
    refused(part(1), -EINVAL, "no tensor");
    write_model(false);
    lie(1, "split.count", 300, 2);
    refused(part(1), -ENOTSUP, "one of 300 parts");
    write_model(false);
    for (int i = 1; i <= N_PARTS; i++)
        lie(i, "split.tensors.count", 22, 4);
    refused(part(1), -EINVAL, "have 21 tensors, and split.tensors.count says 22");
    for (int i = 1; i <= N_PARTS; i++)
        lie(i, "split.tensors.count", 13, 4);
    refused(part(1), -EINVAL, "have at least 14 tensors, and split.tensors.count says 13");
}

static void test_a_tensor_in_two_parts(void **state) {
    (void)state;
    write_model(false);
    size_t len = 0;
    char *bytes = read_whole(part(3), &len);
    char *at = memmem(bytes, len, "blk.1.attn_output", 17);
    assert_non_null(at);
    memcpy(at, "blk.0.attn_output", 17);
    fixture_write(part(3), bytes, len);
    free(bytes);
    refused(part(1), -EINVAL, "Tensor blk.0.attn_output.weight is in '");
}

/* A tensor of the second part gets a name of `n` bytes; the file is long enough for it. */
static void rename_tensor(const char *name, size_t n) {
    size_t len = 0, old = strlen(name);
    uint64_t longer = n;
    char *bytes = read_whole(part(2), &len), *out = calloc(1, len + n + 32);
    char *at = memmem(bytes, len, name, old);
    assert_non_null(out);
    assert_non_null(at);
    size_t before = (size_t)(at - bytes);
    memcpy(out, bytes, before);
    memcpy(out + before - 8, &longer, 8);
    memset(out + before, 'n', n);
    memcpy(out + before + n, at + old, len - before - old);
    fixture_write(part(2), out, len + n + 32);
    free(bytes);
    free(out);
}

/* Every name of a part is looked up in the others, from an array that holds 256 bytes and no more. */
static void test_long_names(void **state) {
    (void)state;
    write_model(false);
    rename_tensor("blk.0.ffn_down.weight", 256);
    refused(part(1), -ENOTSUP, "has no place in a Llama of 2 layers");
    write_model(false);
    rename_tensor("blk.0.ffn_down.weight", 257);
    refused(part(1), -EINVAL, ": a name of more than 256 bytes.");
}

static void test_cut_at_every_byte(void **state) {
    (void)state;
    write_model(false);
    for (int i = 1; i <= N_PARTS; i++) {
        size_t len = 0;
        char err[500];
        char *bytes = read_whole(part(i), &len);
        size_t zeros = 0;
        while (bytes[len - 1 - zeros] == '\0')
            zeros++;
        for (size_t n = len - 1 - zeros; n > 0; n = n > 2000 ? n - 37 : n - 1) {
            assert_int_equal(truncate(part(i), (off_t)n), 0);
            if (try_open(part(1), err) != -EINVAL || strstr(err, "byte ") == NULL)
                fail_msg("part %d cut at byte %zu: '%s'", i, n, err);
        }
        fixture_write(part(i), bytes, len);
        free(bytes);
    }
}

static int teardown(void **state) {
    (void)state;
    for (int i = 1; i <= N_PARTS; i++)
        (void)unlink(part(i));
    (void)unlink(whole);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_are_one_model),
        cmocka_unit_test(test_missing_and_misnamed),
        cmocka_unit_test(test_swapped_and_foreign),
        cmocka_unit_test(test_numbers_that_lie),
        cmocka_unit_test(test_a_tensor_in_two_parts),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_long_names),
    };
    fixture_path(prefix, "split");
    fixture_path(whole, "split-whole.gguf");
    return cmocka_run_group_tests(tests, NULL, teardown);
}
