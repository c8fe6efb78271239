/* Hugging Face folders that are cut off or lie: config.json, tokenizer.json, the safetensors header, the
 * index of shards. Each is refused with one sentence that names file and field. */
#include "engine/cli_logits.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "tests/engine/fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[256];

static void path_of(char out[512], const char *name) {
    (void)snprintf(out, 512, "%s/%s", folder, name);
}

static int try_open(const char *what, char *err, size_t errlen) {
    struct model *m = NULL;
    err[0] = '\0';
    int rc = model_open(folder, &m, err, errlen);
    if (rc == 0) {
        struct token_list list = {0};
        assert_int_equal(tokenizer_encode_template(m->tokenizer, "hello <|im_end|> 12", 19, &list), 0);
        token_list_finish(&list);
        model_close(m);
        return 0;
    }
    if (m != NULL || strlen(err) < 20)
        fail_msg("%s: the refusal is no sentence: '%s'", what, err);
    return rc;
}

static void test_the_true_folder_opens(void **state) {
    (void)state;
    struct model *m = NULL;
    char err[400] = "";
    if (model_open(folder, &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    assert_int_equal(m->n_vocab, FIXTURE_VOCAB);
    assert_int_equal(m->rope_layout, ROPE_HALF_SPLIT);
    assert_true(model_is_eog(m, FIXTURE_END));
    for (int32_t i = 0; i < FIXTURE_VOCAB; i++)
        assert_int_equal(tokenizer_is_added(m->tokenizer, i), i >= 260);
    model_close(m);
    static const int32_t ids[] = {0, 1, 2};
    struct buf out;
    buf_init(&out, 1 << 16);
    assert_int_equal(engine_cli_logits(folder, ids, 3, 1, &out, err, sizeof err), 0);
    buf_finish(&out);
}

/* GGUF and folder hold equal tokenizers: equal ids, whatever the text. */
static void test_both_containers_tokenize_alike(void **state) {
    (void)state;
    char path[256], err[400];
    struct fixture f;
    struct model *gguf = NULL, *hf = NULL;
    fixture_path(path, "alike.gguf");
    fixture_gguf(&f, NULL);
    fixture_write(path, f.bytes.data, f.bytes.len);
    fixture_finish(&f);
    assert_int_equal(model_open(path, &gguf, err, sizeof err), 0);
    assert_int_equal(model_open(folder, &hf, err, sizeof err), 0);
    static const char text[] =
        "hello hello, shell <|im_start|>user\n<tool_call>12345</tool_call>\xC3\xA4\xFF<|im_end|>";
    for (int template = 0; template <2; template ++) {
        struct token_list a = {0}, b = {0};
        int (*encode)(const struct tokenizer *, const char *, size_t, struct token_list *) =
            template ? tokenizer_encode_template : tokenizer_encode_text;
        assert_int_equal(encode(gguf->tokenizer, text, sizeof text - 1, &a), 0);
        assert_int_equal(encode(hf->tokenizer, text, sizeof text - 1, &b), 0);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.v, b.v, a.n * sizeof *a.v);
        token_list_finish(&a);
        token_list_finish(&b);
    }
    model_close(gguf);
    model_close(hf);
    unlink(path);
}

static void cut(const char *name, size_t from) {
    size_t len = 0;
    char err[400], path[512];
    char *bytes = fixture_read_in(folder, name, &len);
    path_of(path, name);
    for (size_t n = from < len ? from : len - 1; n-- > 0;) {
        assert_int_equal(truncate(path, (off_t)n), 0);
        if (try_open(name, err, sizeof err) != -EINVAL)
            fail_msg("%s cut at byte %zu of %zu is not refused as damaged: '%s'", name, n, len, err);
        if (strstr(err, name) == NULL && strstr(err, "safetensors") == NULL)
            fail_msg("%s cut at byte %zu: the file is not named in '%s'", name, n, err);
    }
    fixture_write_in(folder, name, bytes, len);
    free(bytes);
}

static void test_cut_at_every_byte(void **state) {
    (void)state;
    cut("config.json", SIZE_MAX); /* without the line break at its end it is whole */
    cut("tokenizer.json", SIZE_MAX);
    cut("model.safetensors", SIZE_MAX);
}

struct lie {
    const char *file, *was, *is;
    int rc;
    const char *says;
};

#define C "config.json"
#define T "tokenizer.json"
#define S "model.safetensors"
#define Q "model.layers.0.self_attn.q_proj.weight"

static const struct lie lies[] = {
    {C, "\"llama\"", "\"mamba\"", -ENOTSUP, "'mamba'"},
    {C, "\"silu\"", "\"gelu\"", -ENOTSUP, "the activation 'gelu'"},
    {C, "\"silu\"", "\"silu\", \"attention_bias\": true", -ENOTSUP, "says attention_bias"},
    {C, "\"silu\"", "\"silu\", \"mlp_bias\": 1", -ENOTSUP, "says mlp_bias"},
    {C, "\"silu\"", "\"silu\", \"attention_bias\": null, \"mlp_bias\": false", 0, ""},
    {C, "{\"model_type\"", "[{\"model_type\"", -EINVAL, C},
    {C, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0", -EINVAL, "num_hidden_layers is 0"},
    {C, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1e300", -EINVAL, "num_hidden_layers"},
    {C, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1.5", -EINVAL, "whole number"},
    {C, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": \"2\"", -EINVAL,
     "num_hidden_layers should be a number"},
    {C, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", -EINVAL, "attn_norm of layer 2"},
    {C, "\"num_hidden_layers\": 2, ", "", -EINVAL, "no num_hidden_layers"},
    {C, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 2, \"num_hidden_layers\": 2", -EINVAL, C},
    {C, "\"hidden_size\": 8", "\"hidden_size\": -8", -EINVAL, "hidden_size is -8"},
    {C, "\"hidden_size\": 8", "\"hidden_size\": 16", -EINVAL, "token_embd"},
    {C, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", -EINVAL, "impossible shape"},
    {C, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 5", -EINVAL, "num_key_value_heads is 5"},
    {C, "\"head_dim\": 2", "\"head_dim\": 3", -EINVAL, "impossible shape"},
    {C, "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 2",
     "\"num_attention_heads\": 3", -EINVAL, "3 heads cannot share a width of 8"},
    {C, "\"vocab_size\": 264", "\"vocab_size\": 1048577", -EINVAL, "vocab_size is 1.04858e+06"},
    {C, "\"head_dim\": 2", "\"head_dim\": 4", -EINVAL, "attn_q"},
    {C, "\"vocab_size\": 264", "\"vocab_size\": 4294967296", -EINVAL, "vocab_size"},
    {C, "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": -1", -EINVAL, "rms_norm_eps is -1"},
    {C, "\"rope_theta\": 10000.0", "\"rope_theta\": 0", -EINVAL, "rope_theta is 0"},
    {C, "\"rope_theta\": 10000.0", "\"rope_theta\": [1]", -EINVAL, "rope_theta should be a number"},
    {C, "\"rope_type\": \"llama3\"", "\"rope_type\": \"yarn\"", -ENOTSUP, "'yarn'"},
    {C, "\"factor\": 8.0", "\"factor\": 0", -EINVAL, "factor is 0"},
    {C, "\"factor\": 8.0, ", "", -EINVAL, "has no factor"},
    {C, "\"low_freq_factor\": 1.0, ", "", -EINVAL, "has no low_freq_factor"},
    {C, "\"high_freq_factor\": 4.0", "\"high_freq_factor\": null", -EINVAL, "has no high_freq_factor"},
    {C, ", \"original_max_position_embeddings\": 32", "", -EINVAL, "no original_max_position_embeddings"},
    {C, "\"rope_type\": \"llama3\"", "\"type\": \"llama3\"", 0, ""},
    {C, "\"rope_type\": \"llama3\", \"factor\": 8.0, ", "\"type\": \"linear\", ", -EINVAL, "has no factor"},
    {C, "\"rope_type\": \"llama3\", ", "", -EINVAL, "a factor for RoPE and no rope_type"},
    {C, "\"high_freq_factor\": 4.0", "\"high_freq_factor\": 1.0", -EINVAL, "high_freq_factor"},
    {C, "\"original_max_position_embeddings\": 32", "\"original_max_position_embeddings\": 0", -EINVAL,
     "original_max"},
    {C, "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", -EINVAL, "lm_head.weight"},
    {C, "\"bos_token_id\": 260", "\"bos_token_id\": 264", -EINVAL, "bos_token_id is 264"},
    {C, "[261]", "[261, 264]", -EINVAL, "eos_token_id"},
    {C, "[261]", "[null]", -EINVAL, "eos_token_id"},
    {C, "[261]", "-5", -EINVAL, "eos_token_id is -5"},
    {T, "\"BPE\"", "\"Unigram\"", -ENOTSUP, "BPE"},
    {T, "\"BPE\"", "\"BPE\", \"continuing_subword_prefix\": \"##\"", -ENOTSUP, "continuing_subword_prefix"},
    {T, "\"BPE\"", "\"BPE\", \"end_of_word_suffix\": \"</w>\"", -ENOTSUP, "end_of_word_suffix"},
    {T, "\"BPE\"", "\"BPE\", \"dropout\": 0.1", -ENOTSUP, "dropout"},
    {T, "\"BPE\"",
     "\"BPE\", \"dropout\": null, \"continuing_subword_prefix\": \"\", \"end_of_word_suffix\": null", 0, ""},
    {T, "\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}", -ENOTSUP, "normalizer"},
    {T, "{1,3}", "{1,2}", -ENOTSUP, "pattern"},
    {T, "\"Isolated\"", "\"Removed\"", -ENOTSUP, "pattern"},
    {T, "\"use_regex\": false", "\"use_regex\": true", -ENOTSUP, "ByteLevel"},
    {T, "\"Split\"", "\"Digits\"", -ENOTSUP, "Split"},
    {T, "\"pre_tokenizer\"", "\"pre\"", -ENOTSUP, "Split"},
    {T, "\"vocab\": {", "\"vocab\": [], \"x\": {", -EINVAL, "vocab"},
    {T, "\"hello\": 259", "\"hello\": 264", -EINVAL, "'hello'"},
    {T, "\"hello\": 259", "\"hello\": -1", -EINVAL, "'hello'"},
    {T, "\"hello\": 259", "\"hello\": 1.5", -EINVAL, "'hello'"},
    {T, "\"hello\": 259", "\"hello\": \"259\"", -EINVAL, "'hello'"},
    {T, "\"hello\": 259", "\"hello\": 258", -EINVAL, "id 258 belongs to two"},
    {T, "\"hello\": 259", "\"hell\\u00f6\\u4e00\": 259", -EINVAL, "Token 259"},
    {T, "\"A\": 65, ", "", -EINVAL, "no token for byte 0x41"},
    {T, "{\"id\": 260", "{\"id\": 99999999999", -EINVAL, "<|begin_of_text|>"},
    {T, "{\"id\": 260, \"content\"", "{\"id\": 260, \"contents\"", -EINVAL, "no content"},
    {T, "\"content\": \"<tool_call>\"", "\"content\": \"\"", -EINVAL, "no content"},
    {T, "\"l l\"", "\"ll\"", -EINVAL, "Merge 1"},
    {T, "\"l l\"", "\"q q\"", -EINVAL, "Merge 1"},
    {T, "\"l l\"", "[\"l\"]", -EINVAL, "merges"},
    {T, "\"l l\"", "[\"l\", 5]", -EINVAL, "merges"},
    {S, Q "\": {\"dtype\": \"F16\"", Q "\": {\"dtype\": \"F8_E5M2\"", -ENOTSUP, "F8_E5M2"},
    {S, Q "\": {\"dtype\": \"F16\"", Q "\": {\"dtype\": \"F32\"", -EINVAL, "'" Q "'"},
    {S, Q "\": {\"dtype\": \"F16\"", Q "\": {\"dtype\": 5", -ENOTSUP, "(none)"},
    {S, Q "\": {\"dtype\": \"F16\", \"shape\": [8, 8]", Q "\": {\"dtype\": \"F16\", \"shape\": [8, 9]",
     -EINVAL, "data_offsets do not fit"},
    {S, Q "\": {\"dtype\": \"F16\", \"shape\": [8, 8]", Q "\": {\"dtype\": \"F16\", \"shape\": [4, 16]",
     -EINVAL, "attn_q of layer 0"},
    {S, Q "\": {\"dtype\": \"F16\", \"shape\": [8, 8]",
     Q "\": {\"dtype\": \"F16\", \"shape\": [4294967296, 4294967296]", -EINVAL, "dimension"},
    {S, Q "\": {\"dtype\": \"F16\", \"shape\": [8, 8]", Q "\": {\"dtype\": \"F16\", \"shape\": [0, 8]",
     -EINVAL, "dimension"},
    {S, Q "\": {\"dtype\": \"F16\", \"shape\": [8, 8]", Q "\": {\"dtype\": \"F16\", \"shape\": [-8, -8]",
     -EINVAL, "dimension"},
    {S, Q "\": {\"dtype\": \"F16\", \"shape\": [8, 8]", Q "\": {\"dtype\": \"F16\", \"shape\": []", -EINVAL,
     "shape"},
    {S, Q "\": {\"dtype\": \"F16\", \"shape\": [8, 8]", Q "\": {\"dtype\": \"F16\", \"shape\": [2, 4, 8]",
     -EINVAL, "shape"},
    {S, Q "\": {\"dtype\": \"F16\", \"shape\": [8, 8]",
     Q "\": {\"dtype\": \"F16\", \"shape\": {\"a\": 8, \"b\": 8}", -EINVAL, "shape"},
    {S, "model.layers.1.mlp.up_proj.weight\"", "model.layers.1.mlp.up_proj.bias\"", -ENOTSUP,
     "Tensor 'model.layers.1.mlp.up_proj.bias'"},
    {S, "model.layers.0.self_attn.q_proj.weight\"", "lm_head.bias\"", -ENOTSUP, "Tensor 'lm_head.bias'"},
    {S, "model.norm.weight\": {", "model.norm.weights\": {", -ENOTSUP, "Tensor 'model.norm.weights'"},
    {S, "model.norm.weight\": {", "model.rotary_emb.inv_freq\": {", -EINVAL, "output_norm"},
    {S, "model.layers.1.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight", -EINVAL, "header"},
    {S, "model.layers.1.mlp.up_proj.weight", "model.layers.1.self_attn.k_scale", -EINVAL,
     "ffn_up of layer 1"},
    {S, "model.layers.1.mlp.up_proj.weight", "model.layers.01.mlp.up_proj.weight", -ENOTSUP,
     "Tensor 'model.layers.01."},
    {S, "model.layers.1.mlp.up_proj.weight", "model.layers.-1.mlp.up_proj.weight", -ENOTSUP,
     "Tensor 'model.layers.-1."},
    {S, "model.layers.1.mlp.up_proj.weight", "model.layers.99999999999999999999.mlp.up_proj.weight", -ENOTSUP,
     "Tensor 'model.layers.99999999999999999999."},
};

/* Replaces the first `was` of the file; corrects the header's length of safetensors. */
static char *lie_bytes(const struct lie *l, const char *bytes, size_t len, size_t *new_len) {
    const char *at = memmem(bytes, len, l->was, strlen(l->was));
    if (at == NULL)
        fail_msg("%s has no '%s'", l->file, l->was);
    size_t before = (size_t)(at - bytes), a = strlen(l->was), b = strlen(l->is);
    char *out = malloc(len + b + 1);
    assert_non_null(out);
    memcpy(out, bytes, before);
    memcpy(out + before, l->is, b);
    memcpy(out + before + b, at + a, len - before - a);
    *new_len = len - a + b;
    if (strcmp(l->file, S) == 0) {
        uint64_t header;
        memcpy(&header, out, 8);
        header = header - a + b;
        memcpy(out, &header, 8);
    }
    return out;
}

static void test_each_lie_is_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        const struct lie *l = &lies[i];
        char err[400];
        size_t len = 0, new_len = 0;
        char *bytes = fixture_read_in(folder, l->file, &len);
        char *lie = lie_bytes(l, bytes, len, &new_len);
        fixture_write_in(folder, l->file, lie, new_len);
        int rc = try_open(l->is, err, sizeof err);
        if (rc != l->rc || strstr(err, l->says) == NULL)
            fail_msg("%s with '%s': %d '%s', wanted %d and '%s'", l->file, l->is, rc, err, l->rc, l->says);
        fixture_write_in(folder, l->file, bytes, len);
        free(bytes);
        free(lie);
    }
}

/* The first number of the n-th data_offsets becomes another. */
static void test_offsets_that_lie(void **state) {
    (void)state;
    static const char *const numbers[] = {
        "-1", "0", "1", "0.5", "2", "999999", "1e30", "9007199254740991", "\"0\"", "null"};
    size_t len = 0;
    char err[400];
    char *bytes = fixture_read_in(folder, S, &len);
    char *at = bytes + 8;
    int refused = 0;
    while ((at = memmem(at, len - (size_t)(at - bytes), "data_offsets\": [", 16)) != NULL) {
        at += 16;
        for (int which = 0; which < 2; which++) {
            const char *from = which == 0 ? at : strchr(at, ' ') + 1;
            size_t digits = strspn(from, "0123456789");
            for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
                char was[600];
                size_t context = (size_t)(from - bytes) < 300 ? (size_t)(from - bytes) - 8 : 290;
                (void)snprintf(was, sizeof was, "%.*s", (int)(context + digits), from - context);
                char is[600];
                (void)snprintf(is, sizeof is, "%.*s%s", (int)context, from - context, numbers[i]);
                const struct lie l = {S, was, is, 0, NULL};
                size_t new_len = 0;
                char *lie = lie_bytes(&l, bytes, len, &new_len);
                fixture_write_in(folder, S, lie, new_len);
                bool same = strcmp(was, is) == 0;
                int rc = try_open(is, err, sizeof err);
                if ((rc == 0) != same ||
                    (!same && strstr(err, "Tensor '") == NULL && strstr(err, "header") == NULL))
                    fail_msg("offset '%s': %d '%s'", is + context - 40, rc, err);
                refused += rc < 0 ? 1 : 0;
                free(lie);
            }
        }
    }
    assert_true(refused > 300);
    fixture_write_in(folder, S, bytes, len);
    free(bytes);
}

/* Nothing in the format puts the data on an even address: the same numbers come out wherever it begins. */
static void test_data_on_odd_addresses(void **state) {
    (void)state;
    static const int32_t ids[] = {7, 1, 200};
    char first[4096] = "";
    for (int spaces = 0; spaces < 5; spaces++) {
        size_t len = 0;
        char err[400] = "", *bytes = fixture_read_in(folder, S, &len);
        char *out = malloc(len + 5);
        assert_non_null(out);
        uint64_t header, longer;
        memcpy(&header, bytes, 8);
        longer = header + (uint64_t)spaces;
        memcpy(out, &longer, 8);
        memcpy(out + 8, bytes + 8, header);
        memset(out + 8 + header, ' ', (size_t)spaces);
        memcpy(out + 8 + longer, bytes + 8 + header, len - 8 - header);
        fixture_write_in(folder, S, out, len + (size_t)spaces);
        struct buf logits;
        buf_init(&logits, 1 << 16);
        if (engine_cli_logits(folder, ids, 3, 20, &logits, err, sizeof err) < 0)
            fail_msg("%d spaces: %s", spaces, err);
        assert_int_equal(buf_putc(&logits, '\0'), 0);
        if (spaces == 0)
            (void)snprintf(first, sizeof first, "%s", logits.data);
        assert_string_equal(logits.data, first);
        buf_finish(&logits);
        fixture_write_in(folder, S, bytes, len);
        free(bytes);
        free(out);
    }
}

/* generation_config.json: its ends count too. */
static void test_ends_of_generation(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int rc, n;
        const char *says;
    } all[] = {{"{\"eos_token_id\": [261, 5, 7]}", 0, 3, ""},
               {"{\"eos_token_id\": 5}", 0, 2, ""},
               {"{}", 0, 1, ""},
               {"{\"eos_token_id\": null}", 0, 1, ""},
               {"{\"eos_token_id\": [264]}", -EINVAL, 0, "generation_config.json"},
               {"{\"eos_token_id\": \"5\"}", -EINVAL, 0, "generation_config.json"},
               {"{\"eos_token_id\": -1}", -EINVAL, 0, "generation_config.json"},
               {"[", -EINVAL, 0, "generation_config.json"}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct model *m = NULL;
        char err[400] = "";
        fixture_write_in(folder, "generation_config.json", all[i].text, strlen(all[i].text));
        int rc = model_open(folder, &m, err, sizeof err);
        if (rc != all[i].rc || (rc < 0 && strstr(err, all[i].says) == NULL) ||
            (rc == 0 && (m->n_eog_ids != all[i].n || !model_is_eog(m, FIXTURE_END))))
            fail_msg("%s: %d '%s'", all[i].text, rc, err);
        model_close(m);
    }
    char path[512];
    path_of(path, "generation_config.json");
    unlink(path);
}

/* Lengths of the header. */
static void test_header_lengths(void **state) {
    (void)state;
    static const uint64_t lengths[] = {0,         1, 2, 7, 1u << 20, UINT32_MAX, UINT64_MAX, UINT64_MAX - 7,
                                       1ull << 63};
    size_t len = 0;
    char err[400];
    char *bytes = fixture_read_in(folder, S, &len);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char *lie = malloc(len);
        assert_non_null(lie);
        memcpy(lie, bytes, len);
        memcpy(lie, &lengths[i], 8);
        fixture_write_in(folder, S, lie, len);
        assert_int_equal(try_open("length", err, sizeof err), -EINVAL);
        assert_non_null(strstr(err, S));
        free(lie);
    }
    /* A header that fits into the file and is larger than the published reader's ceiling; a hole on the disk.
     */
    char path[512];
    uint64_t large = ((uint64_t)100 << 20) + 1;
    path_of(path, S);
    fixture_write_in(folder, S, &large, 8);
    assert_int_equal(truncate(path, 200 << 20), 0);
    assert_int_equal(try_open("length", err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "a header of 104857601 bytes"));
    fixture_write_in(folder, S, bytes, len);
    free(bytes);
}

static void test_shards(void **state) {
    (void)state;
    static const struct {
        const char *index;
        int rc;
        const char *says;
    } all[] = {
        {"{\"weight_map\": {\"a\": \"model.safetensors\", \"b\": \"model.safetensors\"}}", 0, ""},
        {"{\"weight_map\": {}}", -EINVAL, "no weight_map"},
        {"{}", -EINVAL, "no weight_map"},
        {"[]", -EINVAL, "should be an object"},
        {"{\"weight_map\": {\"a\": 5}}", -EINVAL, "'a'"},
        {"{\"weight_map\": {\"a\": \"../model.safetensors\"}}", -EINVAL, "not in its folder"},
        {"{\"weight_map\": {\"a\": \".hidden.safetensors\"}}", -EINVAL,
         "'.hidden.safetensors', which is hidden or not in its folder"},
        {"{\"weight_map\": {\"a\": \"missing.safetensors\"}}", -ENOENT, "missing.safetensors"},
        {"{\"weight_map\": {\"a\": \"config.json\"}}", -EINVAL, "config.json"},
        {"{\"weight_map\": {\"a\": \"model.safetensors\", \"b\": \"copy.safetensors\"}}", -EINVAL,
         "occurs twice"},
    };
    size_t len = 0;
    char err[400], path[512];
    char *bytes = fixture_read_in(folder, S, &len);
    fixture_write_in(folder, "copy.safetensors", bytes, len);
    free(bytes);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        fixture_write_in(folder, "model.safetensors.index.json", all[i].index, strlen(all[i].index));
        int rc = try_open(all[i].index, err, sizeof err);
        if (rc != all[i].rc || (rc < 0 && strstr(err, all[i].says) == NULL))
            fail_msg("%s: %d '%s'", all[i].index, rc, err);
    }
    path_of(path, "model.safetensors.index.json");
    unlink(path);
    path_of(path, "copy.safetensors");
    unlink(path);
}

static void test_missing_files(void **state) {
    (void)state;
    static const char *const names[] = {C, T, S};
    for (int i = 0; i < 3; i++) {
        size_t len = 0;
        char err[400], path[512];
        char *bytes = fixture_read_in(folder, names[i], &len);
        path_of(path, names[i]);
        unlink(path);
        assert_int_equal(try_open(names[i], err, sizeof err), -ENOENT);
        assert_non_null(strstr(err, names[i]));
        fixture_write_in(folder, names[i], bytes, len);
        free(bytes);
    }
}

static int setup(void **state) {
    (void)state;
    fixture_hf(folder);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    static const char *const names[] = {C, T, S};
    for (int i = 0; i < 3; i++) {
        char path[512];
        path_of(path, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_the_true_folder_opens, setup),
        cmocka_unit_test_setup(test_both_containers_tokenize_alike, setup),
        cmocka_unit_test_setup(test_cut_at_every_byte, setup),
        cmocka_unit_test_setup(test_each_lie_is_named, setup),
        cmocka_unit_test_setup(test_offsets_that_lie, setup),
        cmocka_unit_test_setup(test_header_lengths, setup),
        cmocka_unit_test_setup(test_data_on_odd_addresses, setup),
        cmocka_unit_test_setup(test_ends_of_generation, setup),
        cmocka_unit_test_setup(test_shards, setup),
        cmocka_unit_test_setup(test_missing_files, setup),
    };
    fixture_path(folder, "hostile-hf");
    return cmocka_run_group_tests(tests, NULL, teardown);
}
