/* Weights on their way to the GPU: what was packed in small pieces, one written while the other is copied, is
 * what is there in the end, whatever the size of a piece; and no wait can be left out. */
#include "kernels/cpu/convert.h"
#include "kernels/cuda/pack.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/random_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROWS 37
#define COLS 512

static const enum dtype types[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_F8_E4M3, DTYPE_Q8_0,
                                   DTYPE_Q4_0, DTYPE_Q5_1, DTYPE_Q3_K, DTYPE_Q5_K,    DTYPE_Q6_K};
#define N_TYPES (int)(sizeof types / sizeof types[0])

static struct tensor tensors[N_TYPES];

static size_t plane_bytes(const struct cuda_matrix *m, int k) {
    const size_t row[3] = {(size_t)m->chunks * 16, (size_t)m->high_bytes, (size_t)m->scale_bytes};
    return row[k] * (size_t)m->rows;
}

/* What lies on the GPU, as one block of memory. */
static uint8_t *fetch(const struct cuda_matrix *m, size_t *n) {
    const void *planes[3] = {m->values, m->high, m->scales};
    *n = plane_bytes(m, 0) + plane_bytes(m, 1) + plane_bytes(m, 2);
    uint8_t *all = malloc(*n), *at = all;
    assert_non_null(all);
    for (int k = 0; k < 3; k++) {
        if (plane_bytes(m, k) > 0)
            assert_int_equal(gpu_download_now(at, planes[k], plane_bytes(m, k)), 0);
        at += plane_bytes(m, k);
    }
    return all;
}

struct packed {
    uint8_t *bytes[N_TYPES];
    size_t n[N_TYPES];
};

/* All tensors, one behind the other, in pieces of `piece` bytes. Returns the number of waits. */
static int pack_all(size_t piece, uint64_t left_out, struct packed *out) {
    struct upload *u = NULL;
    struct cuda_matrix m[N_TYPES];
    char err[300] = "";
    assert_int_equal(upload_open(piece, &u), 0);
    uint64_t before = emu_event_waits();
    emu_leave_out_wait(left_out > 0 ? before + left_out : 0);
    for (int i = 0; i < N_TYPES; i++)
        if (pack_queue(u, &tensors[i], false, &m[i], err, sizeof err) < 0)
            fail_msg("%s", err);
    int n_waits = (int)(emu_event_waits() - before);
    emu_leave_out_wait(0);
    assert_int_equal(upload_wait(u), 0);
    for (int i = 0; i < N_TYPES; i++) {
        out->bytes[i] = fetch(&m[i], &out->n[i]);
        pack_free(&m[i]);
    }
    upload_close(u);
    assert_int_equal(emu_memory_used(), 0);
    return n_waits;
}

static bool is_same(struct packed *got, const struct packed *want) {
    bool same = true;
    for (int i = 0; i < N_TYPES; i++) {
        assert_int_equal(got->n[i], want->n[i]);
        same = same && memcmp(got->bytes[i], want->bytes[i], want->n[i]) == 0;
        free(got->bytes[i]);
    }
    return same;
}

static void finish(struct packed *p) {
    for (int i = 0; i < N_TYPES; i++)
        free(p->bytes[i]);
}

static void test_any_piece(void **state) {
    (void)state;
    static const size_t sizes[] = {16, 3000, 5000, 20000, 90000};
    struct packed want, got;
    (void)pack_all(1 << 20, 0, &want); /* a tensor fits, so all that matters is one piece for each */
    assert_memory_equal(want.bytes[0], tensors[0].data, want.n[0]);
    for (int order = 0; order < 3; order++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            emu_set_order(order == 0 ? EMU_FORWARD : order == 1 ? EMU_BACKWARD : EMU_RANDOM, i);
            (void)pack_all(sizes[i], 0, &got);
            assert_true(is_same(&got, &want));
        }
    finish(&want);
}

/* From the third piece on, each waits for its copy of before, and for no other. */
static void test_no_wait_can_be_left_out(void **state) {
    (void)state;
    struct packed want, got;
    emu_set_order(EMU_FORWARD, 0);
    int n = pack_all(9000, 0, &want);
    for (int k = 3; k <= n; k++) {
        (void)pack_all(9000, (uint64_t)k, &got);
        if (is_same(&got, &want))
            fail_msg("wait %d of %d was left out, and nothing was seen", k, n);
    }
    print_message("%d waits, each of them needed but the first two\n", n);
    assert_true(n > 20);
    finish(&want);
}

/* Memory that runs out, on either side, and a GPU that fails. */
static void test_failures(void **state) {
    (void)state;
    struct cuda_matrix m = {.rows = 77};
    struct upload *u = NULL;
    char err[300] = "";
    assert_int_equal(upload_open(9000, &u), 0);
    for (size_t room = 100; room < 70000; room += 9000) {
        emu_set_memory(room);
        assert_int_equal(pack_queue(u, &tensors[0], false, &m, err, sizeof err), -ENOMEM);
        assert_non_null(strstr(err, "the next matrix needs"));
        assert_int_equal(m.rows, 77);
    }
    emu_set_memory((size_t)16 << 30);
    assert_int_equal(pack_queue(u, &tensors[0], false, &m, err, sizeof err), 0);
    emu_set_failure("a test");
    assert_int_equal(pack_queue(u, &tensors[1], false, &m, err, sizeof err), -EIO);
    assert_non_null(strstr(err, "a test"));
    assert_true(upload_wait(u) < 0);
    emu_set_failure(NULL);
    assert_int_equal(upload_wait(u), 0);
    pack_free(&m);
    upload_close(u);
    upload_close(NULL);
    assert_int_equal(emu_memory_used(), 0);
}

static int set_up(void **state) {
    (void)state;
    uint64_t seed = 4;
    for (int i = 0; i < N_TYPES; i++)
        tensors[i] = random_tensor(types[i], ROWS, COLS, 1, &seed);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int i = 0; i < N_TYPES; i++) {
        free((void *)(uintptr_t)tensors[i].data);
        free((void *)(uintptr_t)tensors[i].row_scales);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_piece),
        cmocka_unit_test(test_no_wait_can_be_left_out),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests_name("weights to the GPU", tests, set_up, tear_down);
}
