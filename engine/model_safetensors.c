/* Weights of a Hugging Face folder: one safetensors file, or shards with an index. Format: 8 bytes length of
 * a JSON header (little endian), the header {name: {dtype, shape, data_offsets}}, the data. */
#include "engine/model_fp8.h"
#include "engine/model_hf.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_FILES 256

/* One file while it is read. */
struct shard {
    struct model *m;
    struct model_fp8 *fp8;
    const char *path;
    const uint8_t *data; /* after the header */
    size_t size;
    char *err;
    size_t errlen;
};

static int bad(const struct shard *s, const char *tensor, const char *what) {
    return err_set(s->err, s->errlen, -EINVAL, "Tensor '%.100s' of '%s': %s.", tensor, s->path, what);
}

/* Which layer "model.layers.N." means, and what follows; -1 for no such name. */
static int layer_of(const char *name, const char **rest) {
    static const char prefix[] = "model.layers.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return -1;
    const char *p = name + sizeof prefix - 1;
    if (*p < '0' || *p > '9' || (*p == '0' && p[1] != '.'))
        return -1;
    int n = 0;
    for (; *p >= '0' && *p <= '9' && n < 100000; p++)
        n = n * 10 + (*p - '0');
    *rest = p + 1;
    return *p == '.' ? n : -1;
}

/* The matrix of a layer that `rest` names; NULL for none. */
static struct tensor *in_layer(struct model_layer *y, const char *rest) {
    const struct {
        const char *name;
        struct tensor *t;
    } all[] = {{"input_layernorm.weight", &y->attn_norm}, {"self_attn.q_proj.weight", &y->wq},
               {"self_attn.k_proj.weight", &y->wk},       {"self_attn.v_proj.weight", &y->wv},
               {"self_attn.o_proj.weight", &y->wo},       {"post_attention_layernorm.weight", &y->ffn_norm},
               {"mlp.gate_proj.weight", &y->w_gate},      {"mlp.up_proj.weight", &y->w_up},
               {"mlp.down_proj.weight", &y->w_down}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(rest, all[i].name) == 0)
            return all[i].t;
    return NULL;
}

/* True for "X" and `suffix`; `weight` becomes "X.weight". */
static bool stands_beside(const char *name, const char *suffix, char weight[128]) {
    size_t n = strlen(name), s = strlen(suffix);
    if (n <= s || n - s + 8 > 128 || strcmp(name + n - s, suffix) != 0)
        return false;
    memcpy(weight, name, n - s);
    memcpy(weight + n - s, ".weight", 8);
    return true;
}

/* Where a tensor name belongs; NULL for one we do not use. */
static struct tensor *slot(const struct shard *s, const char *name) {
    struct tensor *head = &s->m->output;
    struct model_layer *layers = s->m->layers;
    const char *rest = NULL;
    char weight[128];
    if (strcmp(name, "model.embed_tokens.weight") == 0)
        return &s->m->tok_embd;
    if (strcmp(name, "model.norm.weight") == 0)
        return &s->m->output_norm;
    if (stands_beside(name, ".weight_scale", weight)) {
        head = &s->fp8->output;
        layers = s->fp8->layers;
        name = weight;
    } else if (stands_beside(name, ".input_scale", weight)) {
        head = &s->fp8->input_output;
        layers = s->fp8->input_layers;
        name = weight;
    }
    if (strcmp(name, "lm_head.weight") == 0)
        return head;
    int l = layer_of(name, &rest);
    if (l < 0 || l >= s->m->n_layers)
        return NULL;
    struct tensor *t = in_layer(&layers[l], rest);
    /* Only products are quantised: a norm has no scale. */
    bool norm = t == &layers[l].attn_norm || t == &layers[l].ffn_norm;
    return norm && name == weight ? NULL : t;
}

/* What may be left out because the model computes the same without it: the frequencies of RoPE, which
 * config.json gives, and the scales for keys and values in a cache of FP8, which is not the cache here.
 * Programs that write such scales call them differently. */
static bool changes_nothing(const struct shard *s, const char *name) {
    static const char *const all[] = {
        "self_attn.rotary_emb.inv_freq", "self_attn.k_scale",        "self_attn.v_scale",
        "self_attn.k_proj.k_scale",      "self_attn.v_proj.v_scale", "self_attn.k_proj.output_scale",
        "self_attn.v_proj.output_scale"};
    const char *rest = NULL;
    int l = layer_of(name, &rest);
    for (size_t i = 0; i < sizeof all / sizeof all[0] && l >= 0 && l < s->m->n_layers; i++)
        if (strcmp(rest, all[i]) == 0)
            return true;
    return strcmp(name, "model.rotary_emb.inv_freq") == 0;
}

/* Leaving out any other tensor would make another model. */
static int refuse_unknown(const struct shard *s, const char *name) {
    const char *rest = NULL;
    char weight[128];
    int l = layer_of(name, &rest);
    if (l >= s->m->n_layers)
        return err_set(
            s->err, s->errlen, -EINVAL,
            "Tensor '%.100s' of '%s' belongs to layer %d, counted from 0, and num_hidden_layers of "
            "config.json is %d; put the config.json of these weights beside them.",
            name, s->path, l, s->m->n_layers);
    if (stands_beside(name, ".bias", weight))
        return err_set(s->err, s->errlen, -ENOTSUP,
                       "Tensor '%.100s' of '%s' is a bias, which is not supported.", name, s->path);
    return err_set(s->err, s->errlen, -ENOTSUP,
                   "Tensor '%.100s' of '%s' has no place in a Llama, and without it another model would be "
                   "computed; use the weights of a LlamaForCausalLM that has no such addition.",
                   name, s->path);
}

/* A whole number from 0 to 2^52, or -1. */
static int64_t whole(const cJSON *item) {
    double v = cJSON_IsNumber(item) ? item->valuedouble : -1;
    return v >= 0 && v <= 0x1p52 && v == floor(v) ? (int64_t)v : -1;
}

struct range {
    int64_t begin, end;
    const char *name; /* borrowed from the header */
};

static int read_range(const struct shard *s, const cJSON *entry, struct range *r) {
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2)
        return bad(s, entry->string, "data_offsets should be two numbers");
    r->begin = whole(offsets->child);
    r->end = whole(offsets->child->next);
    r->name = entry->string;
    if (r->begin < 0 || r->end < r->begin || r->end > (int64_t)s->size)
        return bad(s, entry->string, "data_offsets end behind the file, which is cut off, or are impossible");
    return 0;
}

static int read_shape(const struct shard *s, const cJSON *entry, struct tensor *t) {
    const cJSON *dims = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    int n = cJSON_IsArray(dims) ? cJSON_GetArraySize(dims) : -1;
    size_t len = strlen(entry->string);
    if (n == 0 && len > 6 && strcmp(entry->string + len - 6, "_scale") == 0) {
        t->rows = t->cols = 1;
        return 0;
    }
    if (n != 1 && n != 2)
        return bad(s, entry->string, "shape should be one or two numbers");
    t->rows = n == 2 ? whole(dims->child) : 1;
    t->cols = whole(n == 2 ? dims->child->next : dims->child);
    if (t->rows < 1 || t->cols < 1 || t->rows > 1 << 30 || t->cols > 1 << 30)
        return bad(s, entry->string, "a dimension of its shape is not 1 to 2^30");
    return 0;
}

static int place(const struct shard *s, const cJSON *entry, const struct range *r) {
    struct tensor *to = slot(s, entry->string), t = {0};
    if (to == NULL)
        return changes_nothing(s, entry->string) ? 0 : refuse_unknown(s, entry->string);
    const char *type = json_get_string(entry, "dtype");
    t.type = type != NULL ? dtype_of_safetensors(type) : DTYPE_COUNT;
    if (t.type == DTYPE_COUNT)
        return err_set(s->err, s->errlen, -ENOTSUP,
                       "Tensor '%.100s' of '%s' is of type %.20s; F32, F16, BF16 and F8_E4M3 are supported.",
                       entry->string, s->path, type != NULL ? type : "(none)");
    int rc = read_shape(s, entry, &t);
    if (rc < 0)
        return rc;
    /* At most 2^32 bytes times 2^30 rows. */
    if (r->end - r->begin != (int64_t)dtype_row_bytes(t.type, t.cols) * t.rows)
        return bad(s, entry->string, "data_offsets do not fit its shape and dtype");
    if (to->data != NULL)
        return bad(s, entry->string, "it occurs twice");
    t.data = s->data + r->begin;
    *to = t;
    return 0;
}

static int by_begin(const void *a, const void *b) {
    const struct range *x = a, *y = b;
    int order = (x->begin > y->begin) - (x->begin < y->begin);
    return order != 0 ? order : (x->end > y->end) - (x->end < y->end);
}

/* The ranges lie one behind the other and fill the data, as the published reader demands
 * (huggingface/safetensors, safetensors/src/tensor.rs, Metadata::validate): bytes that no tensor owns may be
 * anything. */
static int check_ranges(const struct shard *s, const struct range *ranges, size_t n) {
    int64_t end = 0;
    for (size_t i = 0; i < n; i++) {
        if (ranges[i].begin < end)
            return bad(s, ranges[i].name, "its data_offsets overlap another tensor's");
        if (ranges[i].begin > end)
            return bad(s, ranges[i].name, "its data_offsets leave a hole before it");
        end = ranges[i].end;
    }
    if (end < (int64_t)s->size)
        return err_set(s->err, s->errlen, -EINVAL, "'%s' has %lld bytes behind its last tensor.", s->path,
                       (long long)s->size - (long long)end);
    return 0;
}

/* All tensors of a header, which the caller keeps. */
static int place_all(const struct shard *s, const cJSON *header) {
    size_t n = (size_t)cJSON_GetArraySize(header), used = 0;
    struct range *ranges = calloc(n + 1, sizeof *ranges);
    if (ranges == NULL)
        return err_set(s->err, s->errlen, -ENOMEM, "Not enough memory for the header of '%s'.", s->path);
    int rc = 0;
    const cJSON *entry;
    cJSON_ArrayForEach(entry, header) {
        if (rc < 0 || strcmp(entry->string, "__metadata__") == 0)
            continue;
        rc = read_range(s, entry, &ranges[used]);
        rc = rc ? rc : place(s, entry, &ranges[used]);
        used++;
    }
    if (rc == 0)
        qsort(ranges, used, sizeof *ranges, by_begin);
    rc = rc ? rc : check_ranges(s, ranges, used);
    free(ranges);
    return rc;
}

static int map_file(struct model *m, const char *path, const struct mapped_file **out, char *err,
                    size_t errlen) {
    struct model_files *files = m->files;
    if (files->n_shards == MAX_FILES)
        return err_set(err, errlen, -EINVAL, "'%s' is the 257th file of its model; at most 256 are possible.",
                       path);
    struct mapped_file *file = &files->shards[files->n_shards];
    int rc = mapped_file_open(file, path, 8);
    if (rc == -EINVAL)
        return err_set(err, errlen, rc, "'%s' is too short for a safetensors file, or no file.", path);
    if (rc < 0)
        return err_set(err, errlen, rc, "Cannot open '%s': %s.", path, strerror(-rc));
    files->n_shards++;
    *out = file;
    return 0;
}

static int read_file(struct model *m, struct model_fp8 *fp8, const char *name, char *err, size_t errlen) {
    char path[MODEL_HF_PATH_BYTES];
    const struct mapped_file *file = NULL;
    int rc = model_hf_path(m, name, path, err, errlen);
    rc = rc ? rc : map_file(m, path, &file, err, errlen);
    if (rc < 0)
        return rc;
    uint64_t header = 0;
    memcpy(&header, file->data, 8);
    if (header > file->size - 8 || header > MODEL_HF_JSON_BYTES)
        return err_set(err, errlen, -EINVAL,
                       "'%s' is damaged at byte 0: a header of %llu bytes does not fit into it.", path,
                       (unsigned long long)header);
    cJSON *json = NULL;
    char why[300] = "";
    rc = json_parse((const char *)file->data + 8, (size_t)header, &model_hf_limits, &json, why, sizeof why);
    if (rc < 0)
        return err_set(err, errlen, rc, "The header of '%s' (from byte 8) cannot be read: %s.", path, why);
    struct shard s = {m, fp8, path, file->data + 8 + header, file->size - 8 - (size_t)header, err, errlen};
    rc = cJSON_IsObject(json)
             ? place_all(&s, json)
             : err_set(err, errlen, -EINVAL, "The header of '%s' should be an object.", path);
    cJSON_Delete(json);
    return rc;
}

static int read_index(struct model *m, struct model_fp8 *fp8, const cJSON *index, char *err, size_t errlen) {
    const cJSON *map = cJSON_GetObjectItemCaseSensitive(index, "weight_map"), *entry;
    const char *done[MAX_FILES];
    int n_done = 0, rc = 0;
    cJSON_ArrayForEach(entry, map) {
        if (!cJSON_IsString(entry))
            return err_set(
                err, errlen, -EINVAL,
                "model.safetensors.index.json of model '%s': the file of '%.100s' should be a string.",
                m->path, entry->string != NULL ? entry->string : "");
        bool seen = false;
        for (int i = 0; i < n_done && !seen; i++)
            seen = strcmp(done[i], entry->valuestring) == 0;
        if (seen)
            continue;
        if (n_done == MAX_FILES)
            return err_set(err, errlen, -EINVAL, "Model '%s' has more than %d safetensors files.", m->path,
                           MAX_FILES);
        done[n_done++] = entry->valuestring;
        rc = read_file(m, fp8, entry->valuestring, err, errlen);
        if (rc < 0)
            return rc;
    }
    if (n_done == 0)
        return err_set(err, errlen, -EINVAL, "model.safetensors.index.json of model '%s' has no weight_map.",
                       m->path);
    return 0;
}

static bool exists(const struct model *m, const char *name) {
    char path[MODEL_HF_PATH_BYTES];
    return model_hf_path(m, name, path, NULL, 0) == 0 && access(path, F_OK) == 0;
}

bool model_safetensors_present(const struct model *m) {
    return exists(m, "model.safetensors.index.json") || exists(m, "model.safetensors");
}

int model_safetensors_read(struct model *m, struct model_fp8 *fp8, char *err, size_t errlen) {
    if (!exists(m, "model.safetensors.index.json"))
        return read_file(m, fp8, "model.safetensors", err, errlen);
    cJSON *index = NULL;
    int rc = model_hf_read_json(m, "model.safetensors.index.json", &index, err, errlen);
    rc = rc ? rc : read_index(m, fp8, index, err, errlen);
    cJSON_Delete(index);
    return rc;
}
