/* One random Llama in every stored type, as a GGUF file: its logits against those of the same numbers in F32,
 * and against llama.cpp's. */
#include "engine/forward.h"
#include "engine/model.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/ops.h"
#include "kernels/dtype.h"
#include "tests/engine/fixture.h"
#include "tests/engine/logits.h"
#include "tests/engine/write_gguf.h"
#include "tests/kernels/random_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define N_IDS 40

/* Sums in F32 on both sides; logits span about -6 to 6. */
#define TOLERANCE_EXACT 1e-4
/* Inputs of products rounded to 8 bits: root mean square of the differences, relative to that of the logits.
 * Second: of those that share a scale with 255 others. */
#define TOLERANCE_ROUNDED        0.05
#define TOLERANCE_ROUNDED_BY_256 0.08
/* llama.cpp rounds the inputs of all products with quantised weights to 8 bits (of the K types in blocks of
 * 256), in F16 and BF16 to that type. Ours are in F32, or rounded as the daemon rounds them. Relative root
 * mean square again. Where the K types have blocks of 256 here too, what is left are sums of another order,
 * by which now and then an input falls on the other side of a half. */
#define TOLERANCE_HALVES     0.02
#define TOLERANCE_LLAMA_CPP  0.08
#define TOLERANCE_SAME_ROUND 0.03

static const char *const isas[] = {"portable", "avx2", "avx512"};

static char path[256];

static struct tensor in_f32(const struct tensor *t) {
    struct tensor f = {.type = DTYPE_F32, .rows = t->rows, .cols = t->cols};
    float *v = malloc((size_t)(t->rows * t->cols) * sizeof *v);
    assert_non_null(v);
    for (int64_t r = 0; r < t->rows; r++)
        convert_row(t->type, (const char *)t->data + convert_row_bytes(t->type, t->cols) * (size_t)r, t->cols,
                    v + r * t->cols);
    f.data = v;
    return f;
}

static void replace(struct tensor *t) {
    void *old = (void *)(uintptr_t)t->data;
    *t = in_f32(t);
    free(old);
}

/* The same numbers, each as F32. */
static void make_f32(struct kernels_model *m) {
    replace(&m->tok_embd);
    replace(&m->output);
    for (int l = 0; l < m->n_layers; l++) {
        struct kernels_layer *y = (struct kernels_layer *)(uintptr_t)&m->layers[l];
        struct tensor *all[] = {&y->wq, &y->wk, &y->wv, &y->wo, &y->w_gate, &y->w_up, &y->w_down};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
            replace(all[i]);
    }
}

/* Logits of the last of N_IDS tokens. isa: NULL: the best. */
static void run(bool exact, const char *isa, float *logits) {
    char err[300] = "";
    struct model *m = NULL;
    struct forward *f = NULL;
    if (model_open_weights(path, &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    struct forward_config config = {.max_rows = N_IDS,
                                    .max_outputs = 1,
                                    .max_context = 64,
                                    .n_pages = 1,
                                    .kv_type = DTYPE_F32,
                                    .n_threads = 1,
                                    .exact = exact,
                                    .isa = isa};
    if (forward_open(m, &config, &f, err, sizeof err) < 0)
        fail_msg("%s", err);
    struct kernels_row rows[N_IDS];
    for (int i = 0; i < N_IDS; i++)
        rows[i] = (struct kernels_row){.token = i * 7 % m->n_vocab, .position = i};
    static const int32_t page = 0, output = N_IDS - 1;
    struct kernels_batch batch = {
        .rows = rows, .n_rows = N_IDS, .pages = &page, .pages_stride = 1, .outputs = &output, .n_outputs = 1};
    assert_int_equal(forward_run(f, &batch, err, sizeof err), 0);
    memcpy(logits, forward_logits(f, 0), (size_t)m->n_vocab * sizeof *logits);
    forward_close(f);
    model_close(m);
}

static double relative(const float *a, const float *b, int n) {
    double d = 0, size = 0;
    for (int i = 0; i < n; i++) {
        d += pow((double)a[i] - (double)b[i], 2);
        size += pow((double)b[i], 2);
    }
    assert_true(size > 1);
    return sqrt(d / size);
}

/* Whether inputs that meet the type are rounded as llama.cpp does for the K types. */
static bool by_256(const char *isa, enum dtype type) {
    return dtype_info(type)->block_elements > 1 && cpu_ops_group(cpu_ops_find(isa), type) == 256;
}

/* The file as it is in F32 products, and with rounded inputs; want: in F32 from the beginning. */
static void check_against_f32(const char *isa, enum dtype type, const float *exact, const float *rounded,
                              const float *want, int n) {
    const double bound = by_256(isa, type) ? TOLERANCE_ROUNDED_BY_256 : TOLERANCE_ROUNDED;
    double worst = 0, r = relative(rounded, want, n);
    for (int i = 0; i < n; i++)
        worst = fmax(worst, fabs((double)exact[i] - (double)want[i]));
    print_message("%-8s %-5s exact within %.2g, with rounded inputs %.2g of the norm\n", isa,
                  dtype_info(type)->name, worst, r);
    if (worst > TOLERANCE_EXACT || r > bound)
        fail_msg("%s, %s: bounds are %g and %g", isa, dtype_info(type)->name, TOLERANCE_EXACT, bound);
}

static void test_every_type_against_f32(void **state) {
    (void)state;
    enum { n_isas = sizeof isas / sizeof isas[0] };
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (dtype_info((enum dtype)t)->ggml_type == DTYPE_NO_GGML)
            continue;
        struct random_shape shape = QUANTISED_SHAPE((enum dtype)t);
        float exact[n_isas][96], rounded[n_isas][96], want[96];
        struct kernels_model m;
        random_model_init(&m, &shape);
        write_gguf(path, &m, &(struct write_gguf){.n_ctx = 256});
        for (int i = 0; i < n_isas; i++)
            if (cpu_ops_find(isas[i]) != NULL) {
                run(true, isas[i], exact[i]);
                run(false, isas[i], rounded[i]);
            }
        make_f32(&m);
        write_gguf(path, &m, &(struct write_gguf){.n_ctx = 256});
        run(true, NULL, want);
        random_model_finish(&m);
        for (int i = 0; i < n_isas; i++)
            if (cpu_ops_find(isas[i]) != NULL)
                check_against_f32(isas[i], (enum dtype)t, exact[i], rounded[i], want, shape.n_vocab);
            else
                print_message("skipped: this CPU cannot run the %s kernels\n", isas[i]);
    }
    (void)unlink(path);
}

static void check_against_llama_cpp(const char *isa, const char *type, const float *want, int n) {
    const bool whole = strcmp(type, "F32") == 0, half = strstr(type, "F16") != NULL;
    const bool same = strstr(type, "_K") != NULL && by_256(isa, DTYPE_Q4_K);
    const double bound = whole ? TOLERANCE_EXACT : half ? TOLERANCE_HALVES : TOLERANCE_LLAMA_CPP;
    const double bound_rounded = same ? TOLERANCE_SAME_ROUND : bound;
    double r[2];
    for (int rounded = 0; rounded < 2; rounded++) {
        float got[96];
        run(rounded == 0, isa, got);
        r[rounded] = relative(got, want, n);
    }
    print_message("%-8s %-6s differs from llama.cpp by %.2g of the norm, with rounded inputs by %.2g\n", isa,
                  type, r[0], r[1]);
    if (r[0] > bound || r[1] > bound_rounded)
        fail_msg("%s, %s: bounds are %g and %g", isa, type, bound, bound_rounded);
}

/* The same files as llama.cpp reads them. */
static void test_every_type_against_llama_cpp(void **state) {
    (void)state;
    cJSON *golden = logits_read_json("tests/data/quantised-logits.json");
    const cJSON *run_of;
    int n_types = 0;
    cJSON_ArrayForEach(run_of, cJSON_GetObjectItem(golden, "types")) {
        const struct random_shape shape = QUANTISED_SHAPE(DTYPE_F32);
        float want[96];
        assert_true(write_quantised(path, run_of->string));
        assert_int_equal(cJSON_GetArraySize(run_of), shape.n_vocab);
        for (int i = 0; i < shape.n_vocab; i++)
            want[i] = (float)cJSON_GetArrayItem(run_of, i)->valuedouble;
        for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++)
            if (cpu_ops_find(isas[i]) != NULL)
                check_against_llama_cpp(isas[i], run_of->string, want, shape.n_vocab);
            else
                print_message("skipped: this CPU cannot run the %s kernels\n", isas[i]);
        n_types++;
    }
    assert_int_equal(n_types, DTYPE_F8_E4M3 + 1); /* all types before it, and Q4_K_M */
    cJSON_Delete(golden);
    (void)unlink(path);
}

/* Blocks are only numbers: scales that are infinite or none, all bits set, noise. The pass ends, whatever
 * comes out. */
static void test_blocks_of_noise(void **state) {
    (void)state;
    for (int t = DTYPE_Q8_0; t < DTYPE_F8_E4M3; t++)
        for (int kind = 0; kind < 3; kind++) {
            struct random_shape shape = QUANTISED_SHAPE((enum dtype)t);
            struct kernels_model m;
            float logits[96];
            uint32_t noise = 12345;
            random_model_init(&m, &shape);
            const struct kernels_layer *y = &m.layers[0];
            const struct tensor *all[] = {&m.tok_embd, &m.output, &y->wq, &y->wv, &y->w_gate, &y->w_down};
            for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
                size_t n = convert_row_bytes(all[i]->type, all[i]->cols) * (size_t)all[i]->rows;
                uint8_t *bytes = (uint8_t *)(uintptr_t)all[i]->data;
                for (size_t k = 0; k < n; k++) {
                    noise = noise * 1664525u + 1013904223u;
                    bytes[k] = kind == 0 ? 0xFF : kind == 1 ? 0x7C : (uint8_t)(noise >> 24);
                }
            }
            write_gguf(path, &m, &(struct write_gguf){.n_ctx = 256});
            random_model_finish(&m);
            for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++)
                for (int exact = 0; exact < 2 && cpu_ops_find(isas[i]) != NULL; exact++)
                    run(exact != 0, isas[i], logits);
        }
    (void)unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_type_against_f32),
                                       cmocka_unit_test(test_every_type_against_llama_cpp),
                                       cmocka_unit_test(test_blocks_of_noise)};
    fixture_path(path, "quantised.gguf");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
