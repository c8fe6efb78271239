#include "engine/model.h"

#include "engine/gguf_set.h"
#include "engine/model_build.h"
#include "engine/tokenizer.h"
#include "kernels/cpu/convert.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int model_build_rope(struct model *m, char *err, size_t errlen) {
    int n = m->head_dim / 2;
    m->rope_inv_freq = calloc((size_t)n + 1, sizeof *m->rope_inv_freq);
    if (m->rope_inv_freq == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    for (int i = 0; i < n; i++)
        m->rope_inv_freq[i] = (float)(1.0 / pow((double)m->rope_theta, 2.0 * i / m->head_dim));
    return 0;
}

int model_build_floats(struct model *m, int64_t n, float **out, char *err, size_t errlen) {
    struct model_files *files = m->files;
    float **floats = realloc(files->floats, (size_t)(files->n_floats + 1) * sizeof *floats);
    if (floats != NULL)
        files->floats = floats;
    float *v = malloc((size_t)n * sizeof *v);
    if (floats == NULL || v == NULL) {
        free(v);
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    }
    files->floats[files->n_floats++] = v;
    *out = v;
    return 0;
}

int model_build_norm(struct model *m, struct tensor *t, char *err, size_t errlen) {
    if (t->data == NULL || t->type == DTYPE_F32)
        return 0;
    if (t->type != DTYPE_F16 && t->type != DTYPE_BF16)
        return err_set(err, errlen, -ENOTSUP, "A norm of model '%s' is neither F32, F16 nor BF16.", m->path);
    float *v = NULL;
    int rc = model_build_floats(m, t->cols, &v, err, errlen);
    if (rc < 0)
        return rc;
    convert_row(t->type, t->data, t->cols, v);
    t->data = v;
    t->type = DTYPE_F32;
    return 0;
}

int model_build_add_eog(struct model *m, int32_t id) {
    if (id < 0 || model_is_eog(m, id))
        return 0;
    int32_t *ids = realloc(m->eog_ids, (size_t)(m->n_eog_ids + 1) * sizeof *ids);
    if (ids == NULL)
        return -ENOMEM;
    m->eog_ids = ids;
    m->eog_ids[m->n_eog_ids++] = id;
    return 0;
}

void model_build_count(struct model *m, const struct tensor *t) {
    uint64_t n = (uint64_t)t->rows * (uint64_t)t->cols;
    m->n_params += n;
    m->weight_bytes += (uint64_t)dtype_row_bytes(t->type, t->cols) * (uint64_t)t->rows;
}

static int check(const struct model *m, const struct tensor *t, const char *name, int layer, int64_t rows,
                 int64_t cols, char *err, size_t errlen) {
    if (t->data == NULL)
        return err_set(err, errlen, -EINVAL,
                       "Model '%s' has no tensor %s of layer %d; use a complete model file.", m->path, name,
                       layer);
    if (t->rows != rows || t->cols != cols)
        return err_set(err, errlen, -EINVAL,
                       "Tensor %s of layer %d of model '%s' is %lld x %lld and should be %lld x %lld.", name,
                       layer, m->path, (long long)t->rows, (long long)t->cols, (long long)rows,
                       (long long)cols);
    return 0;
}

static int finish_layer(struct model *m, int l, char *err, size_t errlen) {
    struct model_layer *y = &m->layers[l];
    int64_t d = m->dim, q = (int64_t)m->n_heads * m->head_dim, kv = (int64_t)m->n_kv_heads * m->head_dim,
            f = m->ffn_dim;
    struct {
        struct tensor *t;
        const char *name;
        int64_t rows, cols;
    } all[] = {
        {&y->attn_norm, "attn_norm", 1, d}, {&y->wq, "attn_q", q, d},      {&y->wk, "attn_k", kv, d},
        {&y->wv, "attn_v", kv, d},          {&y->wo, "attn_output", d, q}, {&y->ffn_norm, "ffn_norm", 1, d},
        {&y->w_gate, "ffn_gate", f, d},     {&y->w_up, "ffn_up", f, d},    {&y->w_down, "ffn_down", d, f}};
    int rc = model_build_norm(m, &y->attn_norm, err, errlen);
    rc = rc ? rc : model_build_norm(m, &y->ffn_norm, err, errlen);
    for (size_t i = 0; i < sizeof all / sizeof all[0] && rc == 0; i++) {
        rc = check(m, all[i].t, all[i].name, l, all[i].rows, all[i].cols, err, errlen);
        model_build_count(m, all[i].t);
    }
    return rc;
}

int model_build_finish(struct model *m, char *err, size_t errlen) {
    static const char *const texts[] = {"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"};
    int rc = model_build_norm(m, &m->output_norm, err, errlen);
    rc = rc ? rc : check(m, &m->tok_embd, "token_embd", 0, m->n_vocab, m->dim, err, errlen);
    rc = rc ? rc : check(m, &m->output_norm, "output_norm", 0, 1, m->dim, err, errlen);
    rc = rc ? rc : check(m, &m->output, "output", 0, m->n_vocab, m->dim, err, errlen);
    for (int l = 0; l < m->n_layers && rc == 0; l++)
        rc = finish_layer(m, l, err, errlen);
    if (rc < 0)
        return rc;
    model_build_count(m, &m->tok_embd);
    model_build_count(m, &m->output_norm);
    m->tied_head = m->output.data == m->tok_embd.data;
    if (!m->tied_head)
        model_build_count(m, &m->output);
    for (size_t i = 0; m->tokenizer != NULL && i < sizeof texts / sizeof texts[0] && rc == 0; i++)
        rc = model_build_add_eog(m, tokenizer_find_added(m->tokenizer, texts[i]));
    if (rc == 0 && m->tokenizer != NULL && tokenizer_n_vocab(m->tokenizer) > m->n_vocab)
        return err_set(err, errlen, -EINVAL,
                       "Model '%s' has %d tokens in its tokenizer and %d in its weights.", m->path,
                       tokenizer_n_vocab(m->tokenizer), m->n_vocab);
    return rc;
}

enum what { ALL, WEIGHTS_ALONE, CONFIG_ALONE };

static int read_model(struct model *m, bool folder, enum what what, char *err, size_t errlen) {
    if (what == CONFIG_ALONE)
        return folder ? model_hf_plan(m, err, errlen)
                      : err_set(err, errlen, -EINVAL, "'%s' is no folder.", m->path);
    int rc =
        folder ? model_hf_read(m, what == ALL, err, errlen) : model_gguf_read(m, what == ALL, err, errlen);
    return rc ? rc : model_build_finish(m, err, errlen);
}

static int open_model(const char *path, enum what what, struct model **out, char *err, size_t errlen) {
    struct stat st;
    if (stat(path, &st) < 0)
        return err_set(err, errlen, -errno, "Cannot open model '%s': %s.", path, strerror(errno));
    struct model *m = calloc(1, sizeof *m);
    if (m == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    m->bos_id = -1;
    m->path = strdup(path);
    m->files = calloc(1, sizeof(struct model_files));
    int rc = m->path == NULL || m->files == NULL
                 ? err_set(err, errlen, -ENOMEM, "Not enough memory for the model.")
                 : 0;
    if (rc == 0)
        rc = read_model(m, S_ISDIR(st.st_mode), what, err, errlen);
    if (rc < 0) {
        model_close(m);
        return rc;
    }
    *out = m;
    return 0;
}

int model_open(const char *path, struct model **out, char *err, size_t errlen) {
    return open_model(path, ALL, out, err, errlen);
}

int model_open_weights(const char *path, struct model **out, char *err, size_t errlen) {
    return open_model(path, WEIGHTS_ALONE, out, err, errlen);
}

int model_open_config(const char *path, struct model **out, char *err, size_t errlen) {
    return open_model(path, CONFIG_ALONE, out, err, errlen);
}

void model_close(struct model *m) {
    if (m == NULL)
        return;
    struct model_files *files = m->files;
    if (files != NULL) {
        gguf_set_close(files->gguf);
        for (int i = 0; i < files->n_shards; i++)
            mapped_file_close(&files->shards[i]);
        for (int i = 0; i < files->n_floats; i++)
            free(files->floats[i]);
        free(files->floats);
        free(files);
    }
    tokenizer_destroy(m->tokenizer);
    free(m->rope_inv_freq);
    free(m->layers);
    free(m->eog_ids);
    free(m->format);
    free(m->name);
    free(m->path);
    free(m);
}

static int changed(const struct mapped_file *file, const struct model *m, char *err, size_t errlen) {
    const char *change = mapped_file_change(file);
    if (change == NULL)
        return 0;
    return err_set(err, errlen, -EIO,
                   "A file of the model '%s' %s while it was in use; files in use are replaced by renaming "
                   "others over them, never written to.",
                   m->path, change);
}

int model_unchanged(const struct model *m, char *err, size_t errlen) {
    const struct model_files *files = m->files;
    int rc = 0;
    for (int i = 0; files != NULL && files->gguf != NULL && rc == 0 && i < files->gguf->n; i++)
        rc = changed(&files->gguf->parts[i]->file, m, err, errlen);
    for (int i = 0; files != NULL && rc == 0 && i < files->n_shards; i++)
        rc = changed(&files->shards[i], m, err, errlen);
    return rc;
}

bool model_is_eog(const struct model *m, int32_t token) {
    for (int i = 0; i < m->n_eog_ids; i++)
        if (m->eog_ids[i] == token)
            return true;
    return false;
}
