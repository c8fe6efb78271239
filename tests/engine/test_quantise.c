/* A model as a file of other types: what is in the file, what its report says, and that a failure leaves
 * nothing. Other programs read such files in tests/oracles/llama_cpp_quantize.py. */
#include "engine/quantise.h"

#include "engine/cli_logits.h"
#include "engine/gguf.h"
#include "engine/tokenizer.h"
#include "kernels/cpu/convert.h"
#include "kernels/dtype.h"
#include "tests/engine/fixture.h"
#include "tests/engine/logits.h"
#include "tests/engine/write_gguf.h"
#include "tests/kernels/random_model.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char in[256], out[256], err[600];
static struct quantise_tensor seen[160];
static char names[160][64];
static int n_seen;
static volatile sig_atomic_t stop;
static int stop_after, write_after; /* so many tensors */

static void see(void *arg, const struct quantise_tensor *t) {
    (void)arg;
    assert_true(n_seen < 160);
    seen[n_seen] = *t;
    (void)snprintf(names[n_seen], sizeof names[0], "%s", t->name);
    n_seen++;
    stop = n_seen == stop_after ? 1 : 0;
    if (n_seen == write_after) {
        FILE *file = fopen(in, "abe");
        assert_non_null(file);
        assert_int_equal(fputc(0, file), 0);
        assert_int_equal(fclose(file), 0);
    }
}

static int quantise(const char *from, const char *type, bool dry_run, struct quantise_total *total) {
    struct quantise_options o = {.in = from,
                                 .out = out,
                                 .type = type,
                                 .dry_run = dry_run,
                                 .n_threads = 2,
                                 .stop = &stop,
                                 .report = see};
    n_seen = 0;
    stop = 0;
    err[0] = '\0';
    return quantise_model(&o, total, err, sizeof err);
}

static const struct quantise_tensor *find(const char *name) {
    for (int i = 0; i < n_seen; i++)
        if (strcmp(names[i], name) == 0)
            return &seen[i];
    fail_msg("no tensor %s was reported", name);
    return NULL;
}

/* No OUT, and nothing that begins like it. */
static void assert_nothing_left(void) {
    char folder[256];
    (void)snprintf(folder, sizeof folder, "%s", out);
    char *slash = strrchr(folder, '/');
    *slash = '\0';
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        if (strncmp(e->d_name, slash + 1, strlen(slash + 1)) == 0)
            fail_msg("%s was left", e->d_name);
    (void)closedir(d);
}

/* ---- the mix, block sizes that do not divide, and errors ---- */

static void write_random(const struct random_shape *shape, struct kernels_model *m) {
    random_model_init(m, shape);
    write_gguf(in, m, &(struct write_gguf){.n_ctx = 256});
}

static void test_types_of_the_mix(void **state) {
    (void)state;
    /* 16 layers: more bits in 0, 1, 4, 7, 10, 13, 14, 15. 96 columns are no block of 256. */
    struct random_shape shape = {.n_layers = 16,
                                 .n_heads = 2,
                                 .n_kv_heads = 1,
                                 .head_dim = 128,
                                 .dim = 256,
                                 .ffn_dim = 96,
                                 .n_vocab = 64,
                                 .type = DTYPE_F16,
                                 .seed = 3};
    struct kernels_model m;
    struct quantise_total total;
    write_random(&shape, &m);
    assert_int_equal(quantise(in, "Q4_K_M", false, &total), 0);
    for (int l = 0; l < 16; l++) {
        static const bool more[] = {1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1};
        char name[64];
        (void)snprintf(name, sizeof name, "blk.%d.attn_v.weight", l);
        assert_int_equal(find(name)->to, more[l] ? DTYPE_Q6_K : DTYPE_Q4_K);
        (void)snprintf(name, sizeof name, "blk.%d.ffn_down.weight", l);
        assert_int_equal(find(name)->to, more[l] ? DTYPE_Q8_0 : DTYPE_Q5_0); /* 96 columns */
        (void)snprintf(name, sizeof name, "blk.%d.attn_q.weight", l);
        assert_int_equal(find(name)->to, DTYPE_Q4_K);
        (void)snprintf(name, sizeof name, "blk.%d.ffn_norm.weight", l);
        assert_int_equal(find(name)->to, DTYPE_F32);
    }
    assert_int_equal(find("output.weight")->to, DTYPE_Q6_K);
    assert_int_equal(find("token_embd.weight")->to, DTYPE_Q4_K);
    assert_int_equal(total.n_tensors, 16 * 9 + 3);
    assert_int_equal(n_seen, 16 * 9 + 3);
    random_model_finish(&m);
    assert_int_equal(unlink(out), 0);
}

static double rms(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += pow((double)a[i] - (b != NULL ? (double)b[i] : 0), 2);
    return sqrt(sum / (double)n);
}

/* What the file holds is the numbers to within the error that was reported, in every type. */
static void test_numbers_and_errors(void **state) {
    (void)state;
    static const char *const types[] = {"f32",  "F16",  "BF16", "Q8_0", "Q4_0", "Q4_1",
                                        "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"};
    struct random_shape shape = QUANTISED_SHAPE(DTYPE_F32);
    struct kernels_model m;
    write_random(&shape, &m);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct quantise_total total;
        struct model *made = NULL;
        struct stat st;
        assert_int_equal(quantise(in, types[i], false, &total), 0);
        assert_int_equal(stat(out, &st), 0);
        assert_int_equal(total.file_bytes, st.st_size);
        assert_int_equal(total.n_tensors, n_seen);
        assert_int_equal(model_open_weights(out, &made, err, sizeof err), 0);
        assert_int_equal(made->weight_bytes, total.bytes_to);
        const struct tensor *was = &m.layers[1].w_down, *is = &made->layers[1].w_down;
        assert_string_equal(dtype_info(is->type)->name, i == 0 ? "F32" : types[i]);
        int64_t n = was->rows * was->cols;
        float *numbers = malloc((size_t)n * sizeof *numbers);
        assert_non_null(numbers);
        for (int64_t r = 0; r < is->rows; r++)
            convert_row(is->type, (const char *)is->data + convert_row_bytes(is->type, is->cols) * (size_t)r,
                        is->cols, numbers + r * is->cols);
        const struct quantise_tensor *t = find("blk.1.ffn_down.weight");
        double off = rms(was->data, numbers, n), largest = 0;
        for (int64_t k = 0; k < n; k++)
            largest = fmax(largest, fabs((double)((const float *)was->data)[k] - (double)numbers[k]));
        assert_true(fabs(t->rms - rms(was->data, NULL, n)) < 1e-9);
        assert_true(fabs(t->rms_error - off) < 1e-9 && fabs(t->max_error - largest) < 1e-9);
        assert_true(t->rms_error <= 0.11 * t->rms && (i == 0) == (t->rms_error == 0));
        free(numbers);
        model_close(made);
        assert_int_equal(unlink(out), 0);
    }
    random_model_finish(&m);
}

/* ---- values, tokenizers, folders ---- */

static void assert_same_tokenizer(const struct model *a, const struct model *b) {
    static const char text[] = "hello there, \xC3\xA9 <|im_end|> 123";
    struct token_list x = {0}, y = {0};
    assert_int_equal(tokenizer_encode_template(a->tokenizer, text, strlen(text), &x), 0);
    assert_int_equal(tokenizer_encode_template(b->tokenizer, text, strlen(text), &y), 0);
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.v, y.v, x.n * sizeof *x.v);
    token_list_finish(&x);
    token_list_finish(&y);
    assert_int_equal(a->bos_id, b->bos_id);
    assert_int_equal(a->add_bos, b->add_bos);
    assert_int_equal(a->n_eog_ids, b->n_eog_ids);
    for (int i = 0; i < a->n_eog_ids; i++)
        assert_true(model_is_eog(b, a->eog_ids[i]));
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->n_ctx_train, b->n_ctx_train);
}

static void assert_same_logits(const char *a, const char *b, double bound) {
    static const int32_t ids[] = {1, 5, 3, 7, 2, 9, 11, 4};
    struct buf text;
    struct json_limits limits = {.max_bytes = 1 << 20, .max_nodes = 10000, .max_depth = 8};
    cJSON *want = NULL;
    buf_init(&text, 1 << 20);
    assert_int_equal(engine_cli_logits(a, ids, 8, 0, &text, err, sizeof err), 0);
    assert_int_equal(json_parse(text.data, text.len, &limits, &want, err, sizeof err), 0);
    buf_finish(&text);
    double d = logits_difference(b, ids, 8, cJSON_GetObjectItem(want, "logits"));
    if (d > bound)
        fail_msg("logits of %s and %s are %g apart", a, b, d);
    cJSON_Delete(want);
}

/* A file keeps its values, but for those that say its types. */
static void test_values_of_a_gguf(void **state) {
    (void)state;
    struct fixture f;
    struct model *a = NULL, *b = NULL;
    struct quantise_total total;
    struct gguf *before = NULL, *after = NULL;
    fixture_gguf(&f, NULL);
    fixture_write(in, f.bytes.data, f.bytes.len);
    fixture_finish(&f);
    assert_int_equal(quantise(in, "F32", false, &total), 0);
    assert_int_equal(model_open(in, &a, err, sizeof err), 0);
    assert_int_equal(model_open(out, &b, err, sizeof err), 0);
    assert_same_tokenizer(a, b);
    assert_same_logits(in, out, 1e-5);
    model_close(a);
    model_close(b);
    assert_int_equal(gguf_open(in, &before, err, sizeof err), 0);
    assert_int_equal(gguf_open(out, &after, err, sizeof err), 0);
    for (size_t i = 0; i < before->n_values; i++) {
        char key[64];
        const struct gguf_value *v = &before->values[i];
        gguf_text_show(v->key, key);
        if (strcmp(key, "general.alignment") != 0 && strcmp(key, "general.file_type") != 0)
            assert_non_null(gguf_find(after, key));
    }
    int64_t type = -1;
    assert_int_equal(gguf_read_integer(after, "general.file_type", 0, 100, &type, err, sizeof err), 1);
    assert_int_equal(type, 0);
    gguf_close(before);
    gguf_close(after);
    assert_int_equal(unlink(out), 0);
}

static void test_a_folder(void **state) {
    (void)state;
    char folder[256];
    struct model *a = NULL, *b = NULL;
    struct quantise_total total;
    fixture_hf(fixture_path(folder, "quantise-hf"));
    assert_int_equal(quantise(folder, "F32", false, &total), 0);
    assert_int_equal(model_open(folder, &a, err, sizeof err), 0);
    assert_int_equal(model_open(out, &b, err, sizeof err), 0);
    assert_int_equal(b->rope_layout, ROPE_ADJACENT);
    assert_same_tokenizer(a, b);
    assert_same_logits(folder, out, 1e-4);
    model_close(a);
    model_close(b);
    assert_int_equal(unlink(out), 0);
    /* One whose RoPE is scaled, without a tokenizer; FP8 with factors per row. */
    static const char *const others[] = {"tests/data/rope-model/hf", "tests/data/fp8-channel/hf"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(quantise(others[i], "F32", false, &total), 0);
        assert_same_logits(others[i], out, 1e-4);
        assert_int_equal(unlink(out), 0);
    }
    /* A tokenizer that is not ours would be lost. */
    char path[300];
    (void)snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    fixture_write(path, "{}", 2);
    assert_int_equal(quantise(folder, "F32", false, &total), -ENOTSUP);
    assert_non_null(strstr(err, "tokenizer.json"));
    assert_nothing_left();
    static const char *const files[] = {"tokenizer.json", "config.json", "model.safetensors"};
    for (int i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

/* ---- refusals ---- */

static void test_dry_run_writes_nothing(void **state) {
    (void)state;
    struct random_shape shape = QUANTISED_SHAPE(DTYPE_F32);
    struct kernels_model m;
    struct quantise_total planned, made;
    write_random(&shape, &m);
    assert_int_equal(quantise(in, "Q4_K_M", true, &planned), 0);
    assert_int_equal(n_seen, 21);
    assert_nothing_left();
    assert_int_equal(quantise(in, "Q4_K_M", false, &made), 0);
    assert_memory_equal(&planned, &made, sizeof made);
    /* And again: what is there is never written over, the input least of all. */
    assert_int_equal(quantise(in, "Q4_K_M", false, &made), -EEXIST);
    assert_non_null(strstr(err, "is there already"));
    assert_int_equal(unlink(out), 0);
    char kept[256];
    (void)snprintf(kept, sizeof kept, "%s", out);
    (void)snprintf(out, sizeof out, "%s", in);
    assert_int_equal(quantise(in, "F16", false, &made), -EEXIST);
    (void)snprintf(out, sizeof out, "%s", kept);
    assert_int_equal(quantise(in, "Q3_K", false, &made), -EINVAL);
    assert_non_null(strstr(err, "'Q3_K' is none of the types"));
    assert_int_equal(quantise("/nonexistent", "F16", false, &made), -ENOENT);
    random_model_finish(&m);
}

static void test_an_interrupted_one_leaves_nothing(void **state) {
    (void)state;
    struct random_shape shape = QUANTISED_SHAPE(DTYPE_F32);
    struct kernels_model m;
    struct quantise_total total;
    write_random(&shape, &m);
    for (stop_after = 1; stop_after < 21; stop_after += 6) {
        assert_int_equal(quantise(in, "Q8_0", false, &total), -EINTR);
        assert_int_equal(n_seen, stop_after);
        assert_nothing_left();
    }
    stop_after = 0;
    random_model_finish(&m);
}

/* What was read may be of two files. */
static void test_a_source_that_is_written_to(void **state) {
    (void)state;
    struct random_shape shape = QUANTISED_SHAPE(DTYPE_F32);
    struct kernels_model m;
    struct quantise_total total;
    write_random(&shape, &m);
    write_after = 5;
    assert_int_equal(quantise(in, "Q8_0", false, &total), -EIO);
    assert_non_null(strstr(err, "was written to while it was in use"));
    assert_nothing_left();
    write_after = 0;
    random_model_finish(&m);
}

static void test_numbers_that_do_not_fit(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, 1e6f};
    struct random_shape shape = QUANTISED_SHAPE(DTYPE_F32);
    for (int i = 0; i < 3; i++) {
        struct kernels_model m;
        struct quantise_total total;
        random_model_init(&m, &shape);
        ((float *)(uintptr_t)m.layers[1].wk.data)[256 * 100 + 7] = bad[i];
        write_gguf(in, &m, &(struct write_gguf){.n_ctx = 256});
        assert_int_equal(quantise(in, "F16", false, &total), -EINVAL);
        assert_non_null(strstr(err, "Row 100 of tensor blk.1.attn_k.weight has a number that is not finite"));
        assert_nothing_left();
        random_model_finish(&m);
    }
}

static void test_quantised_ones_are_refused(void **state) {
    (void)state;
    struct random_shape shape = QUANTISED_SHAPE(DTYPE_Q8_0);
    struct kernels_model m;
    struct quantise_total total;
    write_random(&shape, &m);
    assert_int_equal(quantise(in, "Q4_0", false, &total), -EINVAL);
    assert_non_null(strstr(err, "is quantised already (Q8_0)"));
    assert_nothing_left();
    random_model_finish(&m);
}

static int setup(void **state) {
    (void)state;
    (void)fixture_path(in, "quantise-in.gguf");
    (void)fixture_path(out, "quantise-out.gguf");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    (void)unlink(out);
    return unlink(in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_of_the_mix),
        cmocka_unit_test(test_numbers_and_errors),
        cmocka_unit_test(test_values_of_a_gguf),
        cmocka_unit_test(test_a_folder),
        cmocka_unit_test(test_dry_run_writes_nothing),
        cmocka_unit_test(test_an_interrupted_one_leaves_nothing),
        cmocka_unit_test(test_a_source_that_is_written_to),
        cmocka_unit_test(test_numbers_that_do_not_fit),
        cmocka_unit_test(test_quantised_ones_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
