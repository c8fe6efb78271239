/* A model from a Hugging Face folder: config.json here, then the weights and tokenizer.json. */
#include "engine/model_hf.h"

#include "engine/model_fp8.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct json_limits model_hf_limits = {
    .max_bytes = MODEL_HF_JSON_BYTES, .max_nodes = 16000000, .max_depth = 64};

int model_hf_path(const struct model *m, const char *name, char path[MODEL_HF_PATH_BYTES], char *err,
                  size_t errlen) {
    /* What is hidden is not in the sum that may pin the folder. */
    if (strchr(name, '/') != NULL || name[0] == '.' ||
        snprintf(path, MODEL_HF_PATH_BYTES, "%s/%s", m->path, name) >= MODEL_HF_PATH_BYTES)
        return err_set(err, errlen, -EINVAL,
                       "Model '%s' names a file '%s', which is hidden or not in its folder.", m->path, name);
    return 0;
}

int model_hf_read_json(const struct model *m, const char *name, cJSON **out, char *err, size_t errlen) {
    char path[MODEL_HF_PATH_BYTES];
    int rc = model_hf_path(m, name, path, err, errlen);
    if (rc < 0)
        return rc;
    FILE *f = fopen(path, "rbe");
    if (f == NULL)
        return err_set(err, errlen, -errno, "Cannot open '%s': %s.", path, strerror(errno));
    struct buf text;
    buf_init(&text, MODEL_HF_JSON_BYTES);
    char block[65536];
    size_t n;
    while (rc == 0 && (n = fread(block, 1, sizeof block, f)) > 0)
        rc = buf_append(&text, block, n);
    if (rc == 0 && ferror(f))
        rc = -EIO;
    (void)fclose(f);
    char why[300] = "it cannot be read, is larger than 100 MiB, or memory is out";
    if (rc == 0)
        rc = json_parse(text.data != NULL ? text.data : "", text.len, &model_hf_limits, out, why, sizeof why);
    buf_finish(&text);
    if (rc == 0 && !cJSON_IsObject(*out)) {
        cJSON_Delete(*out);
        *out = NULL;
        rc = -EINVAL;
        (void)snprintf(why, sizeof why, "it should be an object");
    }
    return rc < 0 ? err_set(err, errlen, rc, "Cannot read '%s': %s.", path, why) : 0;
}

int model_hf_number(const struct model *m, const char *file, const cJSON *object, const char *key, double min,
                    double max, double *value, char *err, size_t errlen) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (item == NULL || cJSON_IsNull(item))
        return 0;
    if (!cJSON_IsNumber(item))
        return err_set(err, errlen, -EINVAL, "%s of model '%s': %s should be a number.", file, m->path, key);
    if (!(item->valuedouble >= min && item->valuedouble <= max))
        return err_set(err, errlen, -EINVAL, "%s of model '%s': %s is %g and should be %g to %g.", file,
                       m->path, key, item->valuedouble, min, max);
    *value = item->valuedouble;
    return 1;
}

int model_hf_integer(const struct model *m, const char *file, const cJSON *object, const char *key,
                     int64_t min, int64_t max, int64_t *value, char *err, size_t errlen) {
    double v = 0;
    int rc = model_hf_number(m, file, object, key, (double)min, (double)max, &v, err, errlen);
    if (rc <= 0)
        return rc;
    if (v != floor(v))
        return err_set(err, errlen, -EINVAL, "%s of model '%s': %s is %g and should be a whole number.", file,
                       m->path, key, v);
    *value = (int64_t)v;
    return 1;
}

/* ---- config.json ---- */

/* One integer of the shape: required (fallback 0) or with a fallback. */
struct dimension {
    const char *key;
    int64_t max, fallback;
    int *to;
};

static int read_dimension(const struct model *m, const cJSON *c, const struct dimension *d, char *err,
                          size_t errlen) {
    int64_t v = d->fallback;
    int rc = model_hf_integer(m, "config.json", c, d->key, 1, d->max, &v, err, errlen);
    if (rc < 0)
        return rc;
    if (v == 0)
        return err_set(err, errlen, -EINVAL, "config.json of model '%s' has no %s.", m->path, d->key);
    *d->to = (int)v;
    return 0;
}

/* Anything but false and null: a number too, which Python takes for true. */
static bool is_set(const cJSON *c, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(c, key);
    return item != NULL && !cJSON_IsNull(item) && !cJSON_IsFalse(item);
}

static int check_kind(const struct model *m, const cJSON *c, char *err, size_t errlen) {
    const char *type = json_get_string(c, "model_type"), *act = json_get_string(c, "hidden_act");
    if (type == NULL || strcmp(type, "llama") != 0)
        return err_set(err, errlen, -ENOTSUP, "Model '%s' is of type '%.60s'; only 'llama' is supported.",
                       m->path, type != NULL ? type : "");
    if (is_set(c, "attention_bias") || is_set(c, "mlp_bias"))
        return err_set(err, errlen, -ENOTSUP,
                       "config.json of model '%s' says %s, and biases are not supported.", m->path,
                       is_set(c, "attention_bias") ? "attention_bias" : "mlp_bias");
    if (act != NULL && strcmp(act, "silu") != 0)
        return err_set(err, errlen, -ENOTSUP,
                       "Model '%s' has the activation '%.60s'; only silu is supported.", m->path, act);
    return 0;
}

static int shape(struct model *m, const cJSON *c, char *err, size_t errlen) {
    const struct dimension first[] = {{"num_hidden_layers", 1024, 0, &m->n_layers},
                                      {"hidden_size", 1 << 20, 0, &m->dim},
                                      {"num_attention_heads", 4096, 0, &m->n_heads},
                                      {"intermediate_size", 1 << 22, 0, &m->ffn_dim},
                                      {"vocab_size", MODEL_MAX_VOCABULARY, 0, &m->n_vocab},
                                      {"max_position_embeddings", 1 << 27, 0, &m->n_ctx_train}};
    int rc = check_kind(m, c, err, errlen);
    for (size_t i = 0; i < sizeof first / sizeof first[0] && rc == 0; i++)
        rc = read_dimension(m, c, &first[i], err, errlen);
    if (rc < 0)
        return rc;
    if (!is_set(c, "head_dim") && m->dim % m->n_heads != 0)
        return err_set(err, errlen, -EINVAL,
                       "Model '%s' has an impossible shape: %d heads cannot share a width of %d.", m->path,
                       m->n_heads, m->dim);
    const struct dimension kv = {"num_key_value_heads", m->n_heads, m->n_heads, &m->n_kv_heads};
    const struct dimension head = {"head_dim", 4096, m->dim / m->n_heads, &m->head_dim};
    double eps = 1e-6;
    rc = read_dimension(m, c, &kv, err, errlen);
    rc = rc ? rc : read_dimension(m, c, &head, err, errlen);
    rc = rc < 0 ? rc : model_hf_number(m, "config.json", c, "rms_norm_eps", 0, 1, &eps, err, errlen);
    if (rc < 0)
        return rc;
    if (m->n_heads % m->n_kv_heads != 0 || m->head_dim % 2 != 0)
        return err_set(err, errlen, -EINVAL,
                       "Model '%s' has an impossible shape: %d heads share %d of %d numbers each.", m->path,
                       m->n_heads, m->n_kv_heads, m->head_dim);
    m->rms_eps = (float)eps;
    m->rope_layout = ROPE_HALF_SPLIT;
    return 0;
}

/* A number of the scaling, which has no default: the programs that read such files differ in theirs. */
static int scaling_number(const struct model *m, const cJSON *s, const char *key, double min, double max,
                          double *value, char *err, size_t errlen) {
    int rc = model_hf_number(m, "config.json", s, key, min, max, value, err, errlen);
    return rc == 0 ? err_set(err, errlen, -EINVAL, "config.json of model '%s' scales RoPE and has no %s.",
                             m->path, key)
                   : rc;
}

/* Llama 3.1 (Meta, llama-models models/llama3/model.py, apply_scaling). */
static int scale_llama3(struct model *m, const cJSON *s, char *err, size_t errlen) {
    double factor = 1, low = 1, high = 1, old = 1;
    int rc = scaling_number(m, s, "factor", 1, 1e6, &factor, err, errlen);
    rc = rc < 0 ? rc : scaling_number(m, s, "low_freq_factor", 1e-6, 1e6, &low, err, errlen);
    rc = rc < 0 ? rc : scaling_number(m, s, "high_freq_factor", 1e-6, 1e6, &high, err, errlen);
    rc =
        rc < 0 ? rc : scaling_number(m, s, "original_max_position_embeddings", 1, 1 << 27, &old, err, errlen);
    if (rc < 0)
        return rc;
    if (high <= low)
        return err_set(err, errlen, -EINVAL,
                       "config.json of model '%s': high_freq_factor %g should be above low_freq_factor %g.",
                       m->path, high, low);
    for (int i = 0; i < m->head_dim / 2; i++) {
        double f = 1.0 / pow((double)m->rope_theta, 2.0 * i / m->head_dim),
               wavelength = 6.283185307179586 / f;
        if (wavelength > old / low) {
            f /= factor;
        } else if (wavelength >= old / high) {
            double smooth = (old / wavelength - low) / (high - low);
            f = (1 - smooth) * f / factor + smooth * f;
        }
        m->rope_inv_freq[i] = (float)f;
    }
    return 0;
}

static int scale(struct model *m, const cJSON *s, char *err, size_t errlen) {
    const char *type = json_get_string(s, "rope_type");
    type = type != NULL ? type : json_get_string(s, "type");
    if (type == NULL && is_set(s, "factor"))
        return err_set(err, errlen, -EINVAL,
                       "config.json of model '%s' has a factor for RoPE and no rope_type.", m->path);
    if (type == NULL || strcmp(type, "default") == 0)
        return 0;
    if (strcmp(type, "llama3") == 0)
        return scale_llama3(m, s, err, errlen);
    if (strcmp(type, "linear") != 0)
        return err_set(err, errlen, -ENOTSUP, "Model '%s' scales RoPE by '%.60s', which is not supported.",
                       m->path, type);
    double factor = 1;
    int rc = scaling_number(m, s, "factor", 1e-6, 1e6, &factor, err, errlen);
    for (int i = 0; i < m->head_dim / 2 && rc >= 0; i++)
        m->rope_inv_freq[i] /= (float)factor;
    return rc < 0 ? rc : 0;
}

/* transformers 5 writes rope_parameters, earlier ones rope_theta and rope_scaling. */
static int rope(struct model *m, const cJSON *c, char *err, size_t errlen) {
    const cJSON *s = cJSON_GetObjectItemCaseSensitive(c, "rope_parameters");
    if (!cJSON_IsObject(s))
        s = cJSON_GetObjectItemCaseSensitive(c, "rope_scaling");
    double theta = 10000;
    int rc = model_hf_number(m, "config.json", c, "rope_theta", 1, 1e12, &theta, err, errlen);
    rc = rc < 0 ? rc : model_hf_number(m, "config.json", s, "rope_theta", 1, 1e12, &theta, err, errlen);
    if (rc < 0)
        return rc;
    m->rope_theta = (float)theta;
    rc = model_build_rope(m, err, errlen);
    return rc == 0 && cJSON_IsObject(s) ? scale(m, s, err, errlen) : rc;
}

/* The eos tokens that `file` names: a number or a list. */
static int add_eos(struct model *m, const char *file, const cJSON *c, char *err, size_t errlen) {
    const cJSON *eos = cJSON_GetObjectItemCaseSensitive(c, "eos_token_id"), *item;
    int64_t id = -1;
    int rc = 0;
    if (!cJSON_IsArray(eos)) {
        rc = model_hf_integer(m, file, c, "eos_token_id", 0, m->n_vocab - 1, &id, err, errlen);
        if (rc < 0)
            return rc;
        rc = model_build_add_eog(m, (int32_t)id);
    }
    cJSON_ArrayForEach(item, eos) {
        double v = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (!(v >= 0 && v < m->n_vocab && v == floor(v)))
            return err_set(err, errlen, -EINVAL,
                           "%s of model '%s': an item of eos_token_id should be 0 to %d.", file, m->path,
                           m->n_vocab - 1);
        rc = rc ? rc : model_build_add_eog(m, (int32_t)v);
    }
    return rc < 0 ? err_set(err, errlen, rc, "Not enough memory for the model.") : 0;
}

/* bos, and eos of config.json and of generation_config.json, which often knows more of them. */
static int special_ids(struct model *m, const cJSON *c, char *err, size_t errlen) {
    char path[MODEL_HF_PATH_BYTES];
    cJSON *generation = NULL;
    int64_t id = -1;
    int rc = model_hf_integer(m, "config.json", c, "bos_token_id", 0, m->n_vocab - 1, &id, err, errlen);
    m->bos_id = (int32_t)id;
    rc = rc < 0 ? rc : add_eos(m, "config.json", c, err, errlen);
    rc = rc ? rc : model_hf_path(m, "generation_config.json", path, err, errlen);
    if (rc < 0 || access(path, F_OK) != 0)
        return rc;
    rc = model_hf_read_json(m, "generation_config.json", &generation, err, errlen);
    rc = rc ? rc : add_eos(m, "generation_config.json", generation, err, errlen);
    cJSON_Delete(generation);
    return rc;
}

static bool are_equal(const struct tensor *a, const struct tensor *b) {
    return a->type == b->type && a->rows == b->rows && a->cols == b->cols &&
           memcmp(a->data, b->data, dtype_row_bytes(a->type, a->cols) * (size_t)a->rows) == 0;
}

/* tie_word_embeddings: true wants no head, or one that equals the embedding (of two that differ, readers take
 * either); false wants a head; without the key a head is used when there is one. */
static int tie(struct model *m, const cJSON *flag, char *err, size_t errlen) {
    if (cJSON_IsFalse(flag) && m->output.data == NULL)
        return err_set(
            err, errlen, -EINVAL,
            "Model '%s' has no tensor lm_head.weight, and its config.json says that it is not tied.",
            m->path);
    if (cJSON_IsTrue(flag) && m->output.data != NULL && m->tok_embd.data != NULL &&
        !are_equal(&m->output, &m->tok_embd))
        return err_set(err, errlen, -EINVAL,
                       "Model '%s' has a lm_head.weight that is not its embedding, and its config.json says "
                       "that both are one (tie_word_embeddings); set it to false or take the tensor out.",
                       m->path);
    if (cJSON_IsTrue(flag) || m->output.data == NULL)
        m->output = m->tok_embd;
    return 0;
}

static int set_names(struct model *m, const char *format, char *err, size_t errlen) {
    const char *folder = strrchr(m->path, '/');
    m->format = strdup(format);
    m->name = strdup(folder != NULL && folder[1] != '\0' ? folder + 1 : m->path);
    return m->format != NULL && m->name != NULL
               ? 0
               : err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
}

static int read_weights(struct model *m, const cJSON *config, char *err, size_t errlen) {
    m->layers = calloc((size_t)m->n_layers, sizeof *m->layers);
    if (m->layers == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    struct model_fp8 fp8;
    int names = set_names(m, "safetensors", err, errlen);
    int rc = model_fp8_init(&fp8, m, config, err, errlen);
    rc = rc ? rc : names;
    rc = rc ? rc : model_safetensors_read(m, &fp8, err, errlen);
    rc = rc ? rc : model_fp8_apply(&fp8, m, err, errlen);
    model_fp8_finish(&fp8);
    return rc ? rc : tie(m, cJSON_GetObjectItemCaseSensitive(config, "tie_word_embeddings"), err, errlen);
}

static int read_config(struct model *m, cJSON **config, char *err, size_t errlen) {
    int rc = model_hf_read_json(m, "config.json", config, err, errlen);
    rc = rc ? rc : shape(m, *config, err, errlen);
    rc = rc ? rc : rope(m, *config, err, errlen);
    return rc ? rc : special_ids(m, *config, err, errlen);
}

int model_hf_read(struct model *m, bool with_tokenizer, char *err, size_t errlen) {
    cJSON *config = NULL;
    int rc = read_config(m, &config, err, errlen);
    rc = rc ? rc : read_weights(m, config, err, errlen);
    cJSON_Delete(config);
    if (rc == 0 && with_tokenizer)
        rc = model_hf_tokenizer(m, err, errlen);
    return rc;
}

/* ---- a folder without weights ---- */

/* The type that config.json names for all tensors (torch_dtype until transformers 4); BF16 when it does not.
 */
static enum dtype planned_type(const cJSON *config) {
    const char *name = json_get_string(config, "dtype");
    name = name != NULL ? name : json_get_string(config, "torch_dtype");
    if (name != NULL && strcmp(name, "float32") == 0)
        return DTYPE_F32;
    return name != NULL && strcmp(name, "float16") == 0 ? DTYPE_F16 : DTYPE_BF16;
}

static void plan(struct model *m, struct tensor *t, enum dtype type, int64_t rows, int64_t cols) {
    *t = (struct tensor){.type = type, .rows = rows, .cols = cols};
    model_build_count(m, t);
}

static void plan_all(struct model *m, enum dtype type, enum dtype products) {
    int64_t d = m->dim, q = (int64_t)m->n_heads * m->head_dim, kv = (int64_t)m->n_kv_heads * m->head_dim;
    plan(m, &m->tok_embd, type, m->n_vocab, d);
    plan(m, &m->output_norm, type, 1, d);
    m->output = m->tok_embd;
    if (!m->tied_head)
        plan(m, &m->output, type, m->n_vocab, d);
    for (int l = 0; l < m->n_layers; l++) {
        struct model_layer *y = &m->layers[l];
        plan(m, &y->attn_norm, type, 1, d);
        plan(m, &y->ffn_norm, type, 1, d);
        plan(m, &y->wq, products, q, d);
        plan(m, &y->wk, products, kv, d);
        plan(m, &y->wv, products, kv, d);
        plan(m, &y->wo, products, d, q);
        plan(m, &y->w_gate, products, m->ffn_dim, d);
        plan(m, &y->w_up, products, m->ffn_dim, d);
        plan(m, &y->w_down, products, d, m->ffn_dim);
    }
}

int model_hf_plan(struct model *m, char *err, size_t errlen) {
    cJSON *config = NULL;
    struct model_fp8 fp8 = {0};
    if (model_safetensors_present(m))
        return err_set(err, errlen, -EINVAL, "Model '%s' has weights.", m->path);
    int rc = read_config(m, &config, err, errlen);
    rc = rc ? rc : set_names(m, "config.json without weights", err, errlen);
    rc = rc ? rc : model_fp8_init(&fp8, m, config, err, errlen);
    if (rc == 0) {
        m->layers = calloc((size_t)m->n_layers, sizeof *m->layers);
        if (m->layers == NULL)
            rc = err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    }
    if (rc == 0) {
        enum dtype type = planned_type(config);
        m->tied_head = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(config, "tie_word_embeddings"));
        plan_all(m, type, fp8.allowed ? DTYPE_F8_E4M3 : type);
    }
    model_fp8_finish(&fp8);
    cJSON_Delete(config);
    return rc;
}
