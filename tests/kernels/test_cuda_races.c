/* The kernels of the CUDA device, watched: no two threads use the same shared memory without a barrier
 * between them, no two blocks the same device memory without a fence. Kernels with such a fault, whose
 * results are right all the same, are found. */
#include "kernels/cpu/cpu.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/steps.h"
#include "tests/emulator/apart.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/attention_case.h"
#include "tests/kernels/parity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Names for the two ways that attention is queued, and for products. */
#define PLAIN(name)                                                                                          \
    int mutant_##name(struct gpu_stream *s, const struct cuda_attention *p, int n_rows, int splits);
#define TENSOR(name)                                                                                         \
    int mutant_##name(struct gpu_stream *s, const struct cuda_attention *p, int n_singles, int n_tiles,      \
                      int splits);
#define WIDE(name)                                                                                           \
    int mutant_##name(struct gpu_stream *s, const struct cuda_product *p, int family, int n_rows);
#define MUTANT(name) PLAIN(name)
#include <plain/mutants.inc>
#undef MUTANT
#define MUTANT(name) TENSOR(name)
#include <tensor/mutants.inc>
#undef MUTANT
#define MUTANT(name) WIDE(name)
#include <wide/mutants.inc>
#undef MUTANT

static const struct {
    const char *name;
    int (*run)(struct gpu_stream *s, const struct cuda_attention *p, int n_rows, int splits);
} plain[] = {
#define MUTANT(name) {#name, mutant_##name},
#include <plain/mutants.inc>
};
static const struct {
    const char *name;
    int (*run)(struct gpu_stream *s, const struct cuda_attention *p, int n_singles, int n_tiles, int splits);
} tensor[] = {
#include <tensor/mutants.inc>
};
static const struct {
    const char *name;
    int (*run)(struct gpu_stream *s, const struct cuda_product *p, int family, int n_rows);
} wide[] = {
#include <wide/mutants.inc>
#undef MUTANT
};
#define N_PLAIN  (int)(sizeof plain / sizeof plain[0])
#define N_TENSOR (int)(sizeof tensor / sizeof tensor[0])
#define N_WIDE   (int)(sizeof wide / sizeof wide[0])

static int plain_now, tensor_now, wide_now; /* 0: as they are */

int steps_attention(struct gpu_stream *s, const struct cuda_attention *p, int n_rows, int splits) {
    return plain[plain_now].run(s, p, n_rows, splits);
}

int steps_attention_tensor(struct gpu_stream *s, const struct cuda_attention *p, int n_singles, int n_tiles,
                           int splits) {
    return tensor[tensor_now].run(s, p, n_singles, n_tiles, splits);
}

int steps_product_wide(struct gpu_stream *s, const struct cuda_product *p, int family, int n_rows) {
    return wide[wide_now].run(s, p, family, n_rows);
}

/* Whole models of one layer, far enough for rows of two parts; or not so far, but with a batch of 61 rows. */
static void run_model(enum dtype kv, enum dtype type, bool exact, bool far) {
    struct random_shape shape = {.n_layers = 1,
                                 .n_heads = 2,
                                 .n_kv_heads = 1,
                                 .head_dim = 16,
                                 .dim = 32,
                                 .ffn_dim = 32,
                                 .n_vocab = 40,
                                 .type = type};
    struct kernels_model m;
    struct parity p = {.m = &m, .bound = exact ? 3e-3 : 0.1}; /* what others test; here it is about order */
    char err[300];
    random_model_init(&m, &shape);
    struct kernels_config config = parity_config(&m, kv);
    config.exact = exact;
    assert_int_equal(cpu_reference_open(&config, &p.want, err, sizeof err), 0);
    assert_int_equal(hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &p.got, err, sizeof err), 0);
    parity_sessions(&p, far ? 130 : 0);
    p.want->ops->close(p.want);
    p.got->ops->close(p.got);
    random_model_finish(&m);
}

/* Tokens chosen in every way, of a vocabulary of two chunks, and their probabilities. */
static void run_choice(void) {
    static const int32_t pages[3 * PARITY_STRIDE] = {[PARITY_STRIDE] = 1, [2 * PARITY_STRIDE] = 2};
    static const int32_t outputs[] = {0, 1, 2}, recent[] = {5, 6, 5};
    struct random_shape shape = {.n_layers = 1,
                                 .n_heads = 2,
                                 .n_kv_heads = 1,
                                 .head_dim = 16,
                                 .dim = 32,
                                 .ffn_dim = 32,
                                 .n_vocab = 1500};
    struct kernels_model m;
    struct kernels_device *d = NULL;
    struct kernels_row rows[3];
    struct kernels_sample how[3];
    char err[300];
    random_model_init(&m, &shape);
    struct kernels_config config = parity_config(&m, DTYPE_F16);
    assert_int_equal(hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &d, err, sizeof err), 0);
    for (int i = 0; i < 3; i++) {
        rows[i] = (struct kernels_row){.token = i, .table = i};
        how[i] = (struct kernels_sample){.wanted = true,
                                         .logprobs = i > 0,
                                         .n_top = 5,
                                         .temperature = i == 0 ? 0 : 1,
                                         .top_p = i == 2 ? 0.9f : 1,
                                         .repeat_penalty = 1.2f,
                                         .draw = 0.3,
                                         .recent = recent,
                                         .n_recent = 3};
    }
    const struct kernels_batch batch = {.rows = rows,
                                        .n_rows = 3,
                                        .pages = pages,
                                        .pages_stride = PARITY_STRIDE,
                                        .outputs = outputs,
                                        .n_outputs = 3,
                                        .samples = how};
    d->ops->begin(d, &batch);
    d->ops->embed(d);
    d->ops->attn_in(d, 0);
    d->ops->attention(d, 0);
    d->ops->attn_out(d, 0);
    d->ops->ffn_in(d, 0);
    d->ops->ffn_out(d, 0);
    d->ops->logits(d);
    assert_int_equal(d->ops->sync(d, err, sizeof err), 0);
    for (int i = 0; i < 3; i++)
        assert_true(d->ops->token(d, i) >= 0);
    d->ops->close(d);
    random_model_finish(&m);
}

static void run_tensor(void) {
    static const struct attention_case c = {4, 2, 32, 250, 20, 1};
    struct attention_outcome o;
    attention_case_run(&c, 1, &o);
    assert_true(o.error < 1e-3 && o.alike && o.ready);
}

static int run_plain(void *arg) {
    (void)arg;
    run_model(DTYPE_F32, DTYPE_F32, true, true);
    return 0;
}

static int run_tensor_apart(void *arg) {
    (void)arg;
    run_tensor();
    return 0;
}

static int run_wide(void *arg) {
    (void)arg;
    run_model(DTYPE_F16, DTYPE_BF16, false, false);
    return 0;
}

static void test_right_kernels(void **state) {
    (void)state;
    emu_set_order(EMU_FORWARD, 0);
    run_model(DTYPE_F32, DTYPE_F16, true, true);
    run_model(DTYPE_F16, DTYPE_BF16, false, true);
    run_model(DTYPE_F16, DTYPE_Q8_0, false, true);
    run_wide(NULL); /* tiles that blocks share; then those of one block */
    emu_set_blas(false);
    run_model(DTYPE_F16, DTYPE_BF16, false, true);
    emu_set_blas(true);
    run_choice();
    emu_set_order(EMU_RANDOM, 1);
    run_tensor();
}

static void check(const char *name, int (*run)(void *arg)) {
    static char said[4096];
    const char *says = strstr(name, "fence") != NULL ? "no fence between" : "no barrier between";
    if (apart_run(run, NULL, 0, said, sizeof said) == 0)
        fail_msg("%s was not caught", name);
    if (strstr(said, says) == NULL)
        fail_msg("%s was caught otherwise than by '%s': %s", name, says, said);
    print_message("%-28s caught\n", name);
}

static void test_faults_are_caught(void **state) {
    (void)state;
    for (plain_now = 1; plain_now < N_PLAIN; plain_now++)
        check(plain[plain_now].name, run_plain);
    plain_now = 0;
    for (tensor_now = 1; tensor_now < N_TENSOR; tensor_now++)
        check(tensor[tensor_now].name, run_tensor_apart);
    tensor_now = 0;
    for (wide_now = 1; wide_now < N_WIDE; wide_now++)
        check(wide[wide_now].name, run_wide);
    wide_now = 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right_kernels),
        cmocka_unit_test(test_faults_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
