/* model.safetensors of a small model, any bytes: as the file of a model in halves, and of one in FP8.
 * Whatever they are: no crash, no leak; a refusal is a sentence; what opens can be read to
 * its last row. */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *file, *config;
    if (file == NULL) {
        file = folder_file("model.safetensors");
        config = folder_file("config.json");
    }
    try(file, config, CONFIG "}", data, size);
    try(file, config, CONFIG FP8 "}", data, size);
    return 0;
}
