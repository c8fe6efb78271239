/* GGUF files that are cut off, that lie or that are noise: each is refused with one sentence that names the
 * field and the byte, or is a model that runs. Worth most under the sanitizers. */
#include "engine/cli_logits.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "tests/engine/fixture.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char path[256];

/* What opens must run: a few tokens of text, and a forward pass. */
static void run(const struct model *m) {
    struct token_list list = {0};
    static const char text[] = "hello <|im_end|> \xFF 12345";
    assert_int_equal(tokenizer_encode_text(m->tokenizer, text, sizeof text - 1, &list), 0);
    assert_int_equal(tokenizer_encode_template(m->tokenizer, text, sizeof text - 1, &list), 0);
    token_list_finish(&list);
    static const int32_t ids[] = {0, 1};
    struct buf out;
    buf_init(&out, 1 << 16);
    char err[300] = "";
    int rc = engine_cli_logits(path, ids, 2, 1, &out, err, sizeof err);
    assert_true(rc == 0 || err[0] != '\0');
    buf_finish(&out);
}

/* Opens the file; a refusal must be a whole sentence about it. Returns open's result. */
static int try_open(const char *what, char *err, size_t errlen) {
    struct model *m = NULL;
    err[0] = '\0';
    int rc = model_open(path, &m, err, errlen);
    if (rc == 0) {
        run(m);
        model_close(m);
        return 0;
    }
    if (m != NULL || strlen(err) < 20 || err[strlen(err) - 1] != '.')
        fail_msg("%s: the refusal is no sentence: '%s'", what, err);
    return rc;
}

static void test_the_true_file_opens(void **state) {
    (void)state;
    struct fixture f;
    struct model *m = NULL;
    char err[400] = "";
    fixture_gguf(&f, NULL);
    fixture_write(path, f.bytes.data, f.bytes.len);
    if (model_open(path, &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    assert_int_equal(m->n_vocab, FIXTURE_VOCAB);
    assert_true(m->output.data == m->tok_embd.data);
    assert_int_equal(m->bos_id, FIXTURE_BOS);
    assert_true(model_is_eog(m, FIXTURE_END));
    assert_true(fabsf(m->rope_inv_freq[0] - 0.5f) < 0.1f); /* linear scaling by 2, divisor near 1 */
    for (int32_t i = 0; i < FIXTURE_VOCAB; i++)
        assert_int_equal(tokenizer_is_added(m->tokenizer, i), i >= 260);
    run(m);
    model_close(m);
    fixture_finish(&f);
}

static void test_cut_at_every_byte(void **state) {
    (void)state;
    struct fixture f;
    char err[400], what[64];
    fixture_gguf(&f, NULL);
    fixture_write(path, f.bytes.data, f.bytes.len);
    size_t padding = 0;
    while (f.bytes.data[f.bytes.len - 1 - padding] == '\0')
        padding++;
    for (size_t n = f.bytes.len - 1 - padding; n > 0; n--) {
        assert_int_equal(truncate(path, (off_t)n), 0);
        (void)snprintf(what, sizeof what, "cut at %zu", n);
        if (try_open(what, err, sizeof err) != -EINVAL)
            fail_msg("a file cut at byte %zu of %zu is not refused as damaged: '%s'", n, f.bytes.len, err);
        if (strstr(err, "byte ") == NULL)
            fail_msg("cut at byte %zu: no place in '%s'", n, err);
    }
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(try_open("empty", err, sizeof err), -EINVAL);
    fixture_finish(&f);
}

static void put(struct fixture *f, const struct fixture_mark *m, uint64_t v, FILE *file) {
    (void)f;
    assert_int_equal(fseek(file, (long)m->at, SEEK_SET), 0);
    assert_int_equal(fwrite(&v, 1, (size_t)m->bytes, file), m->bytes);
    assert_int_equal(fflush(file), 0);
}

/* Every length, count, type, offset and value becomes 0, 1, its neighbours, the largest, half of it, what is
 * left of the file, and negative. */
static void test_every_number_lies(void **state) {
    (void)state;
    struct fixture f;
    char err[400];
    fixture_gguf(&f, NULL);
    fixture_write(path, f.bytes.data, f.bytes.len);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    int refused = 0, opened = 0;
    for (int i = 0; i < f.n_marks; i++) {
        const struct fixture_mark *m = &f.marks[i];
        uint64_t was = 0, rest = f.bytes.len - m->at - (size_t)m->bytes;
        memcpy(&was, f.bytes.data + m->at, (size_t)m->bytes);
        const uint64_t lies[] = {
            0,          1,          2,          was - 1,        was + 1,    was * 2,  UINT64_MAX,
            INT64_MAX,  UINT32_MAX, INT32_MAX,  UINT64_MAX / 2, rest,       rest + 1, rest - 1,
            1ull << 63, 1ull << 31, 1ull << 62, UINT64_MAX - 7, 0x7FC00000u /* NaN */};
        for (size_t k = 0; k < sizeof lies / sizeof lies[0]; k++) {
            put(&f, m, lies[k], file);
            if (try_open(m->what, err, sizeof err) < 0)
                refused++;
            else
                opened++;
        }
        put(&f, m, was, file);
    }
    (void)fclose(file);
    print_message("%d numbers: %d lies refused, %d harmless\n", f.n_marks, refused, opened);
    assert_true(refused > 10 * opened / 3);
    assert_int_equal(try_open("restored", err, sizeof err), 0);
    fixture_finish(&f);
}

static void test_every_byte_is_noise(void **state) {
    (void)state;
    struct fixture f;
    char err[400];
    fixture_gguf(&f, NULL);
    fixture_write(path, f.bytes.data, f.bytes.len);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    size_t end = f.marks[f.n_marks - 1].at + 8;
    for (size_t at = 0; at < end; at++) {
        static const unsigned char flips[] = {0x80, 0xFF, 0x01};
        struct fixture_mark m = {.at = at, .bytes = 1, .what = "a byte"};
        unsigned char was = (unsigned char)f.bytes.data[at];
        for (int k = 0; k < 3; k++) {
            put(&f, &m, was ^ flips[k], file);
            (void)try_open(m.what, err, sizeof err);
        }
        put(&f, &m, was, file);
    }
    (void)fclose(file);
    fixture_finish(&f);
}

/* What has gone wrong in other readers, and where it is tried here:
 *   CVE-2024-21802 and its siblings (dimensions, types of arrays, strings, numbers of tensors and keys):
 *     the lies below, and every number in test_every_number_lies
 *   CVE-2025-53630, CVE-2026-27940 (sums of sizes that wrap): dims {2^30, 2^30}, and four of them; the counts
 *   GHSA-vgg9-87g3-85w8, GHSA-96jg-mvhq-q7q7 (padding that wraps behind the check): offset UINT64_MAX - 31,
 *     general.alignment
 *   llama.cpp #15711, #27203 (n_tensors times a size; a product that turns negative):
 * test_headers_of_other_files, dims of 2^40 llama.cpp #25821 (more layers than there is room for):
 * llama.block_count 1025 lmstudio #2289 (byte tokens that are no bytes): tokens "<0x-1>", "<0xFFFFFFFF>"
 *   CVE-2025-49847, GHSA-7rxv-5jhh-j6xx (lengths of tokens and texts as int): lengths of items in
 *     test_every_number_lies; a ceiling of text in test_tokenizer.c
 *   CVE-2026-7482 (tensors larger than the data): test_cut_at_every_byte
 *   CVE-2026-5760 (a chat template that is run): tokenizer.chat_template
 *   safetensors readers (large headers, shapes whose product wraps, offsets that do not fit the shape, keys
 * that occur twice, bytes of nobody): test_hostile_hf.c */
#define VALUE(TYPE, ...)                                                                                     \
    .type = (TYPE), .value = (const unsigned char[]){__VA_ARGS__},                                           \
    .value_len = sizeof((const unsigned char[]){__VA_ARGS__})
#define U32(N)         VALUE(GGUF_U32, (N)&255, (N) >> 8 & 255, (N) >> 16 & 255, (unsigned)(N) >> 24)
#define TEXT(LEN, ...) VALUE(GGUF_STRING, LEN, 0, 0, 0, 0, 0, 0, 0, __VA_ARGS__)
#define NAN32          VALUE(GGUF_F32, 0, 0, 0xC0, 0x7F)

static const struct {
    struct fixture_lie lie;
    int rc;
    const char *says;
} lies[] = {
    {{.key = "general.architecture", TEXT(5, 'q', 'w', 'e', 'n', '2')}, -ENOTSUP, "'qwen2'"},
    {{.drop = "general.architecture"}, -ENOTSUP, "architecture"},
    {{.key = "general.architecture", U32(1)}, -EINVAL, "general.architecture at byte 56 is of type u32"},
    {{.key = "general.alignment", U32(0)}, -EINVAL, "general.alignment at byte"},
    {{.key = "general.alignment", U32(48)}, -EINVAL, "power of two"},
    {{.key = "general.alignment", U32(4)}, -EINVAL, "is 4 and should be 8 to 65536"},
    {{.key = "general.alignment", U32(1 << 20)}, -EINVAL, "general.alignment at byte"},
    {{.key = "general.alignment", TEXT(1, '8')}, -EINVAL, "should be an integer"},
    {{.key = "general.name", VALUE(99, 1, 2)}, -EINVAL, "('general.name'): a value of an unknown type"},
    {{.key = "general.name", VALUE(GGUF_ARRAY, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)},
     -EINVAL,
     "('general.name'): an array of arrays"},
    {{.key = "general.name", VALUE(GGUF_ARRAY, 99, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)},
     -EINVAL,
     "array of an unknown type"},
    {{.key = "general.name", VALUE(GGUF_ARRAY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80)},
     -EINVAL,
     "more than 16,777,216"},
    {{.key = "general.name", VALUE(GGUF_STRING, 0, 0, 0, 0, 0, 0, 0, 0x80)},
     -EINVAL,
     "('general.name'): a string that is cut off"},
    {{.twice = "llama.block_count"}, -EINVAL, "('llama.block_count'): a key that occurs twice"},
    {{.drop = "llama.block_count"}, -EINVAL, "no llama.block_count"},
    {{.key = "llama.block_count", U32(0)}, -EINVAL, "llama.block_count at byte"},
    {{.key = "llama.block_count", U32(1025)}, -EINVAL, "is 1025 and should be 1 to 1024"},
    {{.key = "llama.block_count", U32(3)}, -EINVAL, "no tensor attn_norm of layer 2"},
    {{.key = "llama.block_count", TEXT(1, '2')}, -EINVAL, "llama.block_count"},
    {{.key = "llama.embedding_length", U32(16)}, -EINVAL, "token_embd"},
    {{.key = "llama.feed_forward_length", U32(13)}, -EINVAL, "ffn_gate of layer 0"},
    {{.key = "llama.attention.head_count", U32(0)}, -EINVAL, "llama.attention.head_count"},
    {{.key = "llama.attention.head_count_kv", U32(3)}, -EINVAL, "impossible shape"},
    {{.key = "llama.attention.head_count_kv", U32(8)}, -EINVAL, "should be 1 to 4"},
    {{.key = "llama.attention.key_length", U32(3)}, -EINVAL, "impossible shape"},
    {{.key = "llama.attention.value_length", U32(4)}, -ENOTSUP, "another size"},
    {{.key = "llama.rope.dimension_count", U32(1)}, -ENOTSUP, "rotated in part"},
    {{.key = "llama.expert_count", U32(8)}, -ENOTSUP, "experts"},
    {{.key = "llama.context_length", U32(0)}, -EINVAL, "llama.context_length"},
    {{.key = "llama.rope.freq_base", NAN32}, -EINVAL, "llama.rope.freq_base at byte"},
    {{.key = "llama.rope.freq_base", VALUE(GGUF_F32, 0, 0, 0, 0)}, -EINVAL, "llama.rope.freq_base at byte"},
    {{.key = "llama.rope.freq_base", VALUE(GGUF_F32, 0, 0, 0x80, 0xFF)}, -EINVAL, "is -inf"},
    {{.key = "llama.rope.freq_base", U32(10000)}, -EINVAL, "should be f32 or f64"},
    {{.key = "llama.rope.scaling.type", TEXT(4, 'y', 'a', 'r', 'n')}, -ENOTSUP, "'yarn'"},
    {{.key = "llama.rope.scaling.factor", VALUE(GGUF_F32, 0, 0, 0, 0)}, -EINVAL, "llama.rope.scaling.factor"},
    {{.key = "llama.attention.layer_norm_rms_epsilon", NAN32}, -EINVAL, "layer_norm_rms_epsilon at byte"},
    {{.key = "tokenizer.ggml.model", TEXT(5, 'l', 'l', 'a', 'm', 'a')}, -ENOTSUP, "only Llama-3 BPE"},
    {{.key = "tokenizer.ggml.pre", TEXT(4, '\x1B', '[', '2', 'J')}, -ENOTSUP, "'?[2J'"},
    /* What it says is never run: the daemon renders prompts itself. */
    {{.key = "tokenizer.chat_template",
      TEXT(37, '{', '{', '(', ')', '.', '_', '_', 'c', 'l', 'a', 's', 's', '_', '_', '.', '_', '_', 'b', 'a',
           's', 'e', '_', '_', '.', '_', '_', 'm', 'r', 'o', '_', '_', '[', '1', ']', '}', '}', '\n')},
     0,
     ""},
    {{.key = "tokenizer.chat_template", U32(1)}, 0, ""},
    /* Only another kind of tokenizer has tokens that stand for a byte by its number. */
    {{.token = "<0x-1>"}, 0, ""},
    {{.token = "<0xFFFFFFFF>"}, 0, ""},
    {{.token = ""}, 0, ""},
    {{.token = "<|im_end|>"}, 0, ""}, /* twice: the first is the one */
    {{.drop = "llama.attention.key_length", .key = "llama.attention.head_count", U32(3)},
     -EINVAL,
     "3 heads cannot share a width of 8"},
    {{.drop = "llama.attention.key_length", .key = "llama.attention.head_count", U32(4096)},
     -EINVAL,
     "4096 heads cannot share"},
    {{.drop = "tokenizer.ggml.tokens"}, -EINVAL, "no tokenizer.ggml.tokens"},
    {{.drop = "tokenizer.ggml.merges"}, -EINVAL, "no tokenizer.ggml.merges"},
    {{.drop = "tokenizer.ggml.token_type"}, -EINVAL, "no tokenizer.ggml.token_type"},
    {{.key = "tokenizer.ggml.tokens", U32(1)}, -EINVAL, "an array of strings"},
    {{.key = "tokenizer.ggml.token_type", VALUE(GGUF_ARRAY, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0)},
     -EINVAL,
     "1 tokenizer.ggml.token_type"},
    {{.key = "tokenizer.ggml.merges",
      VALUE(GGUF_ARRAY, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 'h', 'e')},
     -EINVAL,
     "Merge 0"},
    {{.key = "tokenizer.ggml.merges",
      VALUE(GGUF_ARRAY, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 'q', ' ', 'q')},
     -EINVAL,
     "Merge 0"},
    {{.key = "tokenizer.ggml.bos_token_id", U32(264)}, -EINVAL, "tokenizer.ggml.bos_token_id is 264"},
    {{.key = "tokenizer.ggml.eos_token_id", U32(0x7FFFFFFF)}, -EINVAL, "tokenizer.ggml.eos_token_id"},
    {{.key = "tokenizer.ggml.add_bos_token", VALUE(GGUF_BOOL, 7)}, -EINVAL, "tokenizer.ggml.add_bos_token"},
    {{.drop = "token_embd.weight"}, -EINVAL, "token_embd"},
    {{.drop = "blk.1.ffn_down.weight"}, -EINVAL, "no tensor ffn_down of layer 1"},
    {{.twice = "blk.1.ffn_down.weight"},
     -EINVAL,
     "('blk.1.ffn_down.weight'): a tensor name that occurs twice"},
    {{.tensor = "blk.0.attn_q.weight", .n_dims = 99},
     -EINVAL,
     "('blk.0.attn_q.weight'): a tensor of 0 or more"},
    {{.tensor = "blk.0.attn_q.weight", .n_dims = 5},
     -EINVAL,
     "('blk.0.attn_q.weight'): a tensor of 0 or more"},
    {{.tensor = "blk.0.attn_q.weight", .n_dims = 0xFFFFFFFF}, -EINVAL, "('blk.0.attn_q.weight')"},
    {{.tensor = "blk.0.attn_q.weight", .n_dims = 3, .dims = {0, 0, 2}}, -ENOTSUP, "more than two dimensions"},
    {{.tensor = "blk.0.attn_q.weight", .n_dims = 4, .dims = {1 << 30, 1 << 30, 1 << 30, 1 << 30}},
     -ENOTSUP,
     "more than two dimensions"},
    {{.tensor = "blk.0.attn_q.weight", .dims = {1ull << 40}}, -EINVAL, "above 2^30"},
    {{.tensor = "blk.0.attn_q.weight", .dims = {1 << 30, 1 << 30}}, -EINVAL, "ends behind the file"},
    {{.tensor = "blk.0.attn_q.weight", .dims = {4, 16}}, -EINVAL, "attn_q of layer 0"},
    {{.tensor = "blk.0.attn_q.weight", .ggml_type = 2}, -EINVAL, "no whole blocks"},
    {{.tensor = "blk.0.attn_q.weight", .ggml_type = 14}, -EINVAL, "no whole blocks"},
    {{.tensor = "blk.0.attn_q.weight", .ggml_type = 16}, -ENOTSUP, "Tensor blk.0.attn_q.weight of model"},
    {{.tensor = "blk.0.attn_q.weight", .ggml_type = 16}, -ENOTSUP, "is of type IQ2_XXS, which is not"},
    {{.tensor = "blk.1.ffn_up.weight", .ggml_type = 20}, -ENOTSUP, "is of type IQ4_NL, which is not"},
    {{.tensor = "blk.1.ffn_up.weight", .ggml_type = 34}, -ENOTSUP, "is of type TQ1_0, which is not"},
    {{.tensor = "token_embd.weight", .ggml_type = 39}, -ENOTSUP, "is of type MXFP4, which is not"},
    {{.tensor = "blk.0.attn_q.weight", .ggml_type = 0xFFFFFFFFu}, -ENOTSUP, "ggml type 4294967295"},
    {{.tensor = "blk.0.attn_q.weight", .ggml_type = 0x80000000u}, -ENOTSUP, "ggml type 2147483648"},
    {{.tensor = "blk.0.attn_q.weight", .ggml_type = 8}, -EINVAL, "no whole blocks"},
    {{.tensor = "blk.0.attn_norm.weight", .dims = {4}}, -EINVAL, "attn_norm of layer 0"},
    {{.tensor = "blk.0.attn_q.weight", .offset = 33}, -EINVAL, "not aligned"},
    {{.tensor = "blk.0.attn_q.weight", .offset = 1}, -EINVAL, "overlaps"},
    {{.tensor = "blk.0.attn_q.weight", .offset = UINT64_MAX - 31}, -EINVAL, "ends behind the file"},
    {{.extra = "blk.0.attn_q.bias"}, -ENOTSUP, "Tensor blk.0.attn_q.bias of model"},
    {{.extra = "blk.1.attn_q.scale"}, -ENOTSUP, "has no place in a Llama of 2 layers"},
    {{.extra = "blk.2.attn_norm.weight"}, -ENOTSUP, "Tensor blk.2.attn_norm.weight"},
    {{.extra = "blk.00.attn_norm.weight"}, -ENOTSUP, "Tensor blk.00.attn_norm.weight"},
    {{.extra = "blk.99999999999999999999.attn_norm.weight"}, -ENOTSUP, "Tensor blk.99999999999999999999."},
    {{.extra = "rope_factors_long.weight"}, -ENOTSUP, "Tensor rope_factors_long.weight"},
    {{.key = "llama.block_count", U32(1)}, -ENOTSUP, "has no place in a Llama of 1 layers"},
    {{.key = "llama.rope.scale_linear", VALUE(GGUF_F32, 0, 0, 0x80, 0xBF)},
     0,
     ""}, /* beside the newer key, which counts */
    {{.tensor = "rope_freqs.weight", .dims = {2}}, -EINVAL, "rope_freqs.weight"},
    {{.tensor = "rope_freqs.weight", .ggml_type = 1}, -EINVAL, "rope_freqs.weight"},
};

static void test_each_lie_is_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        struct fixture f;
        char err[400];
        fixture_gguf(&f, &lies[i].lie);
        fixture_write(path, f.bytes.data, f.bytes.len);
        int rc = try_open(lies[i].says, err, sizeof err);
        if (rc != lies[i].rc || strstr(err, lies[i].says) == NULL)
            fail_msg("lie %zu: %d '%s', wanted %d and '%s'", i, rc, err, lies[i].rc, lies[i].says);
        fixture_finish(&f);
    }
}

/* Which keys scale positions, and by what: compared with llama.cpp's reading of them. */
static const struct {
    struct fixture_lie lie;
    float fraction;
} scalings[] = {
    {{.drop = NULL}, 0.5f}, /* type linear, factor 2 */
    {{.drop = "llama.rope.scaling.type"}, 0.5f},
    {{.drop = "llama.rope.scaling.factor"}, 1},
    {{.key = "llama.rope.scaling.type", TEXT(4, 'n', 'o', 'n', 'e')}, 1},
    {{.drop = "llama.rope.scaling.factor",
      .key = "llama.rope.scale_linear",
      VALUE(GGUF_F32, 0, 0, 0x80, 0x40)},
     0.25f},
    {{.key = "llama.rope.scale_linear", VALUE(GGUF_F32, 0, 0, 0x80, 0x40)}, 0.5f},
};

static void test_linear_scaling(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof scalings / sizeof scalings[0]; i++) {
        struct fixture f;
        struct model *m = NULL;
        char err[400] = "";
        fixture_gguf(&f, &scalings[i].lie);
        fixture_write(path, f.bytes.data, f.bytes.len);
        if (model_open(path, &m, err, sizeof err) < 0)
            fail_msg("%zu: %s", i, err);
        /* The fixture's divisor is 1, give or take a tenth. */
        float f0 = m->rope_inv_freq[0], wanted = scalings[i].fraction;
        if (!(fabsf(f0 - wanted) < 0.12f * wanted))
            fail_msg("%zu: the first frequency is %g and should be near %g", i, (double)f0, (double)wanted);
        model_close(m);
        fixture_finish(&f);
    }
}

/* Changes bytes of the data section: divisors of RoPE. */
static void test_divisors_must_be_positive(void **state) {
    (void)state;
    static const float bad[] = {0, -1, NAN, INFINITY};
    for (size_t i = 0; i < 4; i++) {
        struct fixture f;
        char err[400];
        fixture_gguf(&f, NULL);
        /* token_embd, output_norm, then rope_freqs, each on 32 bytes */
        size_t end = f.marks[f.n_marks - 1].at + 8, start = (end + 31) / 32 * 32;
        memcpy(f.bytes.data + start + FIXTURE_VOCAB * 8 * 2 + 32, &bad[i], 4);
        fixture_write(path, f.bytes.data, f.bytes.len);
        assert_int_equal(try_open("divisor", err, sizeof err), -EINVAL);
        assert_non_null(strstr(err, "rope_freqs.weight"));
        fixture_finish(&f);
    }
}

/* Weights are only numbers: whatever they are, the model opens and runs. */
static void test_weights_of_noise(void **state) {
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct fixture f;
        char err[400];
        fixture_gguf(&f, NULL);
        size_t end = f.marks[f.n_marks - 1].at + 8, start = (end + 31) / 32 * 32;
        size_t divisors = start + FIXTURE_VOCAB * 8 * 2 + 32;
        uint32_t noise = 12345;
        for (size_t at = start; at < f.bytes.len; at++) {
            noise = noise * 1664525u + 1013904223u;
            if (at < divisors || at >= divisors + 4)
                f.bytes.data[at] = (char)(kind == 0 ? 0xFF : kind == 1 ? 0x7C : kind == 2 ? 0 : noise >> 24);
        }
        fixture_write(path, f.bytes.data, f.bytes.len);
        assert_int_equal(try_open("noise", err, sizeof err), 0);
        fixture_finish(&f);
    }
}

/* A length is read once: what is written to the file between the check and the use changes no bounds. */
static void test_lengths_that_change_later(void **state) {
    (void)state;
    struct fixture f;
    struct gguf *g = NULL;
    char err[400] = "";
    static const uint64_t large = 1ull << 40;
    fixture_gguf(&f, NULL);
    fixture_write(path, f.bytes.data, f.bytes.len);
    if (gguf_open(path, &g, err, sizeof err) < 0)
        fail_msg("%s", err);
    const struct gguf_value *tokens = NULL;
    struct gguf_text name = {0};
    size_t at = (size_t)(gguf_find(g, "general.name")->data - g->file.data);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    assert_int_equal(fwrite(&large, 1, 8, file), 8);
    assert_int_equal(gguf_read_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, err, sizeof err), 1);
    assert_int_equal(
        fseek(file, (long)((const uint8_t *)tokens->texts[259].data - g->file.data) - 8, SEEK_SET), 0);
    assert_int_equal(fwrite(&large, 1, 8, file), 8);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(gguf_read_string(g, "general.name", &name, err, sizeof err), 1);
    assert_int_equal(name.len, strlen("fixture"));
    assert_memory_equal(name.data, "fixture", name.len);
    assert_int_equal(tokens->texts[259].len, strlen("hello"));
    gguf_close(g);
    fixture_finish(&f);
}

/* Opens a file with this lie, a length of `length` whose bytes are all there. A refusal names the place of
 * the length with `owner` behind it, and `says`. */
static void open_length(const struct fixture_lie *l, uint64_t length, int want, const char *owner,
                        const char *says) {
    struct fixture f;
    char err[400], place[200] = "";
    fixture_gguf(&f, l);
    fixture_write(path, f.bytes.data, f.bytes.len);
    const char *at = memmem(f.bytes.data, f.bytes.len, &length, sizeof length);
    assert_non_null(at);
    assert_true((size_t)(at - f.bytes.data) + 8 + length < f.bytes.len);
    if (want == -EINVAL)
        (void)snprintf(place, sizeof place, "is damaged at byte %zu%s: ", (size_t)(at - f.bytes.data), owner);
    int rc = try_open(says, err, sizeof err);
    if (rc != want || strstr(err, place) == NULL || strstr(err, says) == NULL)
        fail_msg("%llu bytes: %d '%s', wanted %d, '%s' and '%s'", (unsigned long long)length, rc, err, want,
                 place, says);
    fixture_finish(&f);
}

/* Names are copied to arrays that hold 256 bytes and no more. */
static void test_names_of_256_bytes_and_more(void **state) {
    (void)state;
    static const char *const cap = "a name of more than 256 bytes.";
    char name[300];
    for (size_t n = 255; n <= 258; n++) {
        bool fits = n <= 256;
        memset(name, 'n', sizeof name);
        name[n] = '\0';
        const struct fixture_lie key = {.key = name, U32(1)}, tensor = {.extra = name};
        open_length(&key, n, fits ? 0 : -EINVAL, "", fits ? "" : cap);
        open_length(&tensor, n, fits ? -ENOTSUP : -EINVAL, "", fits ? "has no place in a Llama" : cap);
        memcpy(name, "blk.1.", 6); /* the begin of a name that is ours */
        open_length(&tensor, n, fits ? -ENOTSUP : -EINVAL, "", fits ? "has no place in a Llama" : cap);
    }
}

/* A string as a value, and as the one item of an array. */
static void test_strings_of_1_mib_and_more(void **state) {
    (void)state;
    static const char *const cap = "a string of more than 1 MiB.";
    for (uint64_t n = (1 << 20) - 1; n <= (1 << 20) + 1; n++) {
        static const unsigned char array[12] = {GGUF_STRING, 0, 0, 0, 1};
        bool fits = n <= 1 << 20;
        char *value = malloc(20 + n);
        assert_non_null(value);
        memcpy(value, array, 12);
        memcpy(value + 12, &n, 8);
        memset(value + 20, 's', n);
        const struct fixture_lie string = {
            .key = "general.license", .type = GGUF_STRING, .value = value + 12, .value_len = 8 + n};
        const struct fixture_lie item = {
            .key = "general.tags", .type = GGUF_ARRAY, .value = value, .value_len = 20 + n};
        open_length(&string, n, fits ? 0 : -EINVAL, " ('general.license')", fits ? "" : cap);
        open_length(&item, n, fits ? 0 : -EINVAL, " ('general.tags')", fits ? "" : cap);
        free(value);
    }
}

static void test_headers_of_other_files(void **state) {
    (void)state;
    char err[400];
    fixture_write(path, "GGUF\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    assert_int_equal(try_open("version 1", err, sizeof err), -ENOTSUP);
    assert_non_null(strstr(err, "version 1"));
    fixture_write(path, "GGUF\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    assert_int_equal(try_open("big-endian", err, sizeof err), -ENOTSUP);
    assert_non_null(strstr(err, "is big-endian (GGUF version 3)"));
    fixture_write(path, "FUGG\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    assert_int_equal(try_open("magic", err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "at byte 0"));
    fixture_write(path, "GGUF\x03\0\0\0\xFF\xFF\0\0\0\0\0\0\xFF\xFF\0\0\0\0\0\0", 24);
    assert_int_equal(try_open("counts", err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "room"));
    struct model *m = NULL;
    assert_int_equal(model_open("/nonexistent/model.gguf", &m, err, sizeof err), -ENOENT);
    assert_non_null(strstr(err, "/nonexistent/model.gguf"));
}

static int teardown(void **state) {
    (void)state;
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_true_file_opens),         cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_every_number_lies),           cmocka_unit_test(test_every_byte_is_noise),
        cmocka_unit_test(test_each_lie_is_named),           cmocka_unit_test(test_linear_scaling),
        cmocka_unit_test(test_divisors_must_be_positive),   cmocka_unit_test(test_weights_of_noise),
        cmocka_unit_test(test_headers_of_other_files),      cmocka_unit_test(test_lengths_that_change_later),
        cmocka_unit_test(test_names_of_256_bytes_and_more), cmocka_unit_test(test_strings_of_1_mib_and_more),
    };
    fixture_path(path, "hostile.gguf");
    return cmocka_run_group_tests(tests, NULL, teardown);
}
