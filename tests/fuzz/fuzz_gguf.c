/* A GGUF file, any bytes. Whatever they are: no crash, no leak; a refusal is a sentence; what opens can be
 * read to its last row. */
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "tests/fuzz/folder.h"

static void use(const struct model *m) {
    struct token_list list = {0};
    if (m->tokenizer != NULL && tokenizer_encode_template(m->tokenizer, "hello <|im_end|>", 16, &list) < 0)
        abort();
    token_list_finish(&list);
    folder_touch(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *path;
    struct model *m = NULL;
    char err[600] = "";
    path = path != NULL ? path : folder_file("model.gguf");
    folder_write(path, data, size);
    int rc = model_open(path, &m, err, sizeof err);
    folder_expect_sentence(rc, err);
    if (rc < 0) {
        rc = model_open_weights(path, &m, err, sizeof err);
        folder_expect_sentence(rc, err);
    }
    if (rc == 0)
        use(m);
    model_close(m);
    return 0;
}
