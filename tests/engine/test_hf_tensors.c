/* Tensors that a Hugging Face folder holds beside those of its Llama: refused by name, because leaving one
 * out would make another model, unless it changes nothing. And bytes that no tensor owns. */
#include "engine/model.h"
#include "tests/engine/fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LAYER "model.layers.0."
/* Has no meaning for the model, so it may be there. */
#define IGNORED LAYER "self_attn.rotary_emb.inv_freq"

static char folder[256];

static int try_open(char err[600]) {
    struct model *m = NULL;
    err[0] = '\0';
    int rc = model_open(folder, &m, err, 600);
    if (rc < 0 && (m != NULL || strlen(err) < 20 || err[strlen(err) - 1] != '.'))
        fail_msg("the refusal is no sentence: '%s'", err);
    model_close(m);
    return rc;
}

/* How many bytes the tensors of the true folder have. */
static size_t data_bytes(void) {
    size_t len = 0;
    uint64_t header;
    char *bytes = fixture_read_in(folder, "model.safetensors", &len);
    memcpy(&header, bytes, 8);
    free(bytes);
    return len - 8 - header;
}

/* Opens the folder with one more entry at the end of the header and `len` more bytes at the end of the data.
 */
static int open_with(const char *entry, const char *data, size_t len, char err[600]) {
    size_t old = 0, more = strlen(entry);
    char *bytes = fixture_read_in(folder, "model.safetensors", &old), *out = calloc(1, old + more + len + 1);
    assert_non_null(out);
    uint64_t header;
    memcpy(&header, bytes, 8);
    memcpy(out, bytes, 8 + header - 1);
    memcpy(out + 8 + header - 1, entry, more);
    memcpy(out + 8 + header - 1 + more, bytes + 8 + header - 1, old - 8 - header + 1);
    memcpy(out + old + more, data, len);
    uint64_t longer = header + more;
    memcpy(out, &longer, 8);
    fixture_write_in(folder, "model.safetensors", out, old + more + len);
    int rc = try_open(err);
    fixture_write_in(folder, "model.safetensors", bytes, old);
    free(bytes);
    free(out);
    return rc;
}

static const struct {
    const char *name;
    int rc;
    const char *says;
} beside[] = {
    /* Other models: norms of queries, experts, adapters, other quantisations. */
    {LAYER "self_attn.q_norm.weight", -ENOTSUP, "has no place in a Llama, and without it"},
    {LAYER "mlp.experts.0.up_proj.weight", -ENOTSUP, "has no place in a Llama"},
    {LAYER "self_attn.q_proj.lora_A.weight", -ENOTSUP, "has no place in a Llama"},
    {LAYER "mlp.down_proj.SCB", -ENOTSUP, "has no place in a Llama"},
    {LAYER "self_attn.q_proj.weight_zero_point", -ENOTSUP, "has no place in a Llama"},
    {LAYER "self_attn.q_proj.weight_scale_inv", -ENOTSUP, "has no place in a Llama"},
    {LAYER "self_attn.q_proj.output_scale", -ENOTSUP, "has no place in a Llama"},
    {LAYER "mlp.k_scale", -ENOTSUP, "has no place in a Llama"},
    {"vision.k_scale", -ENOTSUP, "has no place in a Llama"},
    {"more", -ENOTSUP, "has no place in a Llama"},
    {"", -ENOTSUP, "has no place in a Llama"},
    /* Scales of what is not quantised. */
    {LAYER "input_layernorm.weight_scale", -ENOTSUP, "has no place in a Llama"},
    {LAYER "post_attention_layernorm.input_scale", -ENOTSUP, "has no place in a Llama"},
    {"model.embed_tokens.weight_scale", -ENOTSUP, "has no place in a Llama"},
    {"model.norm.weight_scale", -ENOTSUP, "has no place in a Llama"},
    /* Biases, wherever they stand. */
    {LAYER "self_attn.q_proj.bias", -ENOTSUP, "is a bias"},
    {"model.norm.bias", -ENOTSUP, "is a bias"},
    {"lm_head.bias", -ENOTSUP, "is a bias"},
    /* Layers that config.json does not count, whatever they hold. */
    {"model.layers.2.self_attn.q_proj.weight", -EINVAL,
     "belongs to layer 2, counted from 0, and num_hidden_layers of config.json is 2"},
    {"model.layers.2.self_attn.rotary_emb.inv_freq", -EINVAL, "num_hidden_layers of config.json is 2"},
    {"model.layers.3.mlp.up_proj.bias", -EINVAL, "belongs to layer 3"},
    {"model.layers.00.self_attn.q_proj.weight", -ENOTSUP, "has no place in a Llama"},
    /* Frequencies of RoPE, which config.json gives. */
    {IGNORED, 0, ""},
    {"model.rotary_emb.inv_freq", 0, ""},
    /* Scales of keys and values in a cache of FP8, as compressed-tensors and others name them. */
    {LAYER "self_attn.k_scale", 0, ""},
    {LAYER "self_attn.v_scale", 0, ""},
    {LAYER "self_attn.k_proj.k_scale", 0, ""},
    {LAYER "self_attn.v_proj.v_scale", 0, ""},
    {LAYER "self_attn.k_proj.output_scale", 0, ""},
    {LAYER "self_attn.v_proj.output_scale", 0, ""},
};

static void test_one_more_tensor(void **state) {
    (void)state;
    size_t data = data_bytes();
    for (size_t i = 0; i < sizeof beside / sizeof beside[0]; i++) {
        char err[600], entry[300], named[512];
        (void)snprintf(entry, sizeof entry,
                       ", \"%s\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [%zu, %zu]}",
                       beside[i].name, data, data + 4);
        (void)snprintf(named, sizeof named, "Tensor '%s' of '%s/model.safetensors'", beside[i].name, folder);
        int rc = open_with(entry, "\0\0\x80\x3F", 4, err);
        if (rc != beside[i].rc || strstr(err, beside[i].says) == NULL ||
            (rc < 0 && strstr(err, named) == NULL))
            fail_msg("'%s': %d '%s', wanted %d and '%s'", beside[i].name, rc, err, beside[i].rc,
                     beside[i].says);
    }
}

/* A config.json that counts fewer layers than there are would make half a model. */
static void test_fewer_layers_in_the_config(void **state) {
    (void)state;
    size_t len = 0;
    char err[600], *bytes = fixture_read_in(folder, "config.json", &len);
    char *at = strstr(bytes, "\"num_hidden_layers\": 2");
    assert_non_null(at);
    at[strlen("\"num_hidden_layers\": ")] = '1';
    fixture_write_in(folder, "config.json", bytes, len);
    assert_int_equal(try_open(err), -EINVAL);
    assert_non_null(strstr(err, "Tensor 'model.layers.1."));
    assert_non_null(strstr(err, "belongs to layer 1, counted from 0, and num_hidden_layers of config.json is "
                                "1; put the config.json of these weights beside them."));
    free(bytes);
}

/* Bytes that no tensor owns are no part of the format. */
static void test_holes(void **state) {
    (void)state;
    static const char form[] =
        ", \"" IGNORED "\": {\"dtype\": \"U8\", \"shape\": [%d], \"data_offsets\": [%zu, %zu]}";
    char err[600], entry[300];
    size_t data = data_bytes();
    (void)snprintf(entry, sizeof entry, form, 4, data, data + 4);
    assert_int_equal(open_with(entry, "four", 4, err), 0);
    assert_int_equal(open_with(entry, "fifth", 5, err), -EINVAL);
    assert_non_null(strstr(err, "1 bytes behind its last tensor"));
    (void)snprintf(entry, sizeof entry, form, 4, data + 1, data + 5);
    assert_int_equal(open_with(entry, "fifth", 5, err), -EINVAL);
    assert_non_null(strstr(err, "Tensor '" IGNORED "'"));
    assert_non_null(strstr(err, "leave a hole"));
    (void)snprintf(entry, sizeof entry, form, 0, data, data);
    assert_int_equal(open_with(entry, "", 0, err), 0);
    assert_int_equal(open_with("", "x", 1, err), -EINVAL);
}

/* config.json says that it is tied: a head beside that must be the same. */
static void test_head_beside_a_tied_embedding(void **state) {
    (void)state;
    char err[600], entry[300];
    size_t len = 0, data = data_bytes(), head = FIXTURE_VOCAB * 8 * 2;
    char *bytes = fixture_read_in(folder, "model.safetensors", &len), *copy = malloc(head);
    assert_non_null(copy);
    memcpy(copy, bytes + len - data, head); /* the embedding is the first tensor */
    free(bytes);
    (void)snprintf(
        entry, sizeof entry,
        ", \"lm_head.weight\": {\"dtype\": \"F16\", \"shape\": [264, 8], \"data_offsets\": [%zu, %zu]}", data,
        data + head);
    assert_int_equal(open_with(entry, copy, head, err), 0);
    copy[head - 1] = (char)(copy[head - 1] ^ 1);
    assert_int_equal(open_with(entry, copy, head, err), -EINVAL);
    assert_non_null(strstr(err, "tie_word_embeddings"));
    free(copy);
}

static int setup(void **state) {
    (void)state;
    fixture_hf(folder);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    static const char *const names[] = {"config.json", "tokenizer.json", "model.safetensors"};
    for (int i = 0; i < 3; i++) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_one_more_tensor, setup),
        cmocka_unit_test_setup(test_fewer_layers_in_the_config, setup),
        cmocka_unit_test_setup(test_holes, setup),
        cmocka_unit_test_setup(test_head_beside_a_tied_embedding, setup),
    };
    fixture_path(folder, "hf-tensors");
    return cmocka_run_group_tests(tests, NULL, teardown);
}
