/* The emulated cuBLASLt refuses what the real one refuses, each with one thing wrong; and where the real
 * library is installed, it takes the descriptors that ours takes (no GPU is needed for that). */
#include "kernels/cuda/blas_api.h"

#include "kernels/cuda/host.h"
#include "tests/emulator/apart.h"
#include "tests/emulator/emulator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { M = 32, N = 80, K = 48, WORKSPACE = 8192 };

/* A product with everything right, to be spoiled. */
struct product {
    void *handle, *desc, *a, *b, *d, *preference;
    uint8_t *a_data, *b_data, *workspace;
    float *out, *scale_a, *scale_b;
    size_t workspace_bytes;
    struct gpu_stream *s;
};

static void set(int (*setter)(void *, int, const void *, size_t), void *object, int attribute,
                const void *value, size_t bytes) {
    assert_int_equal(setter(object, attribute, value, bytes), 0);
}

static void set_desc(const struct product *p, int attribute, int32_t value) {
    set(blas_find_lt()->desc_set, p->desc, attribute, &value, sizeof value);
}

static void set_layout(void *layout, int attribute, int64_t value) {
    set(blas_find_lt()->layout_set, layout, attribute, &value, sizeof value);
}

static void *device(size_t bytes) {
    void *p = gpu_alloc(bytes, GPU_KEPT);
    assert_non_null(p);
    return p;
}

static void make(struct product *p) {
    const struct lt_functions *f = blas_find_lt();
    const uint64_t most = WORKSPACE;
    const uint32_t aligned = 16;
    *p = (struct product){.workspace_bytes = WORKSPACE};
    assert_int_equal(gpu_stream_create(&p->s), 0);
    assert_int_equal(f->create(&p->handle), 0);
    assert_int_equal(f->desc_create(&p->desc, BLAS_COMPUTE_32F, BLAS_R_32F), 0);
    assert_int_equal(f->layout_create(&p->a, BLAS_R_8F_E4M3, K, M, K), 0);
    assert_int_equal(f->layout_create(&p->b, BLAS_R_8F_E4M3, K, N, K), 0);
    assert_int_equal(f->layout_create(&p->d, BLAS_R_32F, M, N, M), 0);
    assert_int_equal(f->preference_create(&p->preference), 0);
    set(f->preference_set, p->preference, LT_PREF_WORKSPACE, &most, sizeof most);
    for (int i = LT_PREF_ALIGN_A; i <= LT_PREF_ALIGN_D; i++)
        set(f->preference_set, p->preference, i, &aligned, sizeof aligned);
    set_desc(p, LT_DESC_TRANS_A, BLAS_OP_T);
    p->a_data = device((M + 1) * K);
    p->b_data = device((N + 1) * K);
    p->out = device((M + 1) * N * sizeof(float));
    p->scale_a = device(M * sizeof(float));
    p->scale_b = device(N * sizeof(float));
    p->workspace = device(WORKSPACE);
}

static void drop(struct product *p) {
    const struct lt_functions *f = blas_find_lt();
    assert_int_equal(f->layout_destroy(p->a) + f->layout_destroy(p->b) + f->layout_destroy(p->d), 0);
    assert_int_equal(f->preference_destroy(p->preference) + f->desc_destroy(p->desc) + f->destroy(p->handle),
                     0);
    void *all[] = {p->a_data, p->b_data, p->out, p->scale_a, p->scale_b, p->workspace};
    gpu_stream_destroy(p->s);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        gpu_free(all[i]);
    assert_int_equal(emu_memory_used(), 0);
}

static void use_vectors(struct product *p) {
    const struct lt_functions *f = blas_find_lt();
    set_desc(p, LT_DESC_MODE_A, LT_SCALE_OUTER_VECTORS);
    set_desc(p, LT_DESC_MODE_B, LT_SCALE_OUTER_VECTORS);
    set(f->desc_set, p->desc, LT_DESC_SCALE_A, &p->scale_a, sizeof(void *));
    set(f->desc_set, p->desc, LT_DESC_SCALE_B, &p->scale_b, sizeof(void *));
}

static int find(const struct product *p, struct lt_found *found) {
    int n = 0;
    return blas_find_lt()->heuristic(p->handle, p->desc, p->a, p->b, p->d, p->d, p->preference, 1, found, &n);
}

static int multiply(const struct product *p, const struct lt_found *found) {
    const float one = 1, zero = 0;
    return blas_find_lt()->matmul(p->handle, p->desc, &one, p->a_data, p->a, p->b_data, p->b, &zero, p->out,
                                  p->d, p->out, p->d, &found->algo, p->workspace, p->workspace_bytes, p->s);
}

/* ---- what no algorithm is found for ---- */

static void no_transpose(struct product *p) {
    set_desc(p, LT_DESC_TRANS_A, BLAS_OP_N);
}
static void both_transposed(struct product *p) {
    set_desc(p, LT_DESC_TRANS_B, BLAS_OP_T);
}
static void odd_inner(struct product *p) {
    set_layout(p->a, LT_LAYOUT_ROWS, K - 8);
    set_layout(p->b, LT_LAYOUT_ROWS, K - 8);
}
static void odd_outputs(struct product *p) {
    set_layout(p->a, LT_LAYOUT_COLS, M - 4);
    set_layout(p->d, LT_LAYOUT_ROWS, M - 4);
}
static void odd_stride(struct product *p) {
    set_layout(p->b, LT_LAYOUT_LD, K + 8);
}
static void odd_result_stride(struct product *p) {
    set_layout(p->d, LT_LAYOUT_LD, M + 2);
}
static void short_stride(struct product *p) {
    set_layout(p->a, LT_LAYOUT_LD, K - 16);
}
static void other_inner(struct product *p) {
    set_layout(p->b, LT_LAYOUT_ROWS, K - 16);
}
static void one_vector(struct product *p) {
    use_vectors(p);
    set_desc(p, LT_DESC_MODE_B, LT_SCALE_ONE);
}
static void vectors_of_nothing(struct product *p) {
    const void *none = NULL;
    use_vectors(p);
    set(blas_find_lt()->desc_set, p->desc, LT_DESC_SCALE_B, &none, sizeof none);
}
static void unknown_mode(struct product *p) {
    set_desc(p, LT_DESC_MODE_A, 5);
    set_desc(p, LT_DESC_MODE_B, 5);
}
static void little_workspace(struct product *p) {
    const uint64_t none = 0;
    set(blas_find_lt()->preference_set, p->preference, LT_PREF_WORKSPACE, &none, sizeof none);
}

static void test_no_algorithm(void **state) {
    (void)state;
    static void (*const spoilers[])(struct product *) = {
        no_transpose, both_transposed, odd_inner,  odd_outputs,        odd_stride,   odd_result_stride,
        short_stride, other_inner,     one_vector, vectors_of_nothing, unknown_mode, little_workspace};
    for (size_t i = 0; i < sizeof spoilers / sizeof spoilers[0]; i++) {
        struct product p;
        struct lt_found found;
        make(&p);
        assert_int_equal(find(&p, &found), 0);
        spoilers[i](&p);
        if (find(&p, &found) == 0)
            fail_msg("spoiler %zu is not refused", i);
        drop(&p);
    }
}

/* ---- what is refused although an algorithm was found ---- */

static void misaligned_weights(struct product *p) {
    p->a_data += 8;
}
static void misaligned_inputs(struct product *p) {
    p->b_data += 8;
}
static void misaligned_results(struct product *p) {
    p->out += 2;
}
static void misaligned_workspace(struct product *p) {
    p->workspace += 8;
}
static void small_workspace(struct product *p) {
    p->workspace_bytes = 1024;
}
static void other_shape(struct product *p) {
    set_layout(p->b, LT_LAYOUT_COLS, N - 1);
    set_layout(p->d, LT_LAYOUT_COLS, N - 1);
}
static void other_mode(struct product *p) {
    use_vectors(p);
}

static void test_refused_products(void **state) {
    (void)state;
    static void (*const spoilers[])(struct product *) = {
        misaligned_weights, misaligned_inputs, misaligned_results, misaligned_workspace,
        small_workspace,    other_shape,       other_mode};
    for (size_t i = 0; i < sizeof spoilers / sizeof spoilers[0]; i++) {
        struct product p, spoiled;
        struct lt_found found;
        make(&p);
        assert_int_equal(find(&p, &found), 0);
        assert_int_equal(multiply(&p, &found), 0);
        spoiled = p;
        spoilers[i](&spoiled);
        if (multiply(&spoiled, &found) == 0)
            fail_msg("spoiler %zu is not refused", i);
        drop(&p);
    }
}

/* What goes beyond an allocation ends the process. */
static int run_beyond(void *arg) {
    struct product p;
    struct lt_found found;
    make(&p);
    if (*(int *)arg == 0) {
        set_layout(p.b, LT_LAYOUT_COLS, N + 2);
        set_layout(p.d, LT_LAYOUT_COLS, N + 2);
    } else {
        use_vectors(&p);
        p.scale_b = device(16);
        set(blas_find_lt()->desc_set, p.desc, LT_DESC_SCALE_B, &p.scale_b, sizeof(void *));
    }
    return find(&p, &found) == 0 && multiply(&p, &found) == 0 && gpu_sync(p.s) == 0 ? 0 : 1;
}

static void test_beyond(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++)
        apart_must_be_caught(i == 0 ? "inputs of a product" : "scales of a product", run_beyond, &i,
                             "goes beyond an allocation");
}

/* A handle belongs to the GPU that was in use when it was made: other queues are refused, other memory ends
 * the process. */
static int run_on_another_gpu(void *arg) {
    struct product p;
    struct lt_found found;
    char text[200];
    bool queue_too = *(int *)arg == 0; /* or the memory alone */
    void *handle = NULL;
    emu_set_gpus(2);
    if (gpu_open(1, text, sizeof text, text, sizeof text) < 0 || blas_find_lt()->create(&handle) != 0 ||
        (queue_too && gpu_open(0, text, sizeof text, text, sizeof text) < 0))
        return 2;
    make(&p);
    p.handle = handle;
    if (!queue_too) {
        (void)gpu_use(0);
        p.b_data = device((N + 1) * K);
        (void)gpu_use(1);
    }
    return find(&p, &found) == 0 && multiply(&p, &found) != 0 ? 0 : 1;
}

static void test_handles_of_another_gpu(void **state) {
    (void)state;
    static char out[65536];
    const struct blas_functions *f = blas_find();
    int queue_too = 0, memory = 1;
    char text[200];
    assert_int_equal(apart_run(run_on_another_gpu, &queue_too, 0, out, sizeof out), 0);
    apart_must_be_caught("memory of another GPU", run_on_another_gpu, &memory,
                         "a library's product of GPU 1 uses memory of GPU 0");
    emu_set_gpus(2);
    struct gpu_stream *s = NULL;
    void *handle = NULL;
    assert_int_equal(gpu_open(1, text, sizeof text, text, sizeof text), 0);
    assert_int_equal(gpu_stream_create(&s), 0);
    assert_int_equal(gpu_use(0), 0);
    assert_int_equal(f->create(&handle), 0);
    assert_int_not_equal(f->set_stream(handle, s), 0);
    assert_int_equal(f->destroy(handle), 0);
    gpu_stream_destroy(s);
}

/* ---- the libraries ---- */

/* What each kind lacks. */
static void test_kinds(void **state) {
    (void)state;
    static const struct {
        enum emu_lt kind;
        bool plain, mode, vectors;
    } kinds[] = {{EMU_LT_VECTORS, true, true, true},
                 {EMU_LT_SCALARS, true, true, false},
                 {EMU_LT_OLD, true, false, false},
                 {EMU_LT_NO_F8, false, true, false}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct product p;
        struct lt_found found;
        const int32_t mode = LT_SCALE_OUTER_VECTORS;
        emu_set_lt(kinds[i].kind);
        make(&p);
        assert_int_equal(find(&p, &found) == 0, kinds[i].plain);
        int rc = blas_find_lt()->desc_set(p.desc, LT_DESC_MODE_A, &mode, sizeof mode);
        assert_int_equal(rc == 0, kinds[i].mode);
        if (rc == 0)
            use_vectors(&p);
        assert_int_equal(rc == 0 && find(&p, &found) == 0, kinds[i].vectors);
        drop(&p);
    }
    emu_set_lt(EMU_LT_ABSENT);
    assert_null(blas_find_lt());
    emu_set_lt(EMU_LT_VECTORS);
}

/* kernels/cuda/blas_find.c under other names. */
const struct lt_functions *real_find_lt(void);
const struct blas_functions *real_find(void);

/* Every attribute that we set has the size that the library wants, and not another. */
static void check_attributes(const struct lt_functions *f) {
    static const struct {
        char object;
        int attribute;
        size_t bytes;
    } all[] = {{'d', LT_DESC_TRANS_A, 4}, {'d', LT_DESC_TRANS_B, 4},   {'d', LT_DESC_SCALE_A, 8},
               {'d', LT_DESC_SCALE_B, 8}, {'d', LT_DESC_FAST_SUM, 1},  {'d', LT_DESC_MODE_A, 4},
               {'d', LT_DESC_MODE_B, 4},  {'l', LT_LAYOUT_ROWS, 8},    {'l', LT_LAYOUT_COLS, 8},
               {'l', LT_LAYOUT_LD, 8},    {'p', LT_PREF_WORKSPACE, 8}, {'p', LT_PREF_ALIGN_A, 4},
               {'p', LT_PREF_ALIGN_D, 4}};
    const int64_t value = 0;
    void *desc = NULL, *layout = NULL, *preference = NULL;
    assert_int_equal(f->desc_create(&desc, BLAS_COMPUTE_32F, BLAS_R_32F), 0);
    assert_int_equal(f->layout_create(&layout, BLAS_R_8F_E4M3, 16, 16, 16), 0);
    assert_int_equal(f->preference_create(&preference), 0);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (int wrong = 0; wrong < 2; wrong++) {
            size_t bytes = all[i].bytes + (wrong ? 2 : 0);
            int rc = all[i].object == 'd'   ? f->desc_set(desc, all[i].attribute, &value, bytes)
                     : all[i].object == 'l' ? f->layout_set(layout, all[i].attribute, &value, bytes)
                                            : f->preference_set(preference, all[i].attribute, &value, bytes);
            if ((rc == 0) != (wrong == 0))
                fail_msg("attribute %c%d with %zu bytes: %d", all[i].object, all[i].attribute, bytes, rc);
        }
    assert_int_equal(f->desc_destroy(desc) + f->layout_destroy(layout) + f->preference_destroy(preference),
                     0);
}

static void test_attributes(void **state) {
    (void)state;
    check_attributes(blas_find_lt());
}

static void test_the_real_library(void **state) {
    (void)state;
    const struct lt_functions *f = real_find_lt();
    if (f == NULL || real_find() == NULL) {
        print_message("skipped: cuBLAS or cuBLASLt is not installed\n");
        skip();
    }
    check_attributes(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_algorithm),
        cmocka_unit_test(test_refused_products),
        cmocka_unit_test(test_beyond),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_the_real_library),
        cmocka_unit_test(test_handles_of_another_gpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
