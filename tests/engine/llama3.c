#include "tests/engine/llama3.h"

#include "engine/gguf_set.h"
#include "engine/model_build.h"
#include "tests/shared.h"

#include <string.h>

static void must(bool ok, const char *err) {
    if (ok)
        return;
    (void)printf("%s\n", err);
    exit(1);
}

struct model *llama3_open(void) {
    char path[4096], err[300] = "no memory";
    (void)shared_path(path, "tokenizer/llama3/derived/llama3-vocab.gguf");
    struct model *m = calloc(1, sizeof *m);
    struct model_files *files = calloc(1, sizeof *files);
    must(m != NULL && files != NULL, err);
    m->files = files;
    m->path = strdup(path);
    m->n_vocab = LLAMA3_TOKENS;
    m->bos_id = -1;
    must(gguf_set_open(path, &files->gguf, err, sizeof err) == 0, err);
    must(model_gguf_tokenizer(m, files->gguf->parts[0], err, sizeof err) == 0, err);
    return m;
}

struct grammar_vocab *llama3_vocab(const struct model *m) {
    struct grammar_vocab *v = NULL;
    char err[300] = "";
    must(grammar_vocab_create(m->tokenizer, m->eog_ids, (size_t)m->n_eog_ids, &v, err, sizeof err) == 0, err);
    return v;
}
