/* model.safetensors of a small model, any bytes: as the file of a model in halves, and of one in FP8. And as
 * model.safetensors.index.json over two files that hold the model. Whatever they are: no crash, no leak; a
 * refusal is a sentence; what opens can be read to its last row. */
#include "engine/model.h"
#include "tests/fuzz/folder.h"

#define CONFIG                                                                                               \
    "{\"model_type\": \"llama\", \"num_hidden_layers\": 1, \"hidden_size\": 8, \"num_attention_heads\": 2, " \
    "\"num_key_value_heads\": 1, \"intermediate_size\": 8, \"vocab_size\": 8, \"max_position_embeddings\": " \
    "64"
#define FP8                                                                                                  \
    ", \"quantization_config\": {\"quant_method\": \"compressed-tensors\", \"format\": "                     \
    "\"naive-quantized\", "                                                                                  \
    "\"config_groups\": {\"a\": {\"weights\": {\"num_bits\": 8, \"type\": \"float\", \"strategy\": "         \
    "\"tensor\"}}}}"

static void try(const char *file, const char *config, const char *text, const uint8_t *data, size_t size) {
    struct model *m = NULL;
    char err[600] = "";
    folder_write(config, text, strlen(text));
    folder_write(file, data, size);
    int rc = model_open_weights(folder_path, &m, err, sizeof err);
    folder_expect_sentence(rc, err);
    if (rc == 0)
        folder_touch(m);
    model_close(m);
}

/* ---- an index ---- */

/* Half of the tensors of the model, all of them numbers in F16 that are 0. */
static void write_shard(const char *path, int half) {
    static const char *const names[] = {"model.embed_tokens",
                                        "model.norm",
                                        "lm_head",
                                        "model.layers.0.input_layernorm",
                                        "self_attn.q_proj",
                                        "self_attn.k_proj",
                                        "self_attn.v_proj",
                                        "self_attn.o_proj",
                                        "mlp.gate_proj",
                                        "mlp.up_proj",
                                        "mlp.down_proj",
                                        "model.layers.0.post_attention_layernorm"};
    char header[2048] = "{";
    uint64_t n = 1, at = 0;
    for (int i = half * 6; i < half * 6 + 6; i++) {
        const bool norm = strstr(names[i], "norm") != NULL,
                   in_layer = strncmp(names[i], "self", 4) == 0 || strncmp(names[i], "mlp", 3) == 0;
        const int rows = strstr(names[i], "k_proj") != NULL || strstr(names[i], "v_proj") != NULL ? 4 : 8,
                  elements = norm ? 8 : rows * 8;
        n += (uint64_t)snprintf(header + n, sizeof header - n,
                                "%s\"%s%s.weight\": {\"dtype\": \"F16\", \"shape\": [", i % 6 > 0 ? ", " : "",
                                in_layer ? "model.layers.0." : "", names[i]);
        n += (uint64_t)(norm ? snprintf(header + n, sizeof header - n, "8")
                             : snprintf(header + n, sizeof header - n, "%d, 8", rows));
        n += (uint64_t)snprintf(header + n, sizeof header - n, "], \"data_offsets\": [%d, %d]}", (int)at,
                                (int)at + 2 * elements);
        at += (uint64_t)(2 * elements);
    }
    n += (uint64_t)snprintf(header + n, sizeof header - n, "}");
    static const uint8_t data[2048];
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(&n, 8, 1, f) != 1 || fwrite(header, 1, n, f) != n ||
        fwrite(data, 1, at, f) != at || fclose(f) != 0)
        abort();
}

static void try_index(const uint8_t *data, size_t size) {
    static const char *index;
    static char config[300];
    struct model *m = NULL;
    char err[600] = "";
    if (index == NULL) {
        write_shard(folder_file("a.safetensors"), 0);
        write_shard(folder_file("b.safetensors"), 1);
        index = folder_file("model.safetensors.index.json");
        (void)snprintf(config, sizeof config, "%s/config.json", folder_path);
    }
    folder_write(config, CONFIG "}", strlen(CONFIG "}"));
    folder_write(index, data, size);
    int rc = model_open_weights(folder_path, &m, err, sizeof err);
    folder_expect_sentence(rc, err);
    if (rc == 0)
        folder_touch(m);
    model_close(m);
    (void)unlink(index);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *file, *config;
    if (file == NULL) {
        file = folder_file("model.safetensors");
        config = folder_file("config.json");
    }
    try(file, config, CONFIG "}", data, size);
    try(file, config, CONFIG FP8 "}", data, size);
    try_index(data, size);
    return 0;
}
