/* What keys and values in 8 bits cost the default model: its next-token distributions over real prompts of
 * the daemon (tests/data/tiny-logits.json), beside those with keys and values in F32. */
#include "engine/forward.h"
#include "tests/engine/logits.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL  "models/hermes-tiny.gguf"
#define GOLDEN "tests/data/tiny-logits.json"
#define ROWS   64
/* A sanitized build would take a minute for longer ones. */
#if defined(__SANITIZE_ADDRESS__)
#define LONGEST 500
#else
#define LONGEST LOGITS_MAX_IDS
#endif

struct cost {
    double divergence; /* sum over the positions of the Kullback-Leibler divergence, nats */
    double worst;      /* largest of one position */
    int other_best;    /* positions whose best token is another one */
    int n;
};

static void open_forward(const struct model *m, enum dtype kv, struct forward **f) {
    char err[300] = "";
    struct forward_config config = {.max_rows = ROWS,
                                    .max_outputs = ROWS,
                                    .max_context = LOGITS_MAX_IDS,
                                    .n_pages = LOGITS_MAX_IDS / KERNELS_PAGE_TOKENS,
                                    .kv_type = kv,
                                    .exact = true};
    if (forward_open(m, &config, f, err, sizeof err) < 0)
        fail_msg("%s", err);
}

static void step(struct forward *f, const int32_t *ids, int first, int n) {
    static int32_t pages[LOGITS_MAX_IDS / KERNELS_PAGE_TOKENS], outputs[ROWS];
    struct kernels_row rows[ROWS];
    char err[300] = "";
    for (int i = 0; i < LOGITS_MAX_IDS / KERNELS_PAGE_TOKENS; i++)
        pages[i] = i;
    for (int i = 0; i < n; i++) {
        outputs[i] = i;
        rows[i] = (struct kernels_row){.token = ids[first + i], .position = first + i};
    }
    struct kernels_batch batch = {.rows = rows,
                                  .n_rows = n,
                                  .pages = pages,
                                  .pages_stride = LOGITS_MAX_IDS / KERNELS_PAGE_TOKENS,
                                  .outputs = outputs,
                                  .n_outputs = n};
    if (forward_run(f, &batch, err, sizeof err) < 0)
        fail_msg("%s", err);
}

static int best_of(const float *logits, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

static double log_sum(const float *logits, int n) {
    double largest = (double)logits[best_of(logits, n)], sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)logits[i] - largest);
    return largest + log(sum);
}

static void compare(struct cost *c, const float *want, const float *got, int n) {
    double a = log_sum(want, n), b = log_sum(got, n), divergence = 0;
    for (int i = 0; i < n; i++)
        divergence += exp((double)want[i] - a) * ((double)want[i] - a - (double)got[i] + b);
    c->divergence += divergence;
    c->worst = fmax(c->worst, divergence);
    c->other_best += best_of(want, n) != best_of(got, n) ? 1 : 0;
    c->n++;
}

static struct cost cost_of(const struct model *m, const cJSON *golden, enum dtype kv) {
    struct cost c = {0};
    struct forward *want = NULL, *got = NULL;
    const cJSON *prompt;
    open_forward(m, DTYPE_F32, &want);
    open_forward(m, kv, &got);
    cJSON_ArrayForEach(prompt, cJSON_GetObjectItem(golden, "prompts")) {
        static int32_t ids[LOGITS_MAX_IDS];
        int n = logits_read_ids(cJSON_GetObjectItem(prompt, "ids"), ids);
        if (n > LONGEST)
            continue;
        for (int first = 0; first < n; first += ROWS) {
            int rows = n - first < ROWS ? n - first : ROWS;
            step(want, ids, first, rows);
            step(got, ids, first, rows);
            for (int i = 0; i < rows; i++)
                compare(&c, forward_logits(want, i), forward_logits(got, i), m->n_vocab);
        }
    }
    forward_close(want);
    forward_close(got);
    return c;
}

static void test_cost(void **state) {
    (void)state;
    static const struct {
        enum dtype kv;
        const char *name;
        double divergence, worst, other_best; /* at most: mean and largest in nats, part of the positions */
    } cases[] = {{DTYPE_F16, "F16", 1e-5, 1e-3, 0.005}, {DTYPE_Q8_0, "8 bits", 1e-3, 0.5, 0.02}};
    cJSON *golden = logits_read_json(GOLDEN);
    struct model *m = NULL;
    char err[300] = "";
    if (model_open(MODEL, &m, err, sizeof err) < 0)
        fail_msg("%s", err);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cost c = cost_of(m, golden, cases[i].kv);
        print_message(
            "keys and values in %s: divergence from F32 %.2g on average, %.2g at most; another best "
            "token at %d of %d positions\n",
            cases[i].name, c.divergence / c.n, c.worst, c.other_best, c.n);
        assert_true(c.n > 500);
        assert_true(fabs(c.divergence) / c.n <= cases[i].divergence);
        assert_true(c.worst <= cases[i].worst);
        assert_true(c.other_best <= cases[i].other_best * c.n);
    }
    model_close(m);
    cJSON_Delete(golden);
}

int main(void) {
    if (access(MODEL, R_OK) != 0) {
        (void)printf("skipped: there is no %s yet; models/train makes it\n", MODEL);
        return 77;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cost)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
