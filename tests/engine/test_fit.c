/* Models of published shapes that no test machine holds: looked at from config.json alone and from GGUF files
 * whose data are holes; what they need, and the refusal to run one that does not fit. */
#include "base/json.h"
#include "engine/cli_inspect.h"
#include "engine/fit.h"
#include "engine/local.h"
#include "kernels/dtype.h"
#include "tests/engine/fixture.h"
#include "tests/engine/write_gguf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GIB (1024.0 * 1024.0 * 1024.0)

static char path[256];

/* Llama 3.1 (their config.json files): parameters, and bytes of keys and values per token in 16 bits. */
static const struct published {
    const char *name;
    int layers, width, ffn, heads;
    double parameters, kv_per_token;
} published[] = {
    {"8B", 32, 4096, 14336, 32, 8.030e9, 128 * 1024},
    {"70B", 80, 8192, 28672, 64, 70.554e9, 320 * 1024},
    {"405B", 126, 16384, 53248, 128, 405.853e9, 504 * 1024},
};
#define N_PUBLISHED 3
#define KV_HEADS    8
#define HEAD_DIM    128
#define VOCABULARY  128256

static void inspect(const char *file, bool json, struct buf *out) {
    char err[500] = "";
    buf_init(out, 16 << 20);
    if (engine_cli_inspect(file, json, out, err, sizeof err) < 0)
        fail_msg("%s", err);
    assert_int_equal(buf_putc(out, '\0'), 0);
}

static cJSON *inspect_json(const char *file) {
    struct buf out;
    cJSON *o = NULL;
    char err[300] = "";
    inspect(file, true, &out);
    struct json_limits limits = {.max_bytes = 16 << 20, .max_nodes = 1000000, .max_depth = 16};
    assert_int_equal(json_parse(out.data, out.len - 1, &limits, &o, err, sizeof err), 0);
    buf_finish(&out);
    return o;
}

static double memory_of(const cJSON *o, const char *key) {
    const cJSON *item = cJSON_GetObjectItem(cJSON_GetObjectItem(o, "memory_bytes"), key);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

static bool near(double a, double b) {
    return a > b * 0.999 && a < b * 1.001;
}

static void write_config(const struct published *p, const char *more) {
    char text[1024], file[512];
    int n =
        snprintf(text, sizeof text,
                 "{\"model_type\": \"llama\", \"hidden_act\": \"silu\", \"num_hidden_layers\": %d, "
                 "\"hidden_size\": %d, \"num_attention_heads\": %d, \"num_key_value_heads\": 8, "
                 "\"intermediate_size\": %d, \"vocab_size\": 128256, \"max_position_embeddings\": 131072, "
                 "\"rms_norm_eps\": 1e-05, \"rope_theta\": 500000.0, \"torch_dtype\": \"bfloat16\", "
                 "\"tie_word_embeddings\": false%s}",
                 p->layers, p->width, p->heads, p->ffn, more);
    (void)mkdir(path, 0700);
    (void)snprintf(file, sizeof file, "%s/config.json", path);
    fixture_write(file, text, (size_t)n);
}

static void drop_folder(void) {
    char file[512];
    (void)snprintf(file, sizeof file, "%s/config.json", path);
    (void)unlink(file);
    assert_int_equal(rmdir(path), 0);
}

/* The whole plan of `devices` devices of `gb` GB; the sentence where there is none. */
static void plan(int devices, int gb, char *text, size_t size) {
    struct buf out;
    char err[400] = "";
    buf_init(&out, 1 << 16);
    int rc = engine_cli_plan(path, devices, (uint64_t)gb * 1000000000, &out, err, sizeof err);
    (void)snprintf(text, size, "%.*s", rc < 0 ? 400 : (int)out.len, rc < 0 ? err : out.data);
    buf_finish(&out);
}

/* 70B in two bytes a number: 137 GB of layers and 2.1 of the head are cut, 2.1 of embeddings are not. */
static void test_plans(void **state) {
    (void)state;
    char text[2000];
    fixture_path(path, "plan");
    write_config(&published[1], "");
    plan(2, 80, text, sizeof text);
    assert_non_null(strstr(text, "2 devices of 74.5 GiB (80.0 GB)"));
    assert_non_null(
        strstr(text, "32 heads and 4 of keys and values each; ffn_gate, ffn_up: 14336 rows; output: 64128"));
    assert_non_null(strstr(text, "66.7 GiB on each: 64.7 GiB of its own, 2.0 GiB that all have"));
    assert_non_null(strstr(text, "163840 bytes per token on each"));
    assert_non_null(strstr(text, "5.0 MiB a token"));
    /* 80e9 - (69.50e9 + 2.10e9 + 2^31), over 163840 */
    assert_non_null(strstr(text, "yes, with 38"));
    plan(1, 80, text, sizeof text);
    assert_non_null(strstr(text, "fits        no: "));
    assert_null(strstr(text, "by rows"));
    plan(3, 80, text, sizeof text);
    assert_non_null(strstr(text, "8 key and value heads cannot be shared out to 3 devices"));
    plan(0, 80, text, sizeof text);
    assert_non_null(strstr(text, "1 to 64 devices"));
    drop_folder();
}

static void test_config_alone(void **state) {
    (void)state;
    fixture_path(path, "fit");
    for (int i = 0; i < N_PUBLISHED; i++) {
        const struct published *p = &published[i];
        write_config(p, "");
        cJSON *o = inspect_json(path);
        assert_true(near(cJSON_GetObjectItem(o, "parameters")->valuedouble, p->parameters));
        assert_true(near(memory_of(o, "weights"), 2 * p->parameters));
        assert_true(memory_of(o, "kv_per_token") == p->kv_per_token);
        assert_string_equal(json_get_string(o, "format"), "config.json without weights");
        cJSON_Delete(o);
        /* The products in one byte; embedding and head stay at two. */
        write_config(
            p, ", \"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": "
               "\"float-quantized\", \"config_groups\": {\"a\": {\"weights\": {\"num_bits\": 8, \"type\": "
               "\"float\", \"strategy\": \"channel\"}}}}");
        o = inspect_json(path);
        assert_true(near(memory_of(o, "weights"), p->parameters + 2.0 * VOCABULARY * p->width));
        cJSON_Delete(o);
        drop_folder();
    }
}

static struct tensor hole(enum dtype type, int64_t rows, int64_t cols) {
    return (struct tensor){.type = type, .rows = rows, .cols = cols};
}

/* A GGUF file of the shape, all products in `type`, all data a hole. */
static void write_holes(const struct published *p, enum dtype type, int n_vocab) {
    struct kernels_layer *layers = calloc((size_t)p->layers, sizeof *layers);
    assert_non_null(layers);
    int d = p->width, q = p->heads * HEAD_DIM, kv = KV_HEADS * HEAD_DIM;
    for (int l = 0; l < p->layers; l++)
        layers[l] = (struct kernels_layer){.attn_norm = hole(DTYPE_F32, 1, d),
                                           .wq = hole(type, q, d),
                                           .wk = hole(type, kv, d),
                                           .wv = hole(type, kv, d),
                                           .wo = hole(type, d, q),
                                           .ffn_norm = hole(DTYPE_F32, 1, d),
                                           .w_gate = hole(type, p->ffn, d),
                                           .w_up = hole(type, p->ffn, d),
                                           .w_down = hole(type, d, p->ffn)};
    const struct kernels_model m = {.n_layers = p->layers,
                                    .n_heads = p->heads,
                                    .n_kv_heads = KV_HEADS,
                                    .head_dim = HEAD_DIM,
                                    .dim = d,
                                    .ffn_dim = p->ffn,
                                    .n_vocab = n_vocab,
                                    .rms_eps = 1e-5f,
                                    .tok_embd = hole(type, n_vocab, d),
                                    .output_norm = hole(DTYPE_F32, 1, d),
                                    .output = hole(DTYPE_Q6_K, n_vocab, d),
                                    .layers = layers};
    write_gguf(path, &m, &(struct write_gguf){.n_ctx = 131072});
    free(layers);
}

static void test_gguf_of_holes(void **state) {
    (void)state;
    fixture_path(path, "fit.gguf");
    for (int i = 0; i < N_PUBLISHED; i++) {
        const struct published *p = &published[i];
        write_holes(p, DTYPE_Q4_K, VOCABULARY);
        cJSON *o = inspect_json(path);
        /* 144 bytes for 256 elements, 210 for those of the head */
        double head = (double)VOCABULARY * p->width;
        assert_true(near(memory_of(o, "weights"), (p->parameters - head) * 144 / 256 + head * 210 / 256));
        assert_true(memory_of(o, "kv_per_token") == p->kv_per_token);
        assert_true(near(memory_of(o, "kv_full_context"), p->kv_per_token * 131072));
        /* Two rows of the feed-forward width for each of 256 tokens, and logits of 79. */
        assert_true(memory_of(o, "scratch") > 4.0 * (2 * 256.0 * p->ffn + 79.0 * VOCABULARY));
        assert_true(memory_of(o, "scratch") < memory_of(o, "weights"));
        cJSON_Delete(o);
        struct buf out;
        inspect(path, false, &out);
        assert_non_null(strstr(out.data, "Q4_K     weights"));
        assert_non_null(strstr(out.data, "Q6_K     weights"));
        assert_non_null(strstr(out.data, "working memory"));
        buf_finish(&out);
    }
    assert_int_equal(unlink(path), 0);
}

/* 405B in F32 is 1.5 TiB. */
static void test_a_model_that_does_not_fit(void **state) {
    (void)state;
#ifdef __SANITIZE_THREAD__
    print_message("skipped: the thread sanitizer leaves no room for a file of hundreds of gigabytes in the "
                  "address space\n");
    skip();
#endif
    fixture_path(path, "fit.gguf");
    write_holes(&published[2], DTYPE_F32, VOCABULARY);
    if (fit_memory_bytes() > (uint64_t)1500 << 30) {
        print_message("skipped: this machine has the memory for it\n");
        return;
    }
    cJSON *o = inspect_json(path);
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(cJSON_GetObjectItem(o, "memory_bytes"), "fits")));
    cJSON_Delete(o);
    struct buf out;
    inspect(path, false, &out);
    assert_non_null(strstr(out.data, "all weights            1505.7 GiB"));
    assert_non_null(strstr(out.data, "516096 bytes per token"));
    assert_non_null(
        strstr(out.data, "fits        no: beside weights and working memory there is room for 0 tokens"));
    buf_finish(&out);
    struct model *m = NULL;
    struct engine *e = NULL;
    char err[600] = "";
    assert_int_equal(model_open_weights(path, &m, err, sizeof err), 0);
    struct engine_config config = {.n_threads = 1, .kv_bytes = 1 << 30};
    assert_int_equal(local_open_model(&config, m, false, &e, err, sizeof err), -E2BIG);
    if (strstr(err,
               "does not fit into this machine: its weights are 1505.7 GiB (F32 1504.1 GiB, Q6_K 1.6 GiB), "
               "working memory ") == NULL ||
        strstr(err, "keys and values 516096 bytes per token") == NULL ||
        strstr(err, "which leaves room for 0 tokens (hermesd model inspect shows it as a table)") == NULL)
        fail_msg("'%s'", err);
    model_close(m);
    assert_int_equal(unlink(path), 0);
}

/* Little to read, and 128 KiB of keys and values per token for 64 sessions of 131,072 tokens: 1 TiB. */
static void test_a_ceiling_that_does_not_fit(void **state) {
    (void)state;
    const struct published wide = {"wide", 32, 256, 256, 8, 0, 0};
    struct model *m = NULL;
    struct engine *e = NULL;
    char err[600] = "";
    if (fit_memory_bytes() > (uint64_t)900 << 30) {
        print_message("skipped: this machine has the memory for it\n");
        return;
    }
    fixture_path(path, "fit.gguf");
    write_holes(&wide, DTYPE_Q4_K, 1024);
    assert_int_equal(model_open_weights(path, &m, err, sizeof err), 0);
    struct engine_config config = {.n_threads = 1, .kv_bytes = fit_memory_bytes()};
    assert_int_equal(local_open_model(&config, m, false, &e, err, sizeof err), -E2BIG);
    if (strstr(err, "The KV ceiling of ") == NULL || strstr(err, "beside the model's weights (") == NULL ||
        strstr(err, "; lower it, or set none.") == NULL)
        fail_msg("'%s'", err);
    /* A ceiling above what all sessions together can hold does no harm. */
    config.max_sessions = 1;
    config.max_context = 64;
    if (local_open_model(&config, m, false, &e, err, sizeof err) < 0)
        fail_msg("%s", err);
    engine_close(e);
    model_close(m);
    assert_int_equal(unlink(path), 0);
}

static void test_a_vocabulary_of_a_million(void **state) {
    (void)state;
    const struct published tiny = {"tiny", 1, 256, 256, 8, 0, 0};
    struct model *m = NULL;
    char err[400] = "";
    fixture_path(path, "fit.gguf");
    write_holes(&tiny, DTYPE_Q4_K, 1 << 20);
    if (model_open_weights(path, &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    model_close(m);
    m = NULL;
    write_holes(&tiny, DTYPE_Q4_K, (1 << 20) + 1);
    assert_int_equal(model_open_weights(path, &m, err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "has 1048577 tokens; at most 1,048,576"));
    assert_int_equal(unlink(path), 0);
}

static void test_what_is_left_for_keys_and_values(void **state) {
    (void)state;
    struct model m = {.n_layers = 2, .n_kv_heads = 2, .head_dim = 64, .weight_bytes = 1000 << 20};
    struct fit f;
    fit_of(&m, DTYPE_F16, (uint64_t)4000 << 20, 0, &f);
    assert_int_equal(f.kv_bytes_per_token, 2 * 2 * 2 * 64 * 2);
    assert_int_equal(f.kv_limit_bytes, 1000 << 20);
    assert_int_equal(f.tokens_that_fit, (1000 << 20) / 1024);
    fit_of(&m, DTYPE_Q8_0, (uint64_t)4000 << 20, 0, &f); /* 8 bits and a factor per vector */
    assert_int_equal(f.kv_bytes_per_token, 2 * 2 * 2 * (64 + 4));
    assert_int_equal(f.tokens_that_fit, (1000 << 20) / 544);
    fit_of(&m, DTYPE_F16, (uint64_t)1100 << 20, 0, &f); /* a quarter would be more than what is left */
    assert_int_equal(f.kv_limit_bytes, 100 << 20);
    assert_true(f.fits);
    fit_of(&m, DTYPE_F16, (uint64_t)1000 << 20, 0, &f);
    assert_true(!f.fits);
    assert_int_equal(f.tokens_that_fit, 0);
    fit_of(&m, DTYPE_F16, 1 << 20, 0, &f);
    assert_true(!f.fits);
    fit_of(&m, DTYPE_F16, (uint64_t)1100 << 20, 60 << 20, &f); /* and the device needs some */
    assert_int_equal(f.kv_limit_bytes, 40 << 20);
}

static void test_folders_that_are_neither(void **state) {
    (void)state;
    char err[500] = "", file[512];
    struct model *m = NULL;
    struct buf out;
    fixture_path(path, "fit");
    (void)mkdir(path, 0700);
    buf_init(&out, 1 << 20);
    assert_int_equal(engine_cli_inspect(path, false, &out, err, sizeof err), -ENOENT);
    assert_non_null(strstr(err, "config.json"));
    write_config(&published[0], ", \"quantization_config\": {\"quant_method\": \"awq\"}");
    assert_int_equal(model_open_config(path, &m, err, sizeof err), -ENOTSUP);
    assert_non_null(strstr(err, "quant_method 'awq'"));
    write_config(&published[0], "");
    (void)snprintf(file, sizeof file, "%s/model.safetensors.index.json", path);
    static const char index[] = "{\"weight_map\": {\"a\": \"gone.safetensors\"}}";
    fixture_write(file, index, sizeof index - 1);
    assert_int_equal(engine_cli_inspect(path, false, &out, err, sizeof err), -ENOENT);
    assert_non_null(strstr(err, "gone.safetensors"));
    assert_int_equal(unlink(file), 0);
    assert_int_equal(model_open_config("tests/data/rope-model/hf", &m, err, sizeof err), -EINVAL);
    assert_int_equal(model_open_config("tests/data/rope-model/rope-model.gguf", &m, err, sizeof err),
                     -EINVAL);
    assert_null(m);
    buf_finish(&out);
    drop_folder();
}

/* What can be taken is less than there is, and something. */
static void test_what_is_available(void **state) {
    (void)state;
    uint64_t available = fit_available_bytes();
    assert_true(available > 0);
    assert_true(available < fit_memory_bytes());
    struct model m = {.weight_bytes = FIT_LEAST_COPIED};
    assert_false(fit_copies_weights(&m, available, 0));
    m.weight_bytes = available;
    assert_false(fit_copies_weights(&m, 0, 0));
    m.weight_bytes = FIT_LEAST_COPIED - 1;
    assert_false(fit_copies_weights(&m, 0, 0));
    if (available >= 4 * FIT_LEAST_COPIED) {
        m.weight_bytes = FIT_LEAST_COPIED;
        assert_true(fit_copies_weights(&m, 0, 0));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_available),
        cmocka_unit_test(test_config_alone),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_gguf_of_holes),
        cmocka_unit_test(test_a_model_that_does_not_fit),
        cmocka_unit_test(test_a_ceiling_that_does_not_fit),
        cmocka_unit_test(test_a_vocabulary_of_a_million),
        cmocka_unit_test(test_what_is_left_for_keys_and_values),
        cmocka_unit_test(test_folders_that_are_neither),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
