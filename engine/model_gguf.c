/* A model from a GGUF file. Keys: ggml/docs/gguf.md. */
#include "engine/bpe.h"
#include "engine/gguf_set.h"
#include "engine/model_build.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Token types (llama.cpp llama.h, enum llama_token_type). */
enum { TYPE_NORMAL = 1, TYPE_BYTE = 6 };
/* What llama.cpp writes for "no such token". */
#define NO_TOKEN UINT32_MAX

/* One integer of the shape: required (fallback 0) or with a fallback. */
struct dimension {
    const char *key;
    int64_t max, fallback;
    int *to;
};

static int read_dimension(const struct gguf *g, const struct dimension *d, char *err, size_t errlen) {
    int64_t v = d->fallback;
    int rc = gguf_read_integer(g, d->key, 1, d->max, &v, err, errlen);
    if (rc < 0)
        return rc;
    if (rc == 0 && d->fallback == 0)
        return err_set(err, errlen, -EINVAL, "Model file '%s' has no %s; use a complete model file.", g->path,
                       d->key);
    *d->to = (int)v;
    return 0;
}

static int unsupported(const struct model *m, const struct gguf *g, char *err, size_t errlen) {
    int64_t value = m->head_dim, rotated = m->head_dim, experts = 0;
    int rc = gguf_read_integer(g, "llama.attention.value_length", 1, 4096, &value, err, errlen);
    rc = rc < 0 ? rc : gguf_read_integer(g, "llama.rope.dimension_count", 1, 4096, &rotated, err, errlen);
    rc = rc < 0 ? rc : gguf_read_integer(g, "llama.expert_count", 0, 1 << 20, &experts, err, errlen);
    if (rc < 0)
        return rc;
    if (value != m->head_dim || rotated != m->head_dim || experts > 0)
        return err_set(err, errlen, -ENOTSUP,
                       "Model '%s' has heads that are rotated in part, values of another size, or experts.",
                       m->path);
    return 0;
}

static int shape(struct model *m, const struct gguf *g, char *err, size_t errlen) {
    struct gguf_text architecture = {0};
    int rc = gguf_read_string(g, "general.architecture", &architecture, err, errlen);
    if (rc < 0)
        return rc;
    char shown[64];
    if (!gguf_text_is(architecture, "llama"))
        return err_set(err, errlen, -ENOTSUP,
                       "Model '%s' is of the architecture '%s'; only 'llama' is supported.", m->path,
                       gguf_text_show(architecture, shown));
    const struct dimension first[] = {{"llama.block_count", 1024, 0, &m->n_layers},
                                      {"llama.embedding_length", 1 << 20, 0, &m->dim},
                                      {"llama.attention.head_count", 4096, 0, &m->n_heads},
                                      {"llama.feed_forward_length", 1 << 22, 0, &m->ffn_dim},
                                      {"llama.context_length", 1 << 27, 0, &m->n_ctx_train}};
    for (size_t i = 0; i < sizeof first / sizeof first[0] && rc >= 0; i++)
        rc = read_dimension(g, &first[i], err, errlen);
    if (rc < 0)
        return rc;
    if (gguf_find(g, "llama.attention.key_length") == NULL && m->dim % m->n_heads != 0)
        return err_set(err, errlen, -EINVAL,
                       "Model '%s' has an impossible shape: %d heads cannot share a width of %d.", m->path,
                       m->n_heads, m->dim);
    const struct dimension kv = {"llama.attention.head_count_kv", m->n_heads, m->n_heads, &m->n_kv_heads};
    const struct dimension head = {"llama.attention.key_length", 4096, m->dim / m->n_heads, &m->head_dim};
    double eps = 1e-5, theta = 10000;
    rc = read_dimension(g, &kv, err, errlen);
    rc = rc ? rc : read_dimension(g, &head, err, errlen);
    rc = rc < 0 ? rc : gguf_read_number(g, "llama.attention.layer_norm_rms_epsilon", 0, 1, &eps, err, errlen);
    rc = rc < 0 ? rc : gguf_read_number(g, "llama.rope.freq_base", 1, 1e12, &theta, err, errlen);
    if (rc < 0)
        return rc;
    if (m->n_heads % m->n_kv_heads != 0 || m->head_dim % 2 != 0)
        return err_set(err, errlen, -EINVAL,
                       "Model '%s' has an impossible shape: %d heads share %d of %d numbers each.", m->path,
                       m->n_heads, m->n_kv_heads, m->head_dim);
    m->rms_eps = (float)eps;
    m->rope_theta = (float)theta;
    m->rope_layout = ROPE_ADJACENT;
    return unsupported(m, g, err, errlen);
}

/* llama.cpp scales linearly where a factor stands without a type, and old files call it rope.scale_linear
 * (src/llama-model.cpp, load_hparams). */
static int read_scaling(const struct model *m, const struct gguf *g, double *factor, char *err,
                        size_t errlen) {
    struct gguf_text kind = {0};
    char shown[64];
    int rc = gguf_read_string(g, "llama.rope.scaling.type", &kind, err, errlen);
    if (rc >= 0 && kind.len > 0 && !gguf_text_is(kind, "linear") && !gguf_text_is(kind, "none"))
        return err_set(err, errlen, -ENOTSUP, "Model '%s' scales RoPE by '%s', which is not supported.",
                       m->path, gguf_text_show(kind, shown));
    rc = rc < 0 ? rc : gguf_read_number(g, "llama.rope.scaling.factor", 1e-6, 1e6, factor, err, errlen);
    if (rc == 0)
        rc = gguf_read_number(g, "llama.rope.scale_linear", 1e-6, 1e6, factor, err, errlen);
    if (gguf_text_is(kind, "none"))
        *factor = 1;
    return rc < 0 ? rc : 0;
}

static int rope(struct model *m, const struct gguf_set *set, char *err, size_t errlen) {
    double factor = 1;
    int rc = model_build_rope(m, err, errlen);
    rc = rc ? rc : read_scaling(m, set->parts[0], &factor, err, errlen);
    if (rc < 0)
        return rc;
    const struct gguf_tensor *divisors = gguf_set_find_tensor(set, "rope_freqs.weight", NULL);
    if (divisors != NULL && (divisors->tensor.data == NULL || divisors->tensor.type != DTYPE_F32 ||
                             divisors->tensor.cols != m->head_dim / 2 || divisors->tensor.rows != 1))
        return err_set(err, errlen, -EINVAL, "Tensor rope_freqs.weight of model '%s' must be %d F32 numbers.",
                       m->path, m->head_dim / 2);
    for (int i = 0; i < m->head_dim / 2; i++) {
        float divisor = 1;
        if (divisors != NULL)
            memcpy(&divisor, (const char *)divisors->tensor.data + i * 4, 4);
        if (!(divisor >= 1e-6f && divisor <= 1e6f)) /* catches NaN */
            return err_set(
                err, errlen, -EINVAL,
                "Number %d of tensor rope_freqs.weight of model '%s' is %g and should be positive.", i,
                m->path, (double)divisor);
        m->rope_inv_freq[i] /= divisor * (float)factor;
    }
    return 0;
}

/* Types that are not ours, by their names (ggml/include/ggml.h, enum ggml_type); NULL for others. */
static const char *foreign_type(uint32_t type) {
    static const struct {
        uint32_t type;
        const char *name;
    } all[] = {{9, "Q8_1"},   {15, "Q8_K"},   {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"},
               {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"},   {22, "IQ2_S"},  {23, "IQ4_XS"},
               {24, "I8"},    {25, "I16"},    {26, "I32"},     {27, "I64"},    {28, "F64"},
               {29, "IQ1_M"}, {34, "TQ1_0"},  {35, "TQ2_0"},   {39, "MXFP4"},  {40, "NVFP4"}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].type == type)
            return all[i].name;
    return NULL;
}

static size_t offset_of(const struct gguf *g, const struct gguf_tensor *t) {
    return (size_t)((const uint8_t *)t->name.data - g->file.data);
}

static int refuse_tensor(const struct gguf *g, const struct gguf_tensor *t, const char *name, char *err,
                         size_t errlen) {
    char number[32];
    const char *type = foreign_type(t->ggml_type);
    (void)snprintf(number, sizeof number, "ggml type %u", t->ggml_type);
    if (dtype_of_ggml(t->ggml_type) != DTYPE_COUNT)
        return err_set(
            err, errlen, -ENOTSUP,
            "Tensor %s of model '%s' (byte %zu) has more than two dimensions; a Llama has matrices.", name,
            g->path, offset_of(g, t));
    return err_set(
        err, errlen, -ENOTSUP,
        "Tensor %s of model '%s' (byte %zu) is of type %s, which is not supported; F32, F16, BF16, "
        "Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K are.",
        name, g->path, offset_of(g, t), type != NULL ? type : number);
}

/* Absent tensors are left to model_build_finish(). */
static int take_tensor(struct tensor *to, const struct gguf_set *set, const char *name, char *err,
                       size_t errlen) {
    const struct gguf *g = NULL;
    const struct gguf_tensor *t = gguf_set_find_tensor(set, name, &g);
    if (t != NULL && t->tensor.type == DTYPE_COUNT)
        return refuse_tensor(g, t, name, err, errlen);
    if (t != NULL)
        *to = t->tensor;
    return 0;
}

static const char *const layer_names[] = {"attn_norm", "attn_q",   "attn_k", "attn_v",  "attn_output",
                                          "ffn_norm",  "ffn_gate", "ffn_up", "ffn_down"};
#define LAYER_NAMES (sizeof layer_names / sizeof layer_names[0])

/* A tensor that the forward pass uses. */
static bool is_ours(const struct model *m, const struct gguf_text *name) {
    static const char *const whole[] = {"token_embd.weight", "output_norm.weight", "output.weight",
                                        "rope_freqs.weight"};
    char text[260], wanted[64], *end = NULL;
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
        if (gguf_text_is(*name, whole[i]))
            return true;
    memcpy(text, name->data, name->len); /* at most 256 bytes: gguf_open() */
    text[name->len] = '\0';
    long l = strncmp(text, "blk.", 4) == 0 ? strtol(text + 4, &end, 10) : -1;
    for (size_t i = 0; i < LAYER_NAMES && l >= 0 && l < m->n_layers; i++) {
        (void)snprintf(wanted, sizeof wanted, "blk.%ld.%s.weight", l, layer_names[i]);
        if (gguf_text_is(*name, wanted))
            return true;
    }
    return false;
}

/* What would be left out of the computation makes it another model: biases, scales, experts, adapters.
 * (llama.cpp refuses tensors that it does not use, too.) */
static int check_none_is_left(const struct model *m, const struct gguf_set *set, char *err, size_t errlen) {
    char shown[64];
    for (int p = 0; p < set->n; p++) {
        const struct gguf *g = set->parts[p];
        for (size_t i = 0; i < g->n_tensors; i++)
            if (!is_ours(m, &g->tensors[i].name))
                return err_set(
                    err, errlen, -ENOTSUP,
                    "Tensor %s of model '%s' (byte %zu) has no place in a Llama of %d layers; biases, "
                    "scales and other additions are not supported.",
                    gguf_text_show(g->tensors[i].name, shown), g->path, offset_of(g, &g->tensors[i]),
                    m->n_layers);
    }
    return 0;
}

static int tensors(struct model *m, const struct gguf_set *set, char *err, size_t errlen) {
    m->layers = calloc((size_t)m->n_layers, sizeof *m->layers);
    if (m->layers == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    int rc = take_tensor(&m->tok_embd, set, "token_embd.weight", err, errlen);
    rc = rc ? rc : take_tensor(&m->output_norm, set, "output_norm.weight", err, errlen);
    rc = rc ? rc : take_tensor(&m->output, set, "output.weight", err, errlen);
    if (rc == 0 && m->tok_embd.rows > MODEL_MAX_VOCABULARY)
        rc = err_set(err, errlen, -EINVAL, "Model '%s' has %lld tokens; at most 1,048,576 are possible.",
                     m->path, (long long)m->tok_embd.rows);
    if (m->output.data == NULL)
        m->output = m->tok_embd;
    m->n_vocab = (int)m->tok_embd.rows;
    for (int l = 0; l < m->n_layers && rc == 0; l++) {
        struct model_layer *y = &m->layers[l];
        struct tensor *const all[LAYER_NAMES] = {&y->attn_norm, &y->wq,     &y->wk,   &y->wv,    &y->wo,
                                                 &y->ffn_norm,  &y->w_gate, &y->w_up, &y->w_down};
        for (size_t i = 0; i < LAYER_NAMES && rc == 0; i++) {
            char name[64];
            (void)snprintf(name, sizeof name, "blk.%d.%s.weight", l, layer_names[i]);
            rc = take_tensor(all[i], set, name, err, errlen);
        }
    }
    return rc ? rc : check_none_is_left(m, set, err, errlen);
}

struct vocabulary {
    const struct gguf_value *tokens, *merges, *types;
    bool *added;
    struct bpe_text *texts, *pairs;
};

/* The three arrays. Without types control tokens could not be told from text, so they are required. */
static int find_vocabulary(const struct model *m, const struct gguf *g, struct vocabulary *v, char *err,
                           size_t errlen) {
    int rc = gguf_read_array(g, "tokenizer.ggml.tokens", GGUF_STRING, &v->tokens, err, errlen);
    rc = rc < 0 ? rc : gguf_read_array(g, "tokenizer.ggml.merges", GGUF_STRING, &v->merges, err, errlen);
    rc = rc < 0 ? rc : gguf_read_array(g, "tokenizer.ggml.token_type", GGUF_I32, &v->types, err, errlen);
    if (rc < 0)
        return rc;
    if (v->tokens == NULL || v->merges == NULL || v->types == NULL)
        return err_set(err, errlen, -EINVAL,
                       "Model '%s' has no tokenizer.ggml.%s; use a complete model file.", m->path,
                       v->tokens == NULL   ? "tokens"
                       : v->merges == NULL ? "merges"
                                           : "token_type");
    if (v->tokens->n == 0 || v->tokens->n > (uint64_t)m->n_vocab || v->types->n != v->tokens->n)
        return err_set(
            err, errlen, -EINVAL,
            "Model '%s' has %llu tokenizer.ggml.tokens and %llu tokenizer.ggml.token_type for %d rows of "
            "token_embd.",
            m->path, (unsigned long long)v->tokens->n, (unsigned long long)v->types->n, m->n_vocab);
    return 0;
}

static int fill_vocabulary(const struct model *m, struct vocabulary *v, char *err, size_t errlen) {
    v->added = calloc((size_t)v->tokens->n + 1, sizeof *v->added);
    v->texts = calloc((size_t)v->tokens->n + 1, sizeof *v->texts);
    v->pairs = calloc((size_t)v->merges->n + 1, sizeof *v->pairs);
    if (v->added == NULL || v->texts == NULL || v->pairs == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the tokenizer.");
    for (uint64_t i = 0; i < v->tokens->n; i++) {
        int32_t type = 0;
        memcpy(&type, v->types->data + i * 4, 4);
        if (type < TYPE_NORMAL || type > TYPE_BYTE)
            return err_set(err, errlen, -EINVAL,
                           "Model '%s': tokenizer.ggml.token_type[%llu] is %d and should be 1 to 6.", m->path,
                           (unsigned long long)i, type);
        /* Control and user-defined tokens, and the unknown and unused ones: text never becomes them. */
        v->added[i] = type != TYPE_NORMAL && type != TYPE_BYTE;
        v->texts[i] = (struct bpe_text){v->tokens->texts[i].data, v->tokens->texts[i].len};
    }
    for (uint64_t i = 0; i < v->merges->n; i++)
        v->pairs[i] = (struct bpe_text){v->merges->texts[i].data, v->merges->texts[i].len};
    return 0;
}

static int check_kind(const struct model *m, const struct gguf *g, char *err, size_t errlen) {
    struct gguf_text kind = {0}, pre = {0};
    char shown_kind[64], shown_pre[64];
    int rc = gguf_read_string(g, "tokenizer.ggml.model", &kind, err, errlen);
    rc = rc < 0 ? rc : gguf_read_string(g, "tokenizer.ggml.pre", &pre, err, errlen);
    if (rc < 0)
        return rc;
    bool llama3 =
        gguf_text_is(pre, "llama-bpe") || gguf_text_is(pre, "llama3") || gguf_text_is(pre, "llama-v3");
    if (!gguf_text_is(kind, "gpt2") || !llama3)
        return err_set(err, errlen, -ENOTSUP,
                       "Model '%s' has a tokenizer '%s' of kind '%s'; only Llama-3 BPE is supported.",
                       m->path, gguf_text_show(pre, shown_pre), gguf_text_show(kind, shown_kind));
    return 0;
}

/* -1 for none. */
static int read_token_id(const struct model *m, const struct gguf *g, const char *key, int32_t *id, char *err,
                         size_t errlen) {
    int64_t v = -1;
    int rc = gguf_read_integer(g, key, -1, NO_TOKEN, &v, err, errlen);
    if (rc >= 0 && v != NO_TOKEN && v >= m->n_vocab)
        rc = err_set(err, errlen, -EINVAL, "Model '%s': %s is %lld, and there are %d tokens.", m->path, key,
                     (long long)v, m->n_vocab);
    if (rc < 0)
        return rc;
    *id = v == NO_TOKEN ? -1 : (int32_t)v;
    return 0;
}

int model_gguf_tokenizer(struct model *m, const struct gguf *g, char *err, size_t errlen) {
    struct vocabulary v = {0};
    int rc = check_kind(m, g, err, errlen);
    rc = rc ? rc : find_vocabulary(m, g, &v, err, errlen);
    rc = rc ? rc : fill_vocabulary(m, &v, err, errlen);
    if (rc == 0) {
        struct bpe_source source = {.n_vocab = (int)v.tokens->n,
                                    .tokens = v.texts,
                                    .added = v.added,
                                    .merges = v.pairs,
                                    .n_merges = (size_t)v.merges->n,
                                    .ignore_merges = true};
        rc = bpe_create(&source, &m->tokenizer, err, errlen);
    }
    free(v.added);
    free(v.texts);
    free(v.pairs);
    int32_t eos = -1, eot = -1, eom = -1;
    int64_t add_bos = 1;
    rc = rc ? rc : read_token_id(m, g, "tokenizer.ggml.bos_token_id", &m->bos_id, err, errlen);
    rc = rc ? rc : read_token_id(m, g, "tokenizer.ggml.eos_token_id", &eos, err, errlen);
    rc = rc ? rc : read_token_id(m, g, "tokenizer.ggml.eot_token_id", &eot, err, errlen);
    rc = rc ? rc : read_token_id(m, g, "tokenizer.ggml.eom_token_id", &eom, err, errlen);
    rc = rc ? rc : gguf_read_integer(g, "tokenizer.ggml.add_bos_token", 0, 1, &add_bos, err, errlen);
    if (rc < 0)
        return rc;
    m->add_bos = add_bos != 0 && m->bos_id >= 0;
    if (model_build_add_eog(m, eos) < 0 || model_build_add_eog(m, eot) < 0 || model_build_add_eog(m, eom) < 0)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    return 0;
}

int model_gguf_read(struct model *m, bool with_tokenizer, char *err, size_t errlen) {
    struct model_files *files = m->files;
    int rc = gguf_set_open(m->path, &files->gguf, err, errlen);
    if (rc < 0)
        return rc;
    const struct gguf *g = files->gguf->parts[0];
    rc = shape(m, g, err, errlen);
    rc = rc ? rc : rope(m, files->gguf, err, errlen);
    rc = rc ? rc : tensors(m, files->gguf, err, errlen);
    if (rc == 0 && with_tokenizer)
        rc = model_gguf_tokenizer(m, g, err, errlen);
    if (rc < 0)
        return rc;
    struct gguf_text name = {0};
    rc = gguf_read_string(g, "general.name", &name, err, errlen);
    if (rc < 0)
        return rc;
    const char *file = strrchr(m->path, '/');
    m->name = name.len > 0 ? strndup(name.data, name.len) : strdup(file != NULL ? file + 1 : m->path);
    char parts[32] = "";
    if (files->gguf->n > 1)
        (void)snprintf(parts, sizeof parts, " in %d parts", files->gguf->n);
    if (m->name == NULL || asprintf(&m->format, "GGUF v%u%s", g->version, parts) < 0) {
        m->format = NULL;
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    }
    return 0;
}
