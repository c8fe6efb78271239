/* How much memory a CPU device takes: what its batches have used, no more; and that it says how much that can
 * become. */
#include "kernels/cpu/cpu.h"
#include "tests/kernels/random_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB     (1 << 20)
#define ROWS    256
#define OUTPUTS 80
#define CONTEXT 256

/* Wide where no product is, so that the buffers are large and the test is quick. */
static const struct random_shape shape = {.n_layers = 1,
                                          .n_heads = 8,
                                          .n_kv_heads = 8,
                                          .head_dim = 16,
                                          .dim = 64,
                                          .ffn_dim = 16384,
                                          .n_vocab = 65536,
                                          .type = DTYPE_Q8_0,
                                          .seed = 3};

/* Bytes of this process that are its own and in memory, so far. */
static double own_bytes(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtol(line + 8, NULL, 10);
    assert_int_equal(fclose(f), 0);
    assert_true(kib > 0);
    return (double)kib * 1024;
}

static void run(struct kernels_device *d, int n_rows, int n_outputs) {
    static struct kernels_row rows[ROWS];
    int32_t pages[CONTEXT / KERNELS_PAGE_TOKENS] = {0, 1, 2, 3}, outputs[OUTPUTS];
    char err[200] = "";
    for (int i = 0; i < n_rows; i++)
        rows[i] = (struct kernels_row){.token = i, .position = i};
    for (int i = 0; i < n_outputs; i++)
        outputs[i] = n_rows - n_outputs + i;
    struct kernels_batch batch = {.rows = rows,
                                  .n_rows = n_rows,
                                  .pages = pages,
                                  .pages_stride = CONTEXT / KERNELS_PAGE_TOKENS,
                                  .outputs = outputs,
                                  .n_outputs = n_outputs};
    d->ops->begin(d, &batch);
    d->ops->embed(d);
    d->ops->attn_in(d, 0);
    d->ops->attention(d, 0);
    d->ops->attn_out(d, 0);
    d->ops->ffn_in(d, 0);
    d->ops->ffn_out(d, 0);
    d->ops->logits(d);
    if (d->ops->sync(d, err, sizeof err) < 0)
        fail_msg("%s", err);
}

static void test_memory_is_what_batches_used(void **state) {
    (void)state;
    struct kernels_model m;
    struct kernels_device *d = NULL;
    char err[200] = "";
    random_model_init(&m, &shape);
    struct kernels_config config = {.model = m,
                                    .max_rows = ROWS,
                                    .max_outputs = OUTPUTS,
                                    .max_context = CONTEXT,
                                    .n_pages = CONTEXT / KERNELS_PAGE_TOKENS,
                                    .kv_type = DTYPE_F32,
                                    .n_threads = 1};
    double most = (double)cpu_scratch_bytes(&config), logits = (double)OUTPUTS * shape.n_vocab * 4;
    double before = own_bytes();
    if (cpu_open(&config, NULL, &d, err, sizeof err) < 0)
        fail_msg("%s", err);
    double opened = own_bytes() - before;
    run(d, 4, 1);
    double small = own_bytes() - before;
    run(d, ROWS, 1);
    double rows = own_bytes() - before;
    run(d, ROWS, OUTPUTS);
    double all = own_bytes() - before, kv = (double)config.n_pages * (double)d->ops->page_bytes(d);
    print_message("opened %.1f MiB, 4 rows %.1f, %d rows %.1f, %d outputs %.1f; at most %.1f and %.1f of "
                  "keys and values\n",
                  opened / MIB, small / MIB, ROWS, rows / MIB, OUTPUTS, all / MIB, most / MIB, kv / MIB);
    assert_true(opened < 2 * MIB);
    assert_true(small < 4 * MIB);
    assert_true(rows < most - logits + 4 * MIB);
    assert_true(all < most + kv + 4 * MIB);
    assert_true(all > most - 4 * MIB); /* it does not say more than it is, either */
    d->ops->close(d);
    random_model_finish(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory_is_what_batches_used)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
