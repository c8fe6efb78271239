#include "engine/prefix_sum.h"

#include "kernels/dtype.h"

#include <string.h>
#include <sys/stat.h>

#define SAMPLE_BYTES 4096u

static uint64_t sum_word(uint64_t sum, uint64_t word) {
    sum = (sum ^ word) * 0xD6E8FEB86659FD93u;
    return sum << 27 | sum >> 37;
}

/* The last bytes count with their number. */
uint64_t prefix_sum(uint64_t sum, const void *data, size_t n) {
    const uint8_t *at = data;
    uint64_t word;
    for (; n >= sizeof word; n -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        sum = sum_word(sum, word);
    }
    word = (uint64_t)n << 56;
    memcpy(&word, at, n);
    return n > 0 ? sum_word(sum, word) : sum;
}

static uint64_t sum_tensor(uint64_t sum, const struct tensor *t) {
    size_t bytes = dtype_row_bytes(t->type, t->cols) * (size_t)t->rows;
    sum = sum_word(sum_word(sum_word(sum, (uint64_t)t->type), (uint64_t)t->rows), (uint64_t)t->cols);
    if (t->data == NULL)
        return sum;
    size_t n = bytes < SAMPLE_BYTES ? bytes : SAMPLE_BYTES;
    for (size_t part = 0; part < 3; part++)
        sum = prefix_sum(sum, (const uint8_t *)t->data + (bytes - n) / 2 * part, n);
    return sum;
}

uint64_t prefix_sum_model(const struct model *m) {
    const int shape[] = {m->n_layers, m->n_heads, m->n_kv_heads, m->head_dim,        m->dim,
                         m->ffn_dim,  m->n_vocab, m->bos_id,     (int)m->rope_layout};
    uint64_t sum = prefix_sum(PREFIX_SUM_START, shape, sizeof shape);
    struct stat st;
    sum = prefix_sum(sum, &m->rms_eps, sizeof m->rms_eps);
    sum = prefix_sum(sum, m->rope_inv_freq, (size_t)m->head_dim / 2 * sizeof *m->rope_inv_freq);
    sum = prefix_sum(sum, m->name != NULL ? m->name : "", m->name != NULL ? strlen(m->name) : 0);
    if (m->path != NULL && stat(m->path, &st) == 0)
        sum = sum_word(sum_word(sum_word(sum, (uint64_t)st.st_size), (uint64_t)st.st_mtim.tv_sec),
                       (uint64_t)st.st_mtim.tv_nsec);
    sum = sum_tensor(sum_tensor(sum_tensor(sum, &m->tok_embd), &m->output_norm), &m->output);
    for (int l = 0; l < m->n_layers; l++) {
        const struct model_layer *y = &m->layers[l];
        const struct tensor *all[] = {&y->attn_norm, &y->wq,     &y->wk,   &y->wv,    &y->wo,
                                      &y->ffn_norm,  &y->w_gate, &y->w_up, &y->w_down};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            sum = sum_tensor(sum, all[i]);
    }
    return sum;
}
