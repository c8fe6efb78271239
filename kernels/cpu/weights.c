/* Weights that lie in a mapped file get their page tables before the first batch. Otherwise the first prompt
 * pays for them (a third of its time, 1 GB), and the hardware ignores requests for lines of unmapped pages,
 * which the products make well ahead. */
#include "kernels/cpu/device.h"
#include "kernels/dtype.h"

#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

static void populate(const struct tensor *t) {
    if (t->data == NULL)
        return;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)t->data / page * page;
    uintptr_t to = (uintptr_t)t->data + dtype_row_bytes(t->type, t->cols) * (size_t)t->rows;
    /* A hint: what fails here (an older kernel, an unreadable page) shows when the weights are used. */
    (void)madvise((void *)from, (to - from + page - 1) / page * page, MADV_POPULATE_READ);
}

void cpu_populate_weights(const struct kernels_model *m) {
    for (int l = 0; l < m->n_layers; l++) {
        const struct kernels_layer *y = &m->layers[l];
        const struct tensor *all[] = {&y->wq, &y->wk, &y->wv, &y->wo, &y->w_gate, &y->w_up, &y->w_down};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
            populate(all[i]);
    }
    populate(&m->output);
}
