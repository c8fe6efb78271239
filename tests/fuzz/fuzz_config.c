/* config.json, any bytes, in a folder without weights and beside weights; and generation_config.json.
 * Whatever they are: no crash, no leak; a refusal is a sentence; what is accepted has a shape that can be
 * counted. */
#include "engine/model.h"
#include "tests/fuzz/folder.h"

/* The bytes as generation_config.json of a small model. */
static void as_generation(const char *config, const uint8_t *data, size_t size) {
    static const char shape[] =
        "{\"model_type\": \"llama\", \"num_hidden_layers\": 1, \"hidden_size\": 8, \"num_attention_heads\": "
        "2, "
        "\"intermediate_size\": 8, \"vocab_size\": 8, \"max_position_embeddings\": 64}";
    static const char *generation;
    struct model *m = NULL;
    char err[600] = "";
    generation = generation != NULL ? generation : folder_file("generation_config.json");
    folder_write(config, shape, sizeof shape - 1);
    folder_write(generation, data, size);
    folder_expect_sentence(model_open_config(folder_path, &m, err, sizeof err), err);
    for (int i = 0; m != NULL && i < m->n_eog_ids; i++)
        if (m->eog_ids[i] < 0 || m->eog_ids[i] >= m->n_vocab)
            abort();
    model_close(m);
    if (unlink(generation) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *config, *weights;
    struct model *m = NULL;
    char err[600] = "";
    if (config == NULL) {
        config = folder_file("config.json");
        weights = folder_file("model.safetensors");
    }
    folder_write(config, data, size);
    int rc = model_open_config(folder_path, &m, err, sizeof err);
    folder_expect_sentence(rc, err);
    if (rc == 0 && (m->n_params == 0 || m->weight_bytes < m->n_params || m->n_heads % m->n_kv_heads != 0))
        abort();
    model_close(m);
    m = NULL;
    folder_write(weights, "\2\0\0\0\0\0\0\0{}", 10);
    folder_expect_sentence(model_open(folder_path, &m, err, sizeof err), err);
    model_close(m);
    if (unlink(weights) != 0)
        abort();
    as_generation(config, data, size);
    return 0;
}
