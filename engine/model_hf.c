/* A model from a Hugging Face folder: config.json, *.safetensors (sharded too), tokenizer.json. */
#include "base/json.h"
#include "engine/bpe.h"
#include "engine/model_build.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_JSON_BYTES ((size_t)128 << 20)

static const struct json_limits limits = {
    .max_bytes = MAX_JSON_BYTES, .max_nodes = 16000000, .max_depth = 64};

static int file_path(const struct model *m, const char *name, char path[4096], char *err, size_t errlen) {
    if (strchr(name, '/') != NULL || snprintf(path, 4096, "%s/%s", m->path, name) >= 4096)
        return err_set(err, errlen, -EINVAL, "Model '%s' names a file '%s' that is not in its folder.",
                       m->path, name);
    return 0;
}

static int read_json(const struct model *m, const char *name, cJSON **out, char *err, size_t errlen) {
    char path[4096];
    int rc = file_path(m, name, path, err, errlen);
    if (rc < 0)
        return rc;
    FILE *f = fopen(path, "rbe");
    if (f == NULL)
        return err_set(err, errlen, -errno, "Cannot open '%s': %s.", path, strerror(errno));
    struct buf text;
    buf_init(&text, MAX_JSON_BYTES);
    char block[65536];
    size_t n;
    while (rc == 0 && (n = fread(block, 1, sizeof block, f)) > 0)
        rc = buf_append(&text, block, n);
    (void)fclose(f);
    char why[300] = "it is too large or memory is out";
    if (rc == 0)
        rc = json_parse(text.data != NULL ? text.data : "", text.len, &limits, out, why, sizeof why);
    buf_finish(&text);
    return rc < 0 ? err_set(err, errlen, rc, "Cannot read '%s': %s", path, why) : 0;
}

/* ---- config.json ---- */

static double number(const cJSON *o, const char *key, double fallback) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNumber(item) ? item->valuedouble : fallback;
}

/* A whole number from 1 to max, or 0. */
static int whole(const cJSON *o, const char *key, double fallback, double max) {
    double v = number(o, key, fallback);
    return v >= 1 && v <= max && v == floor(v) ? (int)v : 0;
}

static int shape(struct model *m, const cJSON *c, char *err, size_t errlen) {
    const char *type = json_get_string(c, "model_type"), *act = json_get_string(c, "hidden_act");
    if (type == NULL || strcmp(type, "llama") != 0)
        return err_set(err, errlen, -ENOTSUP, "Model '%s' is of type '%s'; only 'llama' is supported.",
                       m->path, type != NULL ? type : "");
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(c, "attention_bias")) ||
        cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(c, "mlp_bias")) ||
        (act != NULL && strcmp(act, "silu") != 0))
        return err_set(err, errlen, -ENOTSUP, "Model '%s' has biases or another activation than silu.",
                       m->path);
    m->n_layers = whole(c, "num_hidden_layers", 0, 1024);
    m->dim = whole(c, "hidden_size", 0, 1 << 20);
    m->n_heads = whole(c, "num_attention_heads", 0, 4096);
    m->n_kv_heads = whole(c, "num_key_value_heads", m->n_heads, 4096);
    m->head_dim = whole(c, "head_dim", m->n_heads > 0 ? m->dim / m->n_heads : 0, 4096);
    m->ffn_dim = whole(c, "intermediate_size", 0, 1 << 22);
    m->n_vocab = whole(c, "vocab_size", 0, 1 << 22);
    m->n_ctx_train = whole(c, "max_position_embeddings", 0, 1 << 27);
    m->rms_eps = (float)number(c, "rms_norm_eps", 1e-6);
    m->rope_layout = ROPE_HALF_SPLIT;
    if (m->n_layers == 0 || m->dim == 0 || m->n_heads == 0 || m->n_kv_heads == 0 ||
        m->n_heads % m->n_kv_heads != 0 || m->head_dim == 0 || m->head_dim % 2 != 0 || m->ffn_dim == 0 ||
        m->n_vocab == 0 || m->n_ctx_train == 0)
        return err_set(err, errlen, -EINVAL, "config.json of model '%s' has an impossible shape.", m->path);
    return 0;
}

/* Llama 3.1 (Meta, llama-models models/llama3/model.py, apply_scaling). */
static void scale_llama3(struct model *m, const cJSON *s) {
    double factor = number(s, "factor", 8), low = number(s, "low_freq_factor", 1),
           high = number(s, "high_freq_factor", 4);
    double old = number(s, "original_max_position_embeddings", 8192);
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
}

static int rope(struct model *m, const cJSON *c, char *err, size_t errlen) {
    const cJSON *s = cJSON_GetObjectItemCaseSensitive(c, "rope_parameters");
    if (!cJSON_IsObject(s))
        s = cJSON_GetObjectItemCaseSensitive(c, "rope_scaling");
    m->rope_theta = (float)number(s, "rope_theta", number(c, "rope_theta", 10000));
    int rc = m->rope_theta > 0
                 ? model_build_rope(m, err, errlen)
                 : err_set(err, errlen, -EINVAL, "rope_theta of model '%s' is not positive.", m->path);
    if (rc < 0 || !cJSON_IsObject(s))
        return rc;
    const char *type = json_get_string(s, "rope_type");
    type = type != NULL ? type : json_get_string(s, "type");
    if (type == NULL || strcmp(type, "default") == 0)
        return 0;
    if (strcmp(type, "llama3") == 0)
        scale_llama3(m, s);
    else if (strcmp(type, "linear") == 0)
        for (int i = 0; i < m->head_dim / 2; i++)
            m->rope_inv_freq[i] /= (float)number(s, "factor", 1);
    else
        return err_set(err, errlen, -ENOTSUP, "Model '%s' scales RoPE by '%s', which is not supported.",
                       m->path, type);
    return 0;
}

static int eog(struct model *m, const cJSON *c) {
    const cJSON *eos = cJSON_GetObjectItemCaseSensitive(c, "eos_token_id");
    int rc = 0;
    if (cJSON_IsNumber(eos))
        rc = model_build_add_eog(m, eos->valueint);
    const cJSON *item;
    if (cJSON_IsArray(eos))
        cJSON_ArrayForEach(item, eos) if (cJSON_IsNumber(item) && rc == 0) rc =
            model_build_add_eog(m, item->valueint);
    int bos = (int)number(c, "bos_token_id", -1);
    m->bos_id = bos >= 0 && bos < m->n_vocab ? bos : -1;
    return rc;
}

/* ---- safetensors ---- */

/* Where a tensor name belongs; NULL for one we do not use. */
static struct tensor *slot(struct model *m, const char *name) {
    if (strcmp(name, "model.embed_tokens.weight") == 0)
        return &m->tok_embd;
    if (strcmp(name, "model.norm.weight") == 0)
        return &m->output_norm;
    if (strcmp(name, "lm_head.weight") == 0)
        return &m->output;
    int l = -1, used = 0;
    if (sscanf(name, "model.layers.%d.%n", &l, &used) != 1 || used == 0 || l < 0 || l >= m->n_layers)
        return NULL;
    struct model_layer *y = &m->layers[l];
    const struct {
        const char *name;
        struct tensor *t;
    } all[] = {{"input_layernorm.weight", &y->attn_norm}, {"self_attn.q_proj.weight", &y->wq},
               {"self_attn.k_proj.weight", &y->wk},       {"self_attn.v_proj.weight", &y->wv},
               {"self_attn.o_proj.weight", &y->wo},       {"post_attention_layernorm.weight", &y->ffn_norm},
               {"mlp.gate_proj.weight", &y->w_gate},      {"mlp.up_proj.weight", &y->w_up},
               {"mlp.down_proj.weight", &y->w_down}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(name + used, all[i].name) == 0)
            return all[i].t;
    return NULL;
}

static int place(struct model *m, const cJSON *entry, const uint8_t *data, size_t size, char *err,
                 size_t errlen) {
    struct tensor *to = slot(m, entry->string);
    if (to == NULL)
        return 0;
    const char *type = json_get_string(entry, "dtype");
    const cJSON *dims = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    struct tensor t = {.type = DTYPE_COUNT};
    if (type != NULL)
        t.type = strcmp(type, "F32") == 0    ? DTYPE_F32
                 : strcmp(type, "F16") == 0  ? DTYPE_F16
                 : strcmp(type, "BF16") == 0 ? DTYPE_BF16
                                             : DTYPE_COUNT;
    if (t.type == DTYPE_COUNT)
        return err_set(err, errlen, -ENOTSUP,
                       "Tensor %s of model '%s' is of type %s; F32, F16 and BF16 are supported.",
                       entry->string, m->path, type != NULL ? type : "(none)");
    int n_dims = cJSON_GetArraySize(dims);
    double v[4] = {-1, -1, -1, -1}; /* rows, columns, begin, end */
    v[0] = n_dims == 1 ? 1 : n_dims == 2 ? cJSON_GetArrayItem(dims, 0)->valuedouble : -1;
    v[1] = n_dims >= 1 ? cJSON_GetArrayItem(dims, n_dims - 1)->valuedouble : -1;
    for (int i = 0; i < 2 && cJSON_GetArraySize(offsets) == 2; i++)
        v[2 + i] = cJSON_GetArrayItem(offsets, i)->valuedouble;
    double bytes = v[0] * v[1] * (t.type == DTYPE_F32 ? 4 : 2);
    if (v[0] < 1 || v[1] < 1 || v[0] > 1 << 30 || v[1] > 1 << 30 || v[2] < 0 || v[3] > (double)size ||
        v[3] - v[2] != bytes)
        return err_set(err, errlen, -EINVAL,
                       "Tensor %s of model '%s' has an impossible shape or place in its file.", entry->string,
                       m->path);
    t.rows = (int64_t)v[0];
    t.cols = (int64_t)v[1];
    t.data = data + (size_t)v[2];
    *to = t;
    return 0;
}

static int map_file(struct model *m, const char *path, const uint8_t **data, size_t *size, char *err,
                    size_t errlen) {
    struct model_files *files = m->files;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < 8 || files->n_maps == 256) {
        int rc = fd < 0 ? -errno : -EINVAL;
        if (fd >= 0)
            close(fd);
        return err_set(err, errlen, rc, "Cannot read '%s' (too short, missing, or the 257th file).", path);
    }
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    int rc = map == MAP_FAILED ? -errno : 0;
    close(fd);
    if (rc < 0)
        return err_set(err, errlen, rc, "Cannot map '%s': %s.", path, strerror(-rc));
    files->maps[files->n_maps] = map;
    files->map_sizes[files->n_maps++] = (size_t)st.st_size;
    *data = map;
    *size = (size_t)st.st_size;
    return 0;
}

static int read_safetensors(struct model *m, const char *name, char *err, size_t errlen) {
    char path[4096];
    const uint8_t *data = NULL;
    size_t size = 0;
    int rc = file_path(m, name, path, err, errlen);
    rc = rc ? rc : map_file(m, path, &data, &size, err, errlen);
    if (rc < 0)
        return rc;
    uint64_t header = 0;
    memcpy(&header, data, 8);
    if (header > size - 8 || header > MAX_JSON_BYTES)
        return err_set(err, errlen, -EINVAL,
                       "'%s' is cut off: its header of %llu bytes does not fit into it.", path,
                       (unsigned long long)header);
    cJSON *json = NULL;
    char why[300] = "";
    rc = json_parse((const char *)data + 8, (size_t)header, &limits, &json, why, sizeof why);
    if (rc < 0)
        return err_set(err, errlen, rc, "The header of '%s' cannot be read: %s", path, why);
    const cJSON *entry;
    cJSON_ArrayForEach(entry, json) {
        if (rc == 0 && entry->string != NULL)
            rc = place(m, entry, data + 8 + header, size - 8 - (size_t)header, err, errlen);
    }
    cJSON_Delete(json);
    return rc;
}

static bool exists(const struct model *m, const char *name) {
    char path[4096];
    return file_path(m, name, path, NULL, 0) == 0 && access(path, R_OK) == 0;
}

static int read_shards(struct model *m, char *err, size_t errlen) {
    cJSON *index = NULL;
    int rc = read_json(m, "model.safetensors.index.json", &index, err, errlen);
    if (rc < 0)
        return rc;
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(index, "weight_map"), *entry;
    const char *done[256];
    int n_done = 0;
    cJSON_ArrayForEach(entry, map) {
        if (rc < 0 || !cJSON_IsString(entry))
            continue;
        bool seen = false;
        for (int i = 0; i < n_done && !seen; i++)
            seen = strcmp(done[i], entry->valuestring) == 0;
        if (seen || n_done == 256)
            continue;
        done[n_done++] = entry->valuestring;
        rc = read_safetensors(m, entry->valuestring, err, errlen);
    }
    cJSON_Delete(index);
    return rc;
}

/* ---- tokenizer.json ---- */

struct texts {
    struct bpe_text *tokens;
    bool *added;
    struct bpe_text *merges;
    char *joined; /* merges written as pairs, joined here */
    size_t n_merges;
};

static int collect_merges(const cJSON *merges, struct texts *t) {
    size_t n = (size_t)cJSON_GetArraySize(merges), bytes = 1, at = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, merges) if (cJSON_GetArraySize(item) == 2 && cJSON_IsString(item->child) &&
                                         cJSON_IsString(item->child->next)) bytes +=
        strlen(item->child->valuestring) + strlen(item->child->next->valuestring) + 1;
    t->merges = calloc(n + 1, sizeof *t->merges);
    t->joined = malloc(bytes);
    if (t->merges == NULL || t->joined == NULL)
        return -ENOMEM;
    cJSON_ArrayForEach(item, merges) {
        if (cJSON_IsString(item)) {
            t->merges[t->n_merges++] = (struct bpe_text){item->valuestring, strlen(item->valuestring)};
        } else if (cJSON_GetArraySize(item) == 2 && cJSON_IsString(item->child) &&
                   cJSON_IsString(item->child->next)) {
            const char *left = item->child->valuestring, *right = item->child->next->valuestring;
            size_t a = strlen(left), b = strlen(right);
            memcpy(t->joined + at, left, a);
            t->joined[at + a] = ' ';
            memcpy(t->joined + at + a + 1, right, b);
            t->merges[t->n_merges++] = (struct bpe_text){t->joined + at, a + b + 1};
            at += a + b + 1;
        } else {
            return -EINVAL;
        }
    }
    return 0;
}

static int collect(const struct model *m, const cJSON *json, struct texts *t, int *n_vocab) {
    const cJSON *bpe = cJSON_GetObjectItemCaseSensitive(json, "model");
    const cJSON *vocab = cJSON_GetObjectItemCaseSensitive(bpe, "vocab"), *item;
    t->tokens = calloc((size_t)m->n_vocab + 1, sizeof *t->tokens);
    t->added = calloc((size_t)m->n_vocab + 1, sizeof *t->added);
    if (t->tokens == NULL || t->added == NULL)
        return -ENOMEM;
    cJSON_ArrayForEach(item, vocab) {
        if (!cJSON_IsNumber(item) || item->valueint < 0 || item->valueint >= m->n_vocab)
            return -EINVAL;
        t->tokens[item->valueint] = (struct bpe_text){item->string, strlen(item->string)};
        *n_vocab = item->valueint >= *n_vocab ? item->valueint + 1 : *n_vocab;
    }
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(json, "added_tokens")) {
        const cJSON *id = cJSON_GetObjectItemCaseSensitive(item, "id");
        const char *content = json_get_string(item, "content");
        if (!cJSON_IsNumber(id) || id->valueint < 0 || id->valueint >= m->n_vocab || content == NULL)
            return -EINVAL;
        t->tokens[id->valueint] = (struct bpe_text){content, strlen(content)};
        t->added[id->valueint] = true;
        *n_vocab = id->valueint >= *n_vocab ? id->valueint + 1 : *n_vocab;
    }
    return collect_merges(cJSON_GetObjectItemCaseSensitive(bpe, "merges"), t);
}

static int read_tokenizer(struct model *m, char *err, size_t errlen) {
    cJSON *json = NULL;
    int rc = read_json(m, "tokenizer.json", &json, err, errlen);
    if (rc < 0)
        return rc;
    const cJSON *bpe = cJSON_GetObjectItemCaseSensitive(json, "model");
    const char *type = json_get_string(bpe, "type");
    struct texts t = {0};
    int n_vocab = 0;
    if (type == NULL || strcmp(type, "BPE") != 0)
        rc = err_set(err, errlen, -ENOTSUP, "The tokenizer of model '%s' is not a BPE.", m->path);
    if (rc == 0) {
        rc = collect(m, json, &t, &n_vocab);
        if (rc < 0)
            err_set(err, errlen, rc,
                    "tokenizer.json of model '%s' has a token or merge that does not fit the model.",
                    m->path);
    }
    if (rc == 0) {
        struct bpe_source source = {
            n_vocab,  t.tokens,   t.added,
            t.merges, t.n_merges, cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(bpe, "ignore_merges"))};
        rc = bpe_create(&source, &m->tokenizer, err, errlen);
    }
    m->add_bos = m->bos_id >= 0;
    free(t.tokens);
    free(t.added);
    free(t.merges);
    free(t.joined);
    cJSON_Delete(json);
    return rc;
}

int model_hf_read(struct model *m, bool with_tokenizer, char *err, size_t errlen) {
    cJSON *config = NULL;
    int rc = read_json(m, "config.json", &config, err, errlen);
    rc = rc ? rc : shape(m, config, err, errlen);
    rc = rc ? rc : rope(m, config, err, errlen);
    if (rc == 0 && eog(m, config) < 0)
        rc = err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    cJSON_Delete(config);
    if (rc < 0)
        return rc;
    const char *folder = strrchr(m->path, '/');
    m->layers = calloc((size_t)m->n_layers, sizeof *m->layers);
    m->format = strdup("safetensors");
    m->name = strdup(folder != NULL && folder[1] != '\0' ? folder + 1 : m->path);
    if (m->layers == NULL || m->format == NULL || m->name == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    rc = exists(m, "model.safetensors.index.json") ? read_shards(m, err, errlen)
                                                   : read_safetensors(m, "model.safetensors", err, errlen);
    if (rc == 0 && m->output.data == NULL)
        m->output = m->tok_embd;
    if (rc == 0 && with_tokenizer)
        rc = read_tokenizer(m, err, errlen);
    return rc;
}
