#include "tests/engine/forward_steps.h"

#include "engine/forward.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define N_PAGES ((FORWARD_STEPS_CONTEXT + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS)

static struct forward *open_forward(const struct model *m, const char *module, bool exact) {
    const struct forward_config config = {.max_rows = FORWARD_STEPS_PROMPT,
                                          .max_outputs = 2,
                                          .max_context = FORWARD_STEPS_CONTEXT,
                                          .n_pages = N_PAGES,
                                          .kv_type = DTYPE_F32,
                                          .n_threads = 1,
                                          .exact = exact,
                                          .gpu_module = module};
    struct forward *f = NULL;
    char err[400] = "";
    if (forward_open(m, &config, &f, err, sizeof err) < 0)
        fail_msg("%s", err);
    return f;
}

/* Runs tokens first … first+n-1; the logits of the last. */
static const float *run(struct forward *f, const int32_t *tokens, int first, int n) {
    struct kernels_row rows[FORWARD_STEPS_PROMPT];
    static const int32_t pages[] = {1, 0};
    assert_true(N_PAGES <= 2 && n <= FORWARD_STEPS_PROMPT);
    for (int i = 0; i < n; i++)
        rows[i] = (struct kernels_row){.token = tokens[first + i], .position = first + i};
    const int32_t output = n - 1;
    const struct kernels_batch batch = {
        .rows = rows, .n_rows = n, .pages = pages, .pages_stride = 2, .outputs = &output, .n_outputs = 1};
    char err[400] = "";
    if (forward_run(f, &batch, err, sizeof err) < 0)
        fail_msg("%s", err);
    return forward_logits(f, 0);
}

int32_t forward_steps_largest(const float *logits, int n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

void forward_steps_check(const struct model *m, const char *name, const char *module, bool exact, int steps,
                         double bound) {
    int32_t tokens[FORWARD_STEPS_CONTEXT + 1];
    for (int i = 0; i < FORWARD_STEPS_PROMPT; i++)
        tokens[i] = (i * 31 + 5) % m->n_vocab;
    struct forward *cpu = open_forward(m, NULL, exact), *gpu = open_forward(m, module, exact);
    double worst = 0;
    for (int step = 0; step <= steps; step++) {
        int first = step == 0 ? 0 : FORWARD_STEPS_PROMPT + step - 1, n = step == 0 ? FORWARD_STEPS_PROMPT : 1;
        const float *want = run(cpu, tokens, first, n), *got = run(gpu, tokens, first, n);
        for (int i = 0; i < m->n_vocab; i++) {
            double d = fabs((double)want[i] - (double)got[i]);
            worst = d <= worst ? worst : d; /* also what is no number */
        }
        tokens[first + n] = forward_steps_largest(want, m->n_vocab);
        int32_t chosen = forward_steps_largest(got, m->n_vocab);
        if (exact ? chosen != tokens[first + n]
                  : (double)want[chosen] < (double)want[tokens[first + n]] - 2 * bound)
            fail_msg("%s: greedy token %d is %d on the CPU and %d on the GPU", name, step, tokens[first + n],
                     chosen);
    }
    print_message("%-24s %s: a logit differs by at most %.2g in %d steps, bound %g\n", name,
                  exact ? "exact" : "rounded", worst, steps, bound);
    assert_true(worst <= bound);
    forward_close(cpu);
    forward_close(gpu);
}
