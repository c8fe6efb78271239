/* Weights that a CPU device takes out of their file: it computes the same, and needs the file no more. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/device.h"
#include "kernels/dtype.h"
#include "tests/kernels/parity.h"
#include "tests/kernels/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define CONTEXT 128
#define ROWS    9

static const struct random_shape shape = {.n_layers = 3,
                                          .n_heads = 4,
                                          .n_kv_heads = 2,
                                          .head_dim = 64,
                                          .dim = 256,
                                          .ffn_dim = 768,
                                          .n_vocab = 500,
                                          .type = DTYPE_Q8_0,
                                          .seed = 5};

static size_t bytes_of(const struct tensor *t) {
    return dtype_row_bytes(t->type, t->cols) * (size_t)t->rows;
}

/* A file in memory with all matrices, each on an odd place; `m` gets them from a mapping of it. */
static int to_file(struct kernels_model *m, struct kernels_layer layers[], void **map, size_t *size) {
    int fd = memfd_create("weights", MFD_CLOEXEC);
    struct tensor *all[64];
    size_t at[64], n = 0, end = 32;
    assert_true(fd >= 0);
    memcpy(layers, m->layers, (size_t)m->n_layers * sizeof *layers);
    for (int l = 0; l < m->n_layers; l++) {
        struct kernels_layer *y = &layers[l];
        struct tensor *of_layer[] = {&y->wq, &y->wk, &y->wv, &y->wo, &y->w_gate, &y->w_up, &y->w_down};
        for (size_t i = 0; i < sizeof of_layer / sizeof of_layer[0]; i++)
            all[n++] = of_layer[i];
    }
    m->layers = layers;
    all[n++] = &m->output;
    for (size_t i = 0; i < n; i++) {
        at[i] = end;
        assert_int_equal(pwrite(fd, all[i]->data, bytes_of(all[i]), (off_t)end), bytes_of(all[i]));
        end += bytes_of(all[i]) + 32;
    }
    *size = end;
    assert_int_equal(ftruncate(fd, (off_t)end), 0);
    *map = mmap(NULL, end, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_true(*map != MAP_FAILED);
    for (size_t i = 0; i < n; i++)
        all[i]->data = (const uint8_t *)*map + at[i];
    return fd;
}

static struct kernels_device *open_device(const struct kernels_model *m, enum kernels_copy copy) {
    struct kernels_config config = {.model = *m,
                                    .max_rows = ROWS,
                                    .max_outputs = 1,
                                    .max_context = CONTEXT,
                                    .n_pages = CONTEXT / KERNELS_PAGE_TOKENS,
                                    .kv_type = DTYPE_F16,
                                    .n_threads = 2,
                                    .copy_weights = copy};
    struct kernels_device *d = NULL;
    char err[200] = "";
    if (cpu_open(&config, NULL, &d, err, sizeof err) < 0)
        fail_msg("%s", err);
    return d;
}

static void run(struct kernels_device *d, const struct kernels_model *m) {
    static const int32_t pages[CONTEXT / KERNELS_PAGE_TOKENS] = {1, 0}, outputs[] = {ROWS - 1};
    struct kernels_row rows[ROWS];
    for (int i = 0; i < ROWS; i++)
        rows[i] = (struct kernels_row){.token = i * 31 % m->n_vocab, .position = i};
    struct kernels_batch batch = {.rows = rows,
                                  .n_rows = ROWS,
                                  .pages = pages,
                                  .pages_stride = CONTEXT / KERNELS_PAGE_TOKENS,
                                  .outputs = outputs,
                                  .n_outputs = 1};
    parity_steps(d, &batch, m->n_layers);
}

/* A model twice: in memory, and in a file that is mapped. */
struct pair {
    struct kernels_model own, mapped;
    struct kernels_layer layers[3];
    void *map;
    size_t size;
    int fd;
};

static void set_up_type(struct pair *p, enum dtype type) {
    struct random_shape of = shape;
    of.type = type;
    random_model_init(&p->own, &of);
    p->mapped = p->own;
    p->fd = to_file(&p->mapped, p->layers, &p->map, &p->size);
}

static void set_up(struct pair *p) {
    set_up_type(p, shape.type);
}

static void tear_down(struct pair *p) {
    assert_int_equal(munmap(p->map, p->size), 0);
    assert_int_equal(close(p->fd), 0);
    random_model_finish(&p->own);
}

/* From now on reading the mapping is a bus error. */
static void cut_off(struct pair *p) {
    assert_int_equal(ftruncate(p->fd, 0), 0);
}

static void compare(struct kernels_device *got, struct kernels_device *want, const struct pair *p) {
    run(got, &p->mapped);
    assert_memory_equal(got->ops->output(got, 0), want->ops->output(want, 0),
                        (size_t)p->own.n_vocab * sizeof(float));
}

/* Also where rows come to lie side by side; the vocabulary is no multiple of a strip. */
static void check_type(enum dtype type) {
    struct pair p;
    set_up_type(&p, type);
    struct kernels_device *want = open_device(&p.own, KERNELS_COPY_NOT),
                          *got = open_device(&p.mapped, KERNELS_COPY_FIRST);
    cut_off(&p);
    run(want, &p.own);
    compare(got, want, &p);
    got->ops->close(got);
    want->ops->close(want);
    tear_down(&p);
}

static void test_a_copy_needs_no_file(void **state) {
    (void)state;
    static const enum dtype types[] = {DTYPE_Q8_0, DTYPE_Q4_0, DTYPE_Q4_K, DTYPE_Q6_K, DTYPE_F16, DTYPE_F32};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        check_type(types[i]);
}

/* While the weights are copied batches run, on what is in the file or is not any more, with the same bits. */
static void test_copied_while_batches_run(void **state) {
    (void)state;
    struct pair p;
    set_up(&p);
    struct kernels_device *want = open_device(&p.own, KERNELS_COPY_NOT);
    struct kernels_device *got = open_device(&p.mapped, KERNELS_COPY_WHILE);
    const struct cpu_device *d = (const struct cpu_device *)(const void *)got;
    run(want, &p.own);
    for (int n = 0; n < 100000 && (n < 3 || d->weights_taken < d->n_weights); n++)
        compare(got, want, &p);
    assert_int_equal(d->weights_taken, 3 * 7 + 1);
    cut_off(&p);
    compare(got, want, &p);
    got->ops->close(got);
    want->ops->close(want);
    tear_down(&p);
}

/* A device may go before its weights have come. */
static void test_closed_while_they_are_copied(void **state) {
    (void)state;
    struct pair p;
    set_up(&p);
    for (int i = 0; i < 10; i++) {
        struct kernels_device *d = open_device(&p.mapped, KERNELS_COPY_WHILE);
        d->ops->close(d);
    }
    tear_down(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_copy_needs_no_file),
                                       cmocka_unit_test(test_copied_while_batches_run),
                                       cmocka_unit_test(test_closed_while_they_are_copied)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
