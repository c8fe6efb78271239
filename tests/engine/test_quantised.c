/* One random Llama in every stored type, as a GGUF file: its logits against those of the same numbers in F32,
 * and against llama.cpp's. */
#include "engine/forward.h"
#include "engine/model.h"
#include "kernels/cpu/convert.h"
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
 */
#define TOLERANCE_ROUNDED 0.05
/* llama.cpp rounds the inputs of all products with quantised weights to 8 bits (of the K types in blocks of
 * 256), in F16 and BF16 to that type. Ours are in F32, or rounded as the daemon rounds them. Relative root
 * mean square again. */
#define TOLERANCE_HALVES    0.02
#define TOLERANCE_LLAMA_CPP 0.08

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

/* Logits of the last of N_IDS tokens. */
static void run(bool exact, float *logits) {
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
                                    .exact = exact};
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

static void test_every_type_against_f32(void **state) {
    (void)state;
    for (int t = 0; t < DTYPE_COUNT; t++) {
        const struct dtype_info *info = dtype_info((enum dtype)t);
        if (info->ggml_type == DTYPE_NO_GGML)
            continue;
        struct random_shape shape = QUANTISED_SHAPE((enum dtype)t);
        float exact[96], rounded[96], want[96];
        struct kernels_model m;
        random_model_init(&m, &shape);
        write_gguf(path, &m, &(struct write_gguf){.n_ctx = 256});
        run(true, exact);
        run(false, rounded);
        make_f32(&m);
        write_gguf(path, &m, &(struct write_gguf){.n_ctx = 256});
        run(true, want);
        random_model_finish(&m);
        double worst = 0, r = relative(rounded, want, shape.n_vocab);
        for (int i = 0; i < shape.n_vocab; i++)
            worst = fmax(worst, fabs((double)exact[i] - (double)want[i]));
        print_message("%-5s exact within %.2g, with rounded inputs %.2g of the norm\n", info->name, worst, r);
        if (worst > TOLERANCE_EXACT || r > TOLERANCE_ROUNDED)
            fail_msg("%s: bounds are %g and %g", info->name, TOLERANCE_EXACT, TOLERANCE_ROUNDED);
    }
    (void)unlink(path);
}

/* The same files as llama.cpp reads them. */
static void test_every_type_against_llama_cpp(void **state) {
    (void)state;
    cJSON *golden = logits_read_json("tests/data/quantised-logits.json");
    const cJSON *run_of;
    int n_types = 0;
    cJSON_ArrayForEach(run_of, cJSON_GetObjectItem(golden, "types")) {
        const struct random_shape shape = QUANTISED_SHAPE(DTYPE_F32);
        float got[96], want[96];
        assert_true(write_quantised(path, run_of->string));
        assert_int_equal(cJSON_GetArraySize(run_of), shape.n_vocab);
        for (int i = 0; i < shape.n_vocab; i++)
            want[i] = (float)cJSON_GetArrayItem(run_of, i)->valuedouble;
        bool whole = strcmp(run_of->string, "F32") == 0, half = strstr(run_of->string, "F16") != NULL;
        double bound = whole ? TOLERANCE_EXACT : half ? TOLERANCE_HALVES : TOLERANCE_LLAMA_CPP;
        double r[2];
        for (int rounded = 0; rounded < 2; rounded++) {
            run(rounded == 0, got);
            r[rounded] = relative(got, want, shape.n_vocab);
        }
        print_message("%-6s differs from llama.cpp by %.2g of the norm, with rounded inputs by %.2g\n",
                      run_of->string, r[0], r[1]);
        if (r[0] > bound || r[1] > bound)
            fail_msg("%s: bound is %g", run_of->string, bound);
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
            run(true, logits);
            run(false, logits);
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
