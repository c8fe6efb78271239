/* Matrix products of the CPU device, cut into chunks of stored rows. */
#include "kernels/cpu/convert.h"
#include "kernels/cpu/device.h"
#include "kernels/dtype.h"

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

bool cpu_wants_rounded(const struct cpu_device *d, const struct tensor *w) {
    return !d->config.exact && dtype_info(w->type)->block_elements > 1;
}

static void product_rows(const struct products *p, int which, int first, int n_rows) {
    struct cpu_device *d = p->d;
    const struct tensor *w = p->w[which];
    bool rounded = cpu_wants_rounded(d, w);
    const uint8_t *input = rounded ? d->rounded : (const uint8_t *)(const void *)p->input;
    size_t stride = rounded ? CPU_Q8_ROW_BYTES(p->k) : p->input_stride * sizeof(float);
    cpu_product_fn product = rounded ? d->ops->product_q8 : d->ops->product;
    if (cpu_weights_packed(d, w))
        d->ops->product_packed(w->type, w->data, first, n_rows, input, stride, p->n_cols, p->k,
                               p->out[which] + first, p->out_stride[which]);
    else
        product(w->type, (const uint8_t *)w->data + convert_row_bytes(w->type, w->cols) * (size_t)first,
                n_rows, input, stride, p->n_cols, p->k, p->out[which] + first, p->out_stride[which]);
    for (int c = 0; c < p->n_cols && w->row_scales != NULL; c++) {
        float *out = p->out[which] + (size_t)c * p->out_stride[which] + first;
        for (int r = 0; r < n_rows; r++)
            out[r] *= w->row_scales[first + r];
    }
}

/* Rows of one matrix, then what follows from them. */
static void finished_rows(const struct products *p, int which, int first, int rows) {
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

/* The rows of a chunk, which may belong to several matrices. */
static void product_chunk(void *arg, int chunk, int thread) {
    (void)thread;
    const struct products *p = arg;
    int first = p->first_row[chunk], last = p->first_row[chunk + 1];
    for (int which = 0; first < last; which++) {
        int rows = (int)p->w[which]->rows; /* of this matrix, the first of which is row 0 now */
        if (first < rows)
            finished_rows(p, which, first, (last < rows ? last : rows) - first);
        first = first > rows ? first - rows : 0;
        last -= rows;
    }
}

/* Inputs from which on arithmetic is what takes the time, and reading is not. */
#define MANY_INPUTS 8

/* Cuts `total` rows. Large chunks come first, because the start of each waits for memory; each has a third of
 * what would be a thread's share of the rows that are left, so that they become small, and all threads end at
 * about the same time, also when one of them was descheduled. With many inputs they do not become as small:
 * what a chunk fetches of the inputs should meet many rows. */
static void cut_rows(struct products *p, int total) {
    const int whole = 32; /* rows that stand side by side in registers */
    int threads = pool_n_threads(p->d->pool), first = 0, n = 0;
    int most = p->n_cols < MANY_INPUTS ? CPU_MAX_CHUNKS / 2 : threads * 16;
    most = most < CPU_MAX_CHUNKS / 2 ? most : CPU_MAX_CHUNKS / 2;
    int least = (total / most + whole - 1) / whole * whole;
    least = least > whole ? least : whole;
    for (; first < total; n++) {
        int rows = (total - first) / (threads * 3) / whole * whole;
        rows = rows > least ? rows : least;
        p->first_row[n] = first;
        first = total - first < rows ? total : first + rows;
    }
    p->first_row[n] = total;
    p->n_chunks = n;
}

struct rounding {
    struct cpu_device *d;
    const float *input;
    size_t input_stride;
    int n_cols, k, group;
};

static void round_chunk(void *arg, int chunk, int thread) {
    (void)thread;
    const struct rounding *r = arg;
    int last = chunk * 8 + 8 < r->n_cols ? chunk * 8 + 8 : r->n_cols;
    for (int c = chunk * 8; c < last; c++)
        r->d->ops->quantise(r->d->rounded + (size_t)c * CPU_Q8_ROW_BYTES(r->k),
                            r->input + (size_t)c * r->input_stride, r->k, r->group);
}

/* Elements of an input that are rounded together; 0: none are. Where one matrix wants 256, the others, which
 * would do with 32, have the same. */
static int rounded_by(const struct products *p) {
    int group = 0;
    for (int i = 0; i < p->n; i++) {
        int own = cpu_wants_rounded(p->d, p->w[i]) ? cpu_ops_group(p->d->ops, p->w[i]->type) : 0;
        group = own > group ? own : group;
    }
    return group;
}

void cpu_run_products(struct products *p) {
    struct cpu_device *d = p->d;
    int64_t total = 0;
    int n = p->gated ? 1 : p->n, group = rounded_by(p);
    for (int i = 0; i < n; i++)
        total += p->w[i]->rows;
    if (group > 0) {
        struct rounding r = {d, p->input, p->input_stride, p->n_cols, p->k, group};
        cpu_run_job(d, round_chunk, &r, (p->n_cols + 7) / 8, (int64_t)p->n_cols * p->k * 2);
    }
    cut_rows(p, (int)total);
    cpu_run_job(d, product_chunk, p, p->n_chunks, total * (p->gated ? 2 : 1) * p->k * p->n_cols);
}
