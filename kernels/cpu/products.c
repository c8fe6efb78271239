/* Matrix products of the CPU device, cut into chunks of stored rows. */
#include "kernels/cpu/convert.h"
#include "kernels/cpu/device.h"
#include "kernels/dtype.h"

/* Inputs of one block of columns should stay in the second-level cache while stored rows stream past. */
#define COLUMN_BLOCK_BYTES (192 * 1024)
/* Multiply-adds below which a job stays on the calling thread: some 80 µs. Handing over costs a wake-up and,
 * on a busy machine, waiting for a helper that has just lost its CPU, which eats up what shorter jobs would
 * save. */
#define MIN_SHARED_WORK (4 << 20)

void cpu_run_job(struct cpu_device *d, void (*fn)(void *, int, int), void *arg, int n_chunks, int64_t work) {
    if (work >= MIN_SHARED_WORK) {
        pool_run(d->pool, fn, arg, n_chunks);
        return;
    }
    for (int i = 0; i < n_chunks; i++)
        fn(arg, i, 0);
}

static bool wants_rounded(const struct cpu_device *d, const struct tensor *w) {
    return !d->config.exact && dtype_info(w->type)->block_elements > 1;
}

static void product_rows(const struct products *p, int which, int first, int n_rows) {
    struct cpu_device *d = p->d;
    const struct tensor *w = p->w[which];
    const uint8_t *rows = (const uint8_t *)w->data + convert_row_bytes(w->type, w->cols) * (size_t)first;
    bool rounded = wants_rounded(d, w);
    const uint8_t *input = rounded ? d->rounded : (const uint8_t *)(const void *)p->input;
    size_t stride = rounded ? CPU_Q8_ROW_BYTES(p->k) : p->input_stride * sizeof(float);
    cpu_product_fn product = rounded ? d->ops->product_q8 : d->ops->product;
    int block = (int)(COLUMN_BLOCK_BYTES / stride) / 12 * 12;
    block = block < 12 ? 12 : block;
    for (int c = 0; c < p->n_cols; c += block) {
        int n = p->n_cols - c < block ? p->n_cols - c : block;
        product(w->type, rows, n_rows, input + (size_t)c * stride, stride, n, p->k,
                p->out[which] + (size_t)c * p->out_stride[which] + first, p->out_stride[which]);
    }
    for (int c = 0; c < p->n_cols && w->row_scales != NULL; c++) {
        float *out = p->out[which] + (size_t)c * p->out_stride[which] + first;
        for (int r = 0; r < n_rows; r++)
            out[r] *= w->row_scales[first + r];
    }
}

static void product_chunk(void *arg, int chunk, int thread) {
    (void)thread;
    const struct products *p = arg;
    int which = 0;
    while (chunk >= p->first_chunk[which + 1])
        which++;
    int first = (chunk - p->first_chunk[which]) * p->rows_per_chunk;
    int rows = (int)p->w[which]->rows - first;
    rows = rows < p->rows_per_chunk ? rows : p->rows_per_chunk;
    product_rows(p, which, first, rows);
    if (p->gated) {
        product_rows(p, 1, first, rows);
        for (int c = 0; c < p->n_cols; c++)
            p->d->ops->silu_mul(p->out[0] + (size_t)c * p->out_stride[0] + first,
                                p->out[1] + (size_t)c * p->out_stride[1] + first, rows);
    }
    if (p->residual != NULL)
        for (int c = 0; c < p->n_cols; c++)
            p->d->ops->add(p->residual + (size_t)c * p->out_stride[0] + first,
                           p->out[0] + (size_t)c * p->out_stride[0] + first, rows);
}

struct rounding {
    struct cpu_device *d;
    const float *input;
    size_t input_stride;
    int n_cols, k;
};

static void round_chunk(void *arg, int chunk, int thread) {
    (void)thread;
    const struct rounding *r = arg;
    int last = chunk * 8 + 8 < r->n_cols ? chunk * 8 + 8 : r->n_cols;
    for (int c = chunk * 8; c < last; c++)
        r->d->ops->quantise(r->d->rounded + (size_t)c * CPU_Q8_ROW_BYTES(r->k),
                            r->input + (size_t)c * r->input_stride, r->k);
}

void cpu_run_products(struct products *p) {
    struct cpu_device *d = p->d;
    bool rounded = false;
    int64_t total = 0;
    int n = p->gated ? 1 : p->n;
    for (int i = 0; i < p->n; i++)
        rounded = rounded || wants_rounded(d, p->w[i]);
    for (int i = 0; i < n; i++)
        total += p->w[i]->rows;
    if (rounded) {
        struct rounding r = {d, p->input, p->input_stride, p->n_cols, p->k};
        cpu_run_job(d, round_chunk, &r, (p->n_cols + 7) / 8, (int64_t)p->n_cols * p->k * 2);
    }
    /* About eight chunks per thread, so that a thread that was descheduled is made up for; never below 16
     * rows. */
    int64_t rows = total / (pool_n_threads(d->pool) * 8);
    p->rows_per_chunk = (int)(rows < 16 ? 16 : (rows + 3) / 4 * 4);
    p->first_chunk[0] = 0;
    for (int i = 0; i < n; i++)
        p->first_chunk[i + 1] =
            p->first_chunk[i] + (int)((p->w[i]->rows + p->rows_per_chunk - 1) / p->rows_per_chunk);
    cpu_run_job(d, product_chunk, p, p->first_chunk[n], total * (p->gated ? 2 : 1) * p->k * p->n_cols);
}
