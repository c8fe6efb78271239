#include "engine/split.h"

#include "engine/fit.h"
#include "engine/forward.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Embeddings are looked up by all devices, norms are small: both are on every one. */
static bool is_whole(const char *name) {
    return strstr(name, "norm") != NULL || strncmp(name, "token_embd", 10) == 0;
}

struct sums {
    uint64_t whole, cut;
};

static int add_tensor(void *arg, const char *name, const struct tensor *t) {
    struct sums *s = arg;
    uint64_t bytes = (uint64_t)dtype_row_bytes(t->type, t->cols) * (uint64_t)t->rows;
    *(is_whole(name) ? &s->whole : &s->cut) += bytes;
    return 0;
}

/* A part of the columns is whole blocks. */
static bool columns_can_be_cut(const struct tensor *t, int n) {
    return t->cols % n == 0 && t->cols / n % dtype_info(t->type)->block_elements == 0;
}

static int check_cut(const struct model *m, int n, char *err, size_t errlen) {
    const struct {
        const char *what;
        int of;
    } all[] = {
        {"key and value heads", m->n_kv_heads}, {"heads", m->n_heads}, {"feed-forward numbers", m->ffn_dim}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].of % n != 0)
            return err_set(err, errlen, -ENOTSUP, "The model's %d %s cannot be shared out to %d devices.",
                           all[i].of, all[i].what, n);
    for (int i = 0; i < m->n_layers; i++)
        if (!columns_can_be_cut(&m->layers[i].wo, n) || !columns_can_be_cut(&m->layers[i].w_down, n))
            return err_set(
                err, errlen, -ENOTSUP,
                "Layer %d cannot be cut for %d devices: a part of a row would not be whole blocks.", i, n);
    return 0;
}

int split_of(const struct model *m, int n_devices, uint64_t device_bytes, struct split *p, char *err,
             size_t errlen) {
    struct sums s = {0, 0};
    if (n_devices < 1 || n_devices > SPLIT_MAX_DEVICES)
        return err_set(err, errlen, -EINVAL, "A plan is for 1 to %d devices, not %d.", SPLIT_MAX_DEVICES,
                       n_devices);
    int rc = check_cut(m, n_devices, err, errlen);
    if (rc < 0)
        return rc;
    (void)fit_each_tensor(m, add_tensor, &s);
    uint64_t n = (uint64_t)n_devices;
    *p = (struct split){.n_devices = n_devices,
                        .device_bytes = device_bytes,
                        .heads = m->n_heads / n_devices,
                        .kv_heads = m->n_kv_heads / n_devices,
                        .ffn_dim = m->ffn_dim / n_devices,
                        .vocab = (m->n_vocab + n_devices - 1) / n_devices,
                        .cut_bytes = (s.cut + n - 1) / n,
                        .whole_bytes = s.whole,
                        .kv_bytes_per_token = forward_page_bytes(m, DTYPE_F16) / KERNELS_PAGE_TOKENS / n,
                        .sum_bytes_per_token = n > 1 ? 2 * (uint64_t)m->n_layers * (uint64_t)m->dim * 4 : 0};
    uint64_t taken = p->cut_bytes + p->whole_bytes + SPLIT_RESERVE_BYTES;
    p->tokens = taken < device_bytes ? (device_bytes - taken) / p->kv_bytes_per_token : 0;
    return 0;
}

int split_text(const struct model *m, const struct split *p, struct buf *out) {
    char a[32], b[32], c[32];
    uint64_t weights = p->cut_bytes + p->whole_bytes;
    int rc =
        buf_printf(out, "plan        %d device%s of %s (%.1f GB)\n", p->n_devices,
                   p->n_devices > 1 ? "s" : "", fit_size(a, p->device_bytes), (double)p->device_bytes / 1e9);
    if (p->n_devices > 1)
        rc =
            rc ? rc
               : buf_printf(out,
                            "            by rows          attn_q, attn_k, attn_v: %d heads and %d of keys "
                            "and values "
                            "each; ffn_gate, ffn_up: %d rows; output: %d\n"
                            "            by columns       attn_output, ffn_down; the devices add up after "
                            "each: %s a "
                            "token\n",
                            p->heads, p->kv_heads, p->ffn_dim, p->vocab, fit_size(a, p->sum_bytes_per_token));
    rc = rc ? rc
            : buf_printf(out,
                         "            weights          %s on each: %s of its own, %s that all have\n"
                         "            reserve          %s for the batch and the runtime\n"
                         "            keys and values  %llu bytes per token on each\n",
                         fit_size(a, weights), fit_size(b, p->cut_bytes), fit_size(c, p->whole_bytes),
                         "2.0 GiB", (unsigned long long)p->kv_bytes_per_token);
    if (rc == 0 && p->tokens >= KERNELS_PAGE_TOKENS)
        rc = buf_printf(out, "fits        yes, with %llu tokens, %.1f times the context of %d\n",
                        (unsigned long long)p->tokens, (double)p->tokens / m->n_ctx_train, m->n_ctx_train);
    else if (rc == 0)
        rc = buf_printf(out, "fits        no: %s are missing on each device\n",
                        fit_size(a, weights + SPLIT_RESERVE_BYTES +
                                        KERNELS_PAGE_TOKENS * p->kv_bytes_per_token - p->device_bytes));
    return rc;
}
