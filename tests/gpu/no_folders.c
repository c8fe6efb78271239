/* What reading a GGUF file's weights asks of tokenizers and Hugging Face folders, where the libraries for
 * them are not there: the models of tests/gpu have neither. */
#include "engine/bpe.h"
#include "engine/model_build.h"
#include "engine/tokenizer.h"

#include <errno.h>

int bpe_create(const struct bpe_source *source, struct tokenizer **out, char *err, size_t errlen) {
    (void)source;
    (void)out;
    return err_set(err, errlen, -ENOTSUP, "This build has no tokenizer.");
}

int32_t tokenizer_find_added(const struct tokenizer *t, const char *text) {
    (void)t;
    (void)text;
    return -1;
}

int tokenizer_n_vocab(const struct tokenizer *t) {
    (void)t;
    return 0;
}

void tokenizer_destroy(struct tokenizer *t) {
    (void)t;
}

int model_hf_read(struct model *m, bool with_tokenizer, char *err, size_t errlen) {
    (void)m;
    (void)with_tokenizer;
    return err_set(err, errlen, -ENOTSUP, "This build reads no folders.");
}

int model_hf_plan(struct model *m, char *err, size_t errlen) {
    return model_hf_read(m, false, err, errlen);
}
