/* A GPU that hangs, without any error: whoever waits for it gets one in the end, and nothing after that waits
 * again. One that is only slow does its work. On the emulated GPU, told to stall. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/host.h"
#include "kernels/cuda/upload.h"
#include "kernels/cuda/wait.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/parity.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define FOR_EVER UINT_MAX
#define SENTENCE "The GPU has failed: it has not done its work within 0.2 s, the limit gpu_wait_ms."

static const struct random_shape shape = {.n_layers = 2,
                                          .n_heads = 4,
                                          .n_kv_heads = 4,
                                          .head_dim = 16,
                                          .dim = 64,
                                          .ffn_dim = 64,
                                          .n_vocab = 40,
                                          .type = DTYPE_BF16,
                                          .seed = 3};
static struct kernels_model model;
static const int32_t pages[PARITY_STRIDE] = {0};
static const int32_t output = 0;
static const struct kernels_row row = {.token = 1};
static const struct kernels_batch batch = {.rows = &row,
                                           .n_rows = 1,
                                           .pages = pages,
                                           .pages_stride = PARITY_STRIDE,
                                           .outputs = &output,
                                           .n_outputs = 1};

static int open_device(int n_gpus, int wait_ms, struct kernels_device **out, char *err, size_t errlen) {
    struct kernels_config config = parity_config(&model, DTYPE_F32);
    config.gpu_wait_ms = wait_ms;
    config.gpus.n = n_gpus;
    for (int i = 0; i < n_gpus; i++)
        config.gpus.ids[i] = i;
    return hermesd_cuda_open(CUDA_MODULE_VERSION, &config, out, err, errlen);
}

static struct kernels_device *must_open(int n_gpus, int wait_ms) {
    struct kernels_device *d = NULL;
    char err[300] = "";
    emu_set_gpus(n_gpus);
    if (open_device(n_gpus, wait_ms, &d, err, sizeof err) < 0)
        fail_msg("%s", err);
    return d;
}

static void works_again(void) {
    emu_set_stalled(0);
    emu_set_failure(NULL);
    assert_int_equal(emu_memory_used(), 0);
}

static double seconds(clockid_t clock) {
    struct timespec t;
    assert_int_equal(clock_gettime(clock, &t), 0);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The steps of a batch, but for sync(). */
static void begin(struct kernels_device *d) {
    d->ops->begin(d, &batch);
    d->ops->embed(d);
    for (int l = 0; l < model.n_layers; l++) {
        d->ops->attn_in(d, l);
        d->ops->attention(d, l);
        d->ops->attn_out(d, l);
        d->ops->ffn_in(d, l);
        d->ops->ffn_out(d, l);
    }
    d->ops->logits(d);
}

static void check_hangs(int n_gpus, bool before) {
    struct kernels_device *d = must_open(n_gpus, 200);
    char err[300];
    float x[64];
    if (before)
        parity_steps(d, &batch, model.n_layers); /* then its graph runs again */
    emu_set_stalled(FOR_EVER);
    double from = seconds(CLOCK_MONOTONIC);
    begin(d);
    assert_int_equal(d->ops->sync(d, err, sizeof err), -EIO);
    assert_true(seconds(CLOCK_MONOTONIC) - from >= 0.2);
    assert_string_equal(err, SENTENCE);
    emu_set_stalled(0);
    emu_set_stalled(FOR_EVER); /* it would still hang: none of these waits */
    for (int i = 0; i < 2; i++) {
        begin(d);
        assert_int_equal(d->ops->peek(d, KERNELS_STATE_X, 0, x), -EIO);
        assert_int_equal(d->ops->sync(d, err, sizeof err), -EIO);
        assert_string_equal(err, SENTENCE);
    }
    d->ops->close(d);
    works_again();
}

static void test_a_step_that_never_ends(void **state) {
    (void)state;
    check_hangs(1, false);
    check_hangs(1, true);
}

static void test_a_step_of_several(void **state) {
    (void)state;
    check_hangs(2, false);
    check_hangs(2, true);
    check_hangs(4, true);
}

/* Nobody waited before: closing does, for as long as the limit says. */
static void test_closing(void **state) {
    (void)state;
    for (int n = 1; n <= 2; n++) {
        struct kernels_device *d = must_open(n, 200);
        emu_set_stalled(FOR_EVER);
        begin(d);
        d->ops->close(d);
        assert_non_null(strstr(gpu_failure(), "gpu_wait_ms"));
        works_again();
    }
}

/* It stands still for longer than a waiting thread stays awake, and then goes on: the same logits. */
static void test_a_slow_step(void **state) {
    (void)state;
    static const unsigned looks[] = {1, 3, 300};
    size_t bytes = (size_t)model.n_vocab * sizeof(float);
    float *want = malloc(bytes);
    char err[300] = "";
    assert_non_null(want);
    for (int n = 1; n <= 2; n++) {
        struct kernels_device *d = must_open(n, 60000);
        begin(d);
        assert_int_equal(d->ops->sync(d, err, sizeof err), 0);
        memcpy(want, d->ops->output(d, 0), bytes);
        for (size_t i = 0; i < sizeof looks / sizeof looks[0]; i++) {
            begin(d);
            emu_set_stalled(looks[i]);
            if (d->ops->sync(d, err, sizeof err) < 0)
                fail_msg("%s", err);
            assert_memory_equal(d->ops->output(d, 0), want, bytes);
        }
        d->ops->close(d);
        works_again();
    }
    free(want);
}

/* Of a second that is waited for, the thread works for a small part: the first 50 ms, and a look now and
 * then.
 */
static void test_waiting_leaves_the_cpu_alone(void **state) {
    (void)state;
    struct kernels_device *d = must_open(1, 1000);
    char err[300];
    emu_set_stalled(FOR_EVER);
    double from = seconds(CLOCK_THREAD_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
    begin(d);
    assert_int_equal(d->ops->sync(d, err, sizeof err), -EIO);
    double worked = seconds(CLOCK_THREAD_CPUTIME_ID) - from;
    wall = seconds(CLOCK_MONOTONIC) - wall;
    print_message("%.0f ms of work in %.0f ms of waiting\n", worked * 1e3, wall * 1e3);
    assert_true(wall >= 1 && worked < 0.3);
    d->ops->close(d);
    works_again();
}

static void test_uploads(void **state) {
    (void)state;
    struct upload *u = NULL;
    struct kernels_device *d = NULL;
    char err[300] = "";
    void *memory = gpu_alloc(4096, GPU_KEPT);
    wait_set_limit(200);
    for (int taken = 0; taken < 2; taken++) { /* what is waited for: a piece, or all of it */
        assert_int_equal(upload_open(4096, &u), 0);
        emu_set_stalled(FOR_EVER);
        for (int i = 0; i < 2; i++) {
            uint8_t *piece = upload_take(u, 4096);
            assert_non_null(piece);
            assert_int_equal(upload_copy(u, memory, piece, 4096), 0);
        }
        if (taken)
            assert_null(upload_take(u, 4096));
        else
            assert_int_equal(upload_wait(u), -EIO);
        assert_non_null(strstr(gpu_failure(), "within 0.2 s"));
        upload_close(u);
        emu_set_stalled(0);
        emu_set_failure(NULL);
    }
    gpu_free(memory);
    emu_set_stalled(FOR_EVER); /* a device that is being opened */
    assert_true(open_device(1, 200, &d, err, sizeof err) < 0);
    assert_non_null(strstr(err, "it has not done its work within 0.2 s, the limit gpu_wait_ms"));
    works_again();
}

static void test_pages_that_move(void **state) {
    (void)state;
    for (int n = 1; n <= 2; n++) {
        struct kernels_device *d = must_open(n, 200);
        char err[300];
        size_t bytes = d->ops->page_bytes(d);
        uint8_t *host = d->ops->alloc_host(d, bytes);
        assert_non_null(host);
        parity_steps(d, &batch, model.n_layers);
        emu_set_stalled(FOR_EVER);
        d->ops->store_page(d, 0, host);
        d->ops->fetch_page(d, 1, host);
        d->ops->free_host(d, host);
        assert_int_equal(d->ops->sync(d, err, sizeof err), -EIO);
        assert_string_equal(err, SENTENCE);
        assert_int_equal(d->ops->read_page(d, 0, host), -EIO);
        d->ops->close(d);
        works_again();
    }
}

static int set_up(void **state) {
    (void)state;
    random_model_init(&model, &shape);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    random_model_finish(&model);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_step_that_never_ends),
        cmocka_unit_test(test_a_step_of_several),
        cmocka_unit_test(test_closing),
        cmocka_unit_test(test_a_slow_step),
        cmocka_unit_test(test_uploads),
        cmocka_unit_test(test_pages_that_move),
        cmocka_unit_test(test_waiting_leaves_the_cpu_alone),
    };
    return cmocka_run_group_tests_name("a GPU that hangs", tests, set_up, tear_down);
}
