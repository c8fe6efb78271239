#include "engine/bpe.h"
#include "engine/gguf_set.h"
#include "engine/gguf_write.h"
#include "engine/model_hf.h"
#include "engine/quantise.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Token types (llama.cpp llama.h, enum llama_token_type). */
enum { TYPE_NORMAL = 1, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5 };

static struct gguf_text text_of(const char *text) {
    return (struct gguf_text){text, strlen(text)};
}

static void put_types(uint32_t file_type, struct gguf_writer *w) {
    gguf_write_u32(w, "general.quantization_version", 2);
    gguf_write_u32(w, "general.file_type", file_type);
}

/* Said anew, or of one file alone. */
static bool is_dropped(struct gguf_text key) {
    return gguf_text_is(key, "general.alignment") || gguf_text_is(key, "general.file_type") ||
           gguf_text_is(key, "general.quantization_version") ||
           (key.len > 6 && memcmp(key.data, "split.", 6) == 0);
}

static void copy_values(const struct gguf *g, struct gguf_writer *w) {
    for (size_t i = 0; i < g->n_values; i++)
        if (!is_dropped(g->values[i].key))
            gguf_write_copy(w, &g->values[i]);
}

static void put_shape(const struct model *m, struct gguf_writer *w) {
    const struct {
        const char *key;
        int value;
    } all[] = {{"llama.block_count", m->n_layers},          {"llama.context_length", m->n_ctx_train},
               {"llama.embedding_length", m->dim},          {"llama.feed_forward_length", m->ffn_dim},
               {"llama.attention.head_count", m->n_heads},  {"llama.attention.head_count_kv", m->n_kv_heads},
               {"llama.attention.key_length", m->head_dim}, {"llama.attention.value_length", m->head_dim},
               {"llama.rope.dimension_count", m->head_dim}, {"llama.vocab_size", m->n_vocab}};
    gguf_write_text(w, "general.architecture", text_of("llama"));
    gguf_write_text(w, "general.name", text_of(m->name));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        gguf_write_u32(w, all[i].key, (uint32_t)all[i].value);
    gguf_write_f32(w, "llama.attention.layer_norm_rms_epsilon", m->rms_eps);
    gguf_write_f32(w, "llama.rope.freq_base", m->rope_theta);
}

struct vocabulary_job {
    const struct model *m;
    struct gguf_writer *w;
};

/* Every row of the embedding has a token; those without one are [PAD17], unused, as llama.cpp's converter
 * names them. */
static int put_vocabulary(void *arg, const struct bpe_source *s, const bool *user_defined, char *err,
                          size_t errlen) {
    const struct vocabulary_job *job = arg;
    struct gguf_writer *w = job->w;
    int n = job->m->n_vocab;
    (void)err;
    (void)errlen;
    gguf_write_text(w, "tokenizer.ggml.model", text_of("gpt2"));
    gguf_write_text(w, "tokenizer.ggml.pre", text_of("llama-bpe"));
    gguf_write_array(w, "tokenizer.ggml.tokens", GGUF_STRING, (uint64_t)n);
    for (int i = 0; i < n; i++) {
        char pad[32];
        bool there = i < s->n_vocab && s->tokens[i].data != NULL;
        int len = there ? 0 : snprintf(pad, sizeof pad, "[PAD%d]", i);
        gguf_write_item_text(w, there ? s->tokens[i].data : pad, there ? s->tokens[i].len : (size_t)len);
    }
    gguf_write_array(w, "tokenizer.ggml.token_type", GGUF_I32, (uint64_t)n);
    for (int i = 0; i < n; i++) {
        bool there = i < s->n_vocab && s->tokens[i].data != NULL;
        gguf_write_item_i32(w, !there            ? TYPE_UNUSED
                               : !s->added[i]    ? TYPE_NORMAL
                               : user_defined[i] ? TYPE_USER_DEFINED
                                                 : TYPE_CONTROL);
    }
    gguf_write_array(w, "tokenizer.ggml.merges", GGUF_STRING, s->n_merges);
    for (size_t i = 0; i < s->n_merges; i++)
        gguf_write_item_text(w, s->merges[i].data, s->merges[i].len);
    return w->status;
}

static int put_tokenizer(const struct model *m, struct gguf_writer *w, char *err, size_t errlen) {
    struct vocabulary_job job = {m, w};
    if (m->tokenizer == NULL) {
        gguf_write_text(w, "tokenizer.ggml.model", text_of("none"));
        return 0;
    }
    int rc = model_hf_vocabulary(m, put_vocabulary, &job, err, errlen);
    if (rc < 0)
        return rc;
    if (m->bos_id >= 0)
        gguf_write_u32(w, "tokenizer.ggml.bos_token_id", (uint32_t)m->bos_id);
    if (m->n_eog_ids > 0)
        gguf_write_u32(w, "tokenizer.ggml.eos_token_id", (uint32_t)m->eog_ids[0]);
    gguf_write_bool(w, "tokenizer.ggml.add_bos_token", m->add_bos);
    return 0;
}

int quantise_values(const struct model *m, uint32_t file_type, struct gguf_writer *w, char *err,
                    size_t errlen) {
    const struct model_files *files = m->files;
    int rc = 0;
    if (files->gguf != NULL) {
        copy_values(files->gguf->parts[0], w);
    } else {
        put_shape(m, w);
        rc = put_tokenizer(m, w, err, errlen);
    }
    put_types(file_type, w);
    return rc;
}

bool quantise_rope_divisors(const struct model *m, float *divisors) {
    bool needed = false;
    for (int i = 0; i < m->head_dim / 2; i++) {
        double plain = 1.0 / pow((double)m->rope_theta, 2.0 * i / m->head_dim);
        divisors[i] = (float)(plain / (double)m->rope_inv_freq[i]);
        needed = needed || fabsf(divisors[i] - 1) > 1e-6f;
    }
    return needed;
}
