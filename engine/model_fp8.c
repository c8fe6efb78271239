#include "engine/model_fp8.h"

#include "kernels/cpu/convert.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- config.json ---- */

static int refuse(const struct model *m, const char *what, const char *value, const char *ours, char *err,
                  size_t errlen) {
    return err_set(
        err, errlen, -ENOTSUP,
        "Model '%s' is quantised with %s '%.60s', which is not supported; FP8 of compressed-tensors is, with "
        "%s.",
        m->path, what, value != NULL ? value : "(none)", ours);
}

static bool is_one_of(const char *text, const char *a, const char *b) {
    return text != NULL && (strcmp(text, a) == 0 || strcmp(text, b) == 0);
}

/* 8-bit floats, without a zero point. `what` is "weights" or "input_activations". */
static int check_args(const struct model *m, const cJSON *args, const char *what, char *err, size_t errlen) {
    char name[64], number[32];
    const char *type = json_get_string(args, "type");
    const cJSON *bits = cJSON_GetObjectItemCaseSensitive(args, "num_bits");
    (void)snprintf(number, sizeof number, "%.6g", cJSON_IsNumber(bits) ? bits->valuedouble : 0);
    if (!cJSON_IsNumber(bits) || bits->valuedouble != 8) {
        (void)snprintf(name, sizeof name, "%s of num_bits", what);
        return refuse(m, name, cJSON_IsNumber(bits) ? number : NULL, "8", err, errlen);
    }
    (void)snprintf(name, sizeof name, "%s of type", what);
    if (type == NULL || strcmp(type, "float") != 0)
        return refuse(m, name, type, "float", err, errlen);
    (void)snprintf(name, sizeof name, "%s of symmetric", what);
    if (cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(args, "symmetric")))
        return refuse(m, name, "false", "true", err, errlen);
    return 0;
}

static int check_format(const struct model *m, const char *what, const char *format, char *err,
                        size_t errlen) {
    return is_one_of(format, "float-quantized", "naive-quantized")
               ? 0
               : refuse(m, what, format, "float-quantized or naive-quantized", err, errlen);
}

/* The format of one group, which newer versions write, stands beside that of all. */
static int read_group(const struct model *m, const cJSON *group, struct model_fp8 *f, char *err,
                      size_t errlen) {
    const cJSON *weights = cJSON_GetObjectItemCaseSensitive(group, "weights");
    const cJSON *inputs = cJSON_GetObjectItemCaseSensitive(group, "input_activations");
    const char *strategy = json_get_string(weights, "strategy"), *format = json_get_string(group, "format");
    int rc = format != NULL ? check_format(m, "a group of format", format, err, errlen) : 0;
    rc = rc ? rc : check_args(m, weights, "weights", err, errlen);
    if (rc == 0 && !is_one_of(strategy, "tensor", "channel"))
        rc = refuse(m, "weights of strategy", strategy, "tensor or channel", err, errlen);
    if (rc < 0 || inputs == NULL || cJSON_IsNull(inputs)) {
        f->inputs = false;
        return rc;
    }
    const char *dynamic = json_get_string(inputs, "dynamic");
    if (dynamic != NULL)
        return refuse(m, "input_activations of dynamic", dynamic, "true or false", err, errlen);
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(inputs, "dynamic")))
        f->fixed = false;
    strategy = json_get_string(inputs, "strategy");
    rc = check_args(m, inputs, "input_activations", err, errlen);
    if (rc == 0 && !is_one_of(strategy, "tensor", "token"))
        rc = refuse(m, "input_activations of strategy", strategy, "tensor or token", err, errlen);
    return rc;
}

static int read_config(const struct model *m, const cJSON *q, struct model_fp8 *f, char *err, size_t errlen) {
    const char *method = json_get_string(q, "quant_method"), *format = json_get_string(q, "format");
    const cJSON *groups = cJSON_GetObjectItemCaseSensitive(q, "config_groups"), *group;
    const cJSON *sparsity = cJSON_GetObjectItemCaseSensitive(q, "sparsity_config");
    const cJSON *rotations = cJSON_GetObjectItemCaseSensitive(
        cJSON_GetObjectItemCaseSensitive(q, "transform_config"), "config_groups");
    const char *sparse = json_get_string(sparsity, "format");
    int rc;
    if (method == NULL || strcmp(method, "compressed-tensors") != 0)
        return refuse(m, "quant_method", method, "quant_method compressed-tensors", err, errlen);
    if ((rc = check_format(m, "format", format, err, errlen)) < 0)
        return rc;
    if (sparse != NULL && strcmp(sparse, "dense") != 0)
        return refuse(m, "sparsity_config of format", sparse, "dense", err, errlen);
    if (cJSON_IsObject(rotations) && rotations->child != NULL)
        return refuse(m, "transform_config", rotations->child->string, "weights as they are", err, errlen);
    if (!cJSON_IsObject(groups) || groups->child == NULL)
        return err_set(err, errlen, -EINVAL,
                       "config.json of model '%s': quantization_config should have config_groups.", m->path);
    f->inputs = f->fixed = true;
    cJSON_ArrayForEach(group, groups) {
        rc = rc ? rc : read_group(m, group, f, err, errlen);
    }
    return rc;
}

int model_fp8_init(struct model_fp8 *f, const struct model *m, const cJSON *config, char *err,
                   size_t errlen) {
    const cJSON *q = cJSON_GetObjectItemCaseSensitive(config, "quantization_config");
    *f = (struct model_fp8){.allowed = q != NULL && !cJSON_IsNull(q)};
    int rc = f->allowed ? read_config(m, q, f, err, errlen) : 0;
    if (rc < 0)
        return rc;
    f->layers = calloc((size_t)m->n_layers, sizeof *f->layers);
    f->input_layers = calloc((size_t)m->n_layers, sizeof *f->input_layers);
    if (f->layers == NULL || f->input_layers == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    return 0;
}

void model_fp8_finish(struct model_fp8 *f) {
    free(f->layers);
    free(f->input_layers);
}

/* ---- scales ---- */

static int bad(const struct model *m, const char *name, const char *what, char *err, size_t errlen) {
    return err_set(err, errlen, -EINVAL, "Tensor %s of model '%s': %s.", name, m->path, what);
}

/* `rows` factors from a tensor of one or of `rows` numbers, in memory of the model. */
static int expand(struct model *m, const struct tensor *scale, const char *name, int64_t rows,
                  const float **out, char *err, size_t errlen) {
    int64_t n = scale->rows * scale->cols; /* at most 2^60 */
    if (n != 1 && (n != rows || (scale->rows != 1 && scale->cols != 1)))
        return bad(m, name, "its weight_scale should be one number, or one per row", err, errlen);
    if (scale->type == DTYPE_F8_E4M3)
        return bad(m, name, "its weight_scale should be F32, F16 or BF16", err, errlen);
    float *v = NULL;
    int rc = model_build_floats(m, rows, &v, err, errlen);
    for (int64_t i = 0; i < rows && rc == 0; i++) {
        v[i] = convert_element(scale->type, scale->data, n == 1 ? 0 : i);
        if (!(v[i] > 0 && v[i] <= 1e30f)) /* catches NaN */
            rc = bad(m, name, "a number of its weight_scale is not positive", err, errlen);
    }
    *out = v;
    return rc;
}

/* One weight, its scale and its input_scale. */
static int apply(struct model *m, const struct model_fp8 *f, struct tensor *w, const struct tensor *scale,
                 const struct tensor *input, const char *name, char *err, size_t errlen) {
    if (w->data == NULL || w->type != DTYPE_F8_E4M3)
        return scale->data == NULL && input->data == NULL
                   ? 0
                   : bad(m, name, "it has a weight_scale or input_scale and is not F8_E4M3", err, errlen);
    if (!f->allowed)
        return bad(m, name, "it is F8_E4M3, and config.json has no quantization_config", err, errlen);
    if (scale->data == NULL)
        return bad(m, name, "it is F8_E4M3 and has no weight_scale", err, errlen);
    w->input_scale = f->inputs ? TENSOR_INPUT_BY_ROW : 0;
    if (input->data != NULL) {
        float v = convert_element(input->type, input->data, 0);
        if (input->rows * input->cols != 1 || !(v > 0 && v <= 1e30f))
            return bad(m, name, "its input_scale should be one positive number", err, errlen);
        if (f->inputs && f->fixed)
            w->input_scale = v;
    }
    return expand(m, scale, name, w->rows, &w->row_scales, err, errlen);
}

int model_fp8_apply(struct model_fp8 *f, struct model *m, char *err, size_t errlen) {
    if (m->tok_embd.data != NULL && m->tok_embd.type == DTYPE_F8_E4M3)
        return err_set(err, errlen, -ENOTSUP, "The embedding of model '%s' is F8_E4M3; only products are.",
                       m->path);
    int rc = apply(m, f, &m->output, &f->output, &f->input_output, "lm_head.weight", err, errlen);
    for (int l = 0; l < m->n_layers && rc == 0; l++) {
        struct model_layer *y = &m->layers[l], *s = &f->layers[l], *i = &f->input_layers[l];
        const struct {
            const char *name;
            struct tensor *w, *scale, *input;
        } all[] = {{"self_attn.q_proj", &y->wq, &s->wq, &i->wq},
                   {"self_attn.k_proj", &y->wk, &s->wk, &i->wk},
                   {"self_attn.v_proj", &y->wv, &s->wv, &i->wv},
                   {"self_attn.o_proj", &y->wo, &s->wo, &i->wo},
                   {"mlp.gate_proj", &y->w_gate, &s->w_gate, &i->w_gate},
                   {"mlp.up_proj", &y->w_up, &s->w_up, &i->w_up},
                   {"mlp.down_proj", &y->w_down, &s->w_down, &i->w_down}};
        for (size_t k = 0; k < sizeof all / sizeof all[0] && rc == 0; k++) {
            char name[96];
            (void)snprintf(name, sizeof name, "model.layers.%d.%s.weight", l, all[k].name);
            rc = apply(m, f, all[k].w, all[k].scale, all[k].input, name, err, errlen);
        }
    }
    return rc;
}
