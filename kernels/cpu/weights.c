/* Where the CPU device has its weights.
 *
 * A step reads all of them, page after page, and with pages of 4 KB the processor waits for its page tables
 * all the time; in pages of 2 MB it does not. Files are mapped in small
 * pages, so the weights are copied out of them where the engine says that there is memory for it: by a thread
 * of its own, while batches run on what is in the file, because it takes seconds. Between two batches the
 * device takes over the matrices that are done. Where the products want it copies have their rows side by
 * side (pack.h), which changes no bit of a result.
 *
 * What lies in a mapped file gets its page tables before the first batch. Otherwise the first prompt pays
 * for them (a third of its time, 1 GB), and the hardware ignores requests for lines of unmapped pages, which
 * the products make well ahead. */
#include "kernels/cpu/device.h"
#include "kernels/cpu/pack.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

#define LARGE_PAGE ((size_t)2 << 20)
#define PIECE      ((size_t)8 << 20) /* copied at a time */
#define MATRICES   7                 /* of a layer */
#define BEGINNING  128               /* bytes; a matrix begins on a multiple */

static size_t bytes_of(const struct tensor *t) {
    return t->data == NULL ? 0 : dtype_row_bytes(t->type, t->cols) * (size_t)t->rows;
}

/* Matrix i of a layer, 0 … MATRICES - 1. */
static struct tensor *matrix(struct kernels_layer *l, int i) {
    struct tensor *const all[MATRICES] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->w_gate, &l->w_up, &l->w_down};
    return all[i];
}

/* ---- in the file ---- */

/* The whole pages that hold `bytes` from `at` on. */
static void advise(const void *at, size_t bytes, int advice) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)at / page * page;
    /* A hint: what fails here (an older kernel, an unreadable page) shows when the weights are used. */
    (void)madvise((void *)from, ((uintptr_t)at + bytes - from + page - 1) / page * page, advice);
}

static void populate(const struct kernels_model *m) {
    for (int l = 0; l < m->n_layers; l++)
        for (int i = 0; i < MATRICES; i++) {
            struct kernels_layer layer = m->layers[l];
            const struct tensor *t = matrix(&layer, i);
            if (t->data != NULL)
                advise(t->data, bytes_of(t), MADV_POPULATE_READ);
        }
    if (m->output.data != NULL)
        advise(m->output.data, bytes_of(&m->output), MADV_POPULATE_READ);
}

/* ---- in large pages ---- */

static struct tensor *nth(struct cpu_device *d, int i) {
    int n = d->config.model.n_layers * MATRICES;
    return i < n ? matrix(&d->layers[i / MATRICES], i % MATRICES) : &d->config.model.output;
}

static bool packs(const struct cpu_device *d, const struct tensor *t) {
    return d->ops->product_packed != NULL &&
           (dtype_info(t->type)->block_elements == 1 || cpu_wants_rounded(d, t));
}

bool cpu_weights_packed(const struct cpu_device *d, const struct tensor *w) {
    const uint8_t *at = w->data;
    return d->weights != NULL && at >= d->weights && at < d->weights + d->weight_bytes && packs(d, w);
}

/* Of a copy. */
static size_t padded(const struct cpu_device *d, const struct tensor *t) {
    size_t bytes = packs(d, t) ? pack_bytes(t->type, t->rows, t->cols) : bytes_of(t);
    return (bytes + BEGINNING - 1) / BEGINNING * BEGINNING;
}

/* Copies tensor i, piece by piece, so that little is in memory twice; false when it was told to stop. A batch
 * that runs may read the file meanwhile, and gets its pages again. */
static bool copy_tensor(struct cpu_device *d, int i) {
    const struct tensor *t = nth(d, i);
    const uint8_t *from = d->weight_from[i];
    uint8_t *to = d->weights + d->weight_at[i];
    size_t row_bytes = dtype_row_bytes(t->type, t->cols);
    int64_t most = (int64_t)(PIECE / row_bytes) / PACK_ROWS * PACK_ROWS;
    most = most > 0 ? most : PACK_ROWS;
    for (int64_t row = 0; row < t->rows && !atomic_load(&d->weights_stop); row += most) {
        int64_t rows = t->rows - row < most ? t->rows - row : most;
        size_t at = row_bytes * (size_t)row, n = row_bytes * (size_t)rows;
        advise(from + at, n, MADV_POPULATE_READ);
        if (packs(d, t))
            pack_rows(t->type, from + at, rows, t->cols, to + at);
        else
            memcpy(to + at, from + at, n);
        advise(from + at, n, MADV_DONTNEED);
    }
    return !atomic_load(&d->weights_stop);
}

static void *copy_all(void *arg) {
    struct cpu_device *d = arg;
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), d->config.nice);
    for (int i = 0; i < d->n_weights && copy_tensor(d, i); i++)
        atomic_store_explicit(&d->weights_copied, i + 1, memory_order_release);
    return NULL;
}

void cpu_weights_take(struct cpu_device *d) {
    int copied = atomic_load_explicit(&d->weights_copied, memory_order_acquire);
    for (; d->weights_taken < copied; d->weights_taken++) {
        struct tensor *t = nth(d, d->weights_taken);
        t->data = d->weights + d->weight_at[d->weights_taken];
        advise(d->weight_from[d->weights_taken], bytes_of(t), MADV_DONTNEED);
    }
}

/* Room for all of them and where each begins; -ENOMEM. */
static int make_room(struct cpu_device *d, int n) {
    const struct kernels_model *m = &d->config.model;
    size_t total = 0;
    d->layers = malloc((size_t)m->n_layers * sizeof *d->layers);
    d->weight_at = malloc((size_t)n * sizeof *d->weight_at);
    d->weight_from = malloc((size_t)n * sizeof *d->weight_from);
    if (d->layers == NULL || d->weight_at == NULL || d->weight_from == NULL)
        return -ENOMEM;
    memcpy(d->layers, m->layers, (size_t)m->n_layers * sizeof *d->layers);
    for (int i = 0; i < n; i++) {
        d->weight_at[i] = total;
        d->weight_from[i] = nth(d, i)->data;
        total += padded(d, nth(d, i));
    }
    d->weight_bytes = (total + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE + LARGE_PAGE;
    d->weight_map = mmap(NULL, d->weight_bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (d->weight_map == MAP_FAILED) {
        d->weight_map = NULL;
        return -ENOMEM;
    }
    d->weights = (uint8_t *)(((uintptr_t)d->weight_map + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE);
    (void)madvise(d->weights, d->weight_bytes - LARGE_PAGE, MADV_HUGEPAGE);
    return 0;
}

void cpu_weights_init(struct cpu_device *d) {
    populate(&d->config.model);
    int n = d->config.model.n_layers * MATRICES + (d->config.model.output.data != NULL ? 1 : 0);
    if (d->config.copy_weights == KERNELS_COPY_NOT || make_room(d, n) < 0)
        return;
    d->config.model.layers = d->layers;
    d->n_weights = n;
    d->weights_thread_runs = pthread_create(&d->weights_thread, NULL, copy_all, d) == 0;
    if (d->config.copy_weights == KERNELS_COPY_FIRST && d->weights_thread_runs) {
        (void)pthread_join(d->weights_thread, NULL);
        d->weights_thread_runs = false;
        cpu_weights_take(d);
    }
}

void cpu_weights_finish(struct cpu_device *d) {
    atomic_store(&d->weights_stop, true);
    if (d->weights_thread_runs)
        (void)pthread_join(d->weights_thread, NULL);
    if (d->weight_map != NULL)
        (void)munmap(d->weight_map, d->weight_bytes);
    free(d->weight_from);
    free(d->weight_at);
    free(d->layers);
}
