/* config.json, any bytes, in a folder without weights and beside weights. Whatever they are: no crash, no
 * leak; a refusal is a sentence; what is accepted has a shape that can be counted. */
#include "engine/model.h"
#include "tests/fuzz/folder.h"

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
    return 0;
}
