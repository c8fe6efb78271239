/* A model from a GGUF file. Keys: ggml/docs/gguf.md. */
#include "engine/bpe.h"
#include "engine/gguf.h"
#include "engine/model_build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4 };

static int shape(struct model *m, const struct gguf *g, char *err, size_t errlen) {
    if (!gguf_text_is(gguf_string(g, "general.architecture"), "llama"))
        return err_set(err, errlen, -ENOTSUP, "Model '%s' is not of the 'llama' architecture.", m->path);
    int64_t layers = gguf_integer(g, "llama.block_count", 0),
            dim = gguf_integer(g, "llama.embedding_length", 0);
    int64_t heads = gguf_integer(g, "llama.attention.head_count", 0),
            ffn = gguf_integer(g, "llama.feed_forward_length", 0);
    int64_t kv = gguf_integer(g, "llama.attention.head_count_kv", heads);
    int64_t head = gguf_integer(g, "llama.attention.key_length", heads > 0 ? dim / heads : 0);
    int64_t context = gguf_integer(g, "llama.context_length", 0);
    if (layers < 1 || layers > 1024 || dim < 1 || dim > 1 << 20 || heads < 1 || heads > 4096 || kv < 1 ||
        kv > heads || heads % kv != 0 || head < 2 || head > 4096 || head % 2 != 0 || ffn < 1 ||
        ffn > 1 << 22 || context < 1 || context > 1 << 27)
        return err_set(err, errlen, -EINVAL,
                       "Model '%s' has an impossible shape: %lld layers, width %lld, %lld heads of %lld.",
                       m->path, (long long)layers, (long long)dim, (long long)heads, (long long)head);
    if (gguf_integer(g, "llama.attention.value_length", head) != head ||
        gguf_integer(g, "llama.rope.dimension_count", head) != head ||
        gguf_integer(g, "llama.expert_count", 0) > 0)
        return err_set(err, errlen, -ENOTSUP,
                       "Model '%s' has heads that are rotated in part, values of another size, or experts.",
                       m->path);
    m->n_layers = (int)layers;
    m->dim = (int)dim;
    m->n_heads = (int)heads;
    m->n_kv_heads = (int)kv;
    m->head_dim = (int)head;
    m->ffn_dim = (int)ffn;
    m->n_ctx_train = (int)context;
    m->rms_eps = (float)gguf_number(g, "llama.attention.layer_norm_rms_epsilon", 1e-5);
    m->rope_theta = (float)gguf_number(g, "llama.rope.freq_base", 10000);
    m->rope_layout = ROPE_ADJACENT;
    return 0;
}

static int rope(struct model *m, const struct gguf *g, char *err, size_t errlen) {
    int rc = model_build_rope(m, err, errlen);
    if (rc < 0)
        return rc;
    struct gguf_text kind = gguf_string(g, "llama.rope.scaling.type");
    double factor = 1;
    if (gguf_text_is(kind, "linear"))
        factor = gguf_number(g, "llama.rope.scaling.factor", 1);
    else if (kind.len > 0 && !gguf_text_is(kind, "none"))
        return err_set(err, errlen, -ENOTSUP, "Model '%s' scales RoPE by '%.*s', which is not supported.",
                       m->path, (int)(kind.len < 40 ? kind.len : 40), kind.data);
    const struct gguf_tensor *divisors = gguf_find_tensor(g, "rope_freqs.weight");
    if (divisors != NULL && (divisors->tensor.data == NULL || divisors->tensor.type != DTYPE_F32 ||
                             divisors->tensor.cols != m->head_dim / 2 || divisors->tensor.rows != 1))
        return err_set(err, errlen, -EINVAL, "Tensor rope_freqs.weight of model '%s' must be %d F32 numbers.",
                       m->path, m->head_dim / 2);
    for (int i = 0; i < m->head_dim / 2; i++) {
        float divisor = 1;
        if (divisors != NULL)
            memcpy(&divisor, (const char *)divisors->tensor.data + i * 4, 4);
        m->rope_inv_freq[i] /= divisor * (float)factor;
    }
    return 0;
}

static struct tensor tensor_of(const struct gguf *g, const char *name) {
    const struct gguf_tensor *t = gguf_find_tensor(g, name);
    return t != NULL ? t->tensor : (struct tensor){0};
}

static int tensors(struct model *m, const struct gguf *g, char *err, size_t errlen) {
    m->layers = calloc((size_t)m->n_layers, sizeof *m->layers);
    if (m->layers == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    m->tok_embd = tensor_of(g, "token_embd.weight");
    m->output_norm = tensor_of(g, "output_norm.weight");
    m->output = tensor_of(g, "output.weight");
    if (gguf_find_tensor(g, "output.weight") == NULL)
        m->output = m->tok_embd;
    m->n_vocab = (int)m->tok_embd.rows;
    for (int l = 0; l < m->n_layers; l++) {
        struct model_layer *y = &m->layers[l];
        struct {
            struct tensor *to;
            const char *name;
        } all[] = {{&y->attn_norm, "attn_norm"}, {&y->wq, "attn_q"},      {&y->wk, "attn_k"},
                   {&y->wv, "attn_v"},           {&y->wo, "attn_output"}, {&y->ffn_norm, "ffn_norm"},
                   {&y->w_gate, "ffn_gate"},     {&y->w_up, "ffn_up"},    {&y->w_down, "ffn_down"}};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
            char name[64];
            (void)snprintf(name, sizeof name, "blk.%d.%s.weight", l, all[i].name);
            *all[i].to = tensor_of(g, name);
        }
    }
    return 0;
}

static bool added_type(const struct gguf_value *types, uint64_t i) {
    int32_t type = 0;
    if (types != NULL && types->type == GGUF_ARRAY && types->item == GGUF_I32 && i < types->n)
        memcpy(&type, types->data + i * 4, 4);
    return type == TYPE_CONTROL || type == TYPE_USER_DEFINED;
}

int model_gguf_tokenizer(struct model *m, const struct gguf *g, char *err, size_t errlen) {
    const struct gguf_value *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    const struct gguf_value *merges = gguf_find(g, "tokenizer.ggml.merges");
    const struct gguf_value *types = gguf_find(g, "tokenizer.ggml.token_type");
    struct gguf_text kind = gguf_string(g, "tokenizer.ggml.model"),
                     pre = gguf_string(g, "tokenizer.ggml.pre");
    bool llama3 =
        gguf_text_is(pre, "llama-bpe") || gguf_text_is(pre, "llama3") || gguf_text_is(pre, "llama-v3");
    if (!gguf_text_is(kind, "gpt2") || !llama3)
        return err_set(err, errlen, -ENOTSUP,
                       "Model '%s' has a tokenizer '%.*s' of kind '%.*s'; only Llama-3 BPE is supported.",
                       m->path, (int)(pre.len < 40 ? pre.len : 40), pre.data != NULL ? pre.data : "",
                       (int)(kind.len < 40 ? kind.len : 40), kind.data != NULL ? kind.data : "");
    if (tokens == NULL || tokens->texts == NULL || merges == NULL || merges->texts == NULL ||
        tokens->n > (uint64_t)m->n_vocab)
        return err_set(err, errlen, -EINVAL, "Model '%s' has no usable tokenizer.ggml.tokens and merges.",
                       m->path);
    bool *added = calloc((size_t)tokens->n + 1, sizeof *added);
    struct bpe_text *texts = calloc((size_t)tokens->n + 1, sizeof *texts);
    struct bpe_text *pairs = calloc((size_t)merges->n + 1, sizeof *pairs);
    int rc = added == NULL || texts == NULL || pairs == NULL
                 ? err_set(err, errlen, -ENOMEM, "Not enough memory.")
                 : 0;
    if (rc == 0) {
        for (uint64_t i = 0; i < tokens->n; i++) {
            added[i] = added_type(types, i);
            texts[i] = (struct bpe_text){tokens->texts[i].data, tokens->texts[i].len};
        }
        for (uint64_t i = 0; i < merges->n; i++)
            pairs[i] = (struct bpe_text){merges->texts[i].data, merges->texts[i].len};
        struct bpe_source source = {(int)tokens->n, texts, added, pairs, (size_t)merges->n, true};
        rc = bpe_create(&source, &m->tokenizer, err, errlen);
    }
    free(added);
    free(texts);
    free(pairs);
    if (rc < 0)
        return rc;
    m->bos_id = (int32_t)gguf_integer(g, "tokenizer.ggml.bos_token_id", -1);
    m->add_bos =
        gguf_integer(g, "tokenizer.ggml.add_bos_token", 1) != 0 && m->bos_id >= 0 && m->bos_id < m->n_vocab;
    return model_build_add_eog(m, (int32_t)gguf_integer(g, "tokenizer.ggml.eos_token_id", -1));
}

int model_gguf_read(struct model *m, bool with_tokenizer, char *err, size_t errlen) {
    struct model_files *files = m->files;
    int rc = gguf_open(m->path, &files->gguf, err, errlen);
    if (rc < 0)
        return rc;
    const struct gguf *g = files->gguf;
    rc = shape(m, g, err, errlen);
    rc = rc ? rc : rope(m, g, err, errlen);
    rc = rc ? rc : tensors(m, g, err, errlen);
    if (rc == 0 && with_tokenizer)
        rc = model_gguf_tokenizer(m, g, err, errlen);
    if (rc < 0)
        return rc;
    struct gguf_text name = gguf_string(g, "general.name");
    const char *file = strrchr(m->path, '/');
    m->name = name.len > 0 ? strndup(name.data, name.len) : strdup(file != NULL ? file + 1 : m->path);
    if (m->name == NULL || asprintf(&m->format, "GGUF v%u", g->version) < 0) {
        m->format = NULL;
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    }
    return 0;
}
