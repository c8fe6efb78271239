#include "tests/engine/greedy.h"

#include "engine/forward.h"
#include "tests/engine/forward_steps.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CONTEXT (GREEDY_PROMPT + GREEDY_STEPS)
#define STRIDE  (CONTEXT / KERNELS_PAGE_TOKENS)

/* Both devices run the same batches; the tokens are those of the first. */
struct pair {
    const struct greedy_case *c;
    struct greedy_found *found;
    struct forward *want, *got;
    bool bits;                               /* they have to be the same ones */
    struct kernels_row *rows;                /* of the batch */
    int32_t pages[GREEDY_SESSIONS * STRIDE]; /* of all sessions */
    int32_t outputs[GREEDY_SESSIONS];
    struct kernels_sample samples[GREEDY_SESSIONS]; /* of each output */
    int32_t next[GREEDY_SESSIONS];                  /* last token */
    bool parted[GREEDY_SESSIONS];
};

static int pages_of(const struct greedy_prompt *p) {
    return (p->n + GREEDY_STEPS) / KERNELS_PAGE_TOKENS + 1;
}

static struct forward *open_forward(const struct greedy_case *c, const char *module, bool exact) {
    int n_pages = 0;
    for (int i = 0; i < c->n; i++)
        n_pages += pages_of(&c->prompts[i]);
    const struct forward_config config = {.max_rows = c->chunk > GREEDY_SESSIONS ? c->chunk : GREEDY_SESSIONS,
                                          .max_outputs = GREEDY_SESSIONS,
                                          .max_context = CONTEXT,
                                          .n_pages = n_pages,
                                          .kv_type = c->kv_type,
                                          .n_threads = 1,
                                          .exact = exact,
                                          .gpu_module = module};
    struct forward *f = NULL;
    char err[400] = "";
    if (forward_open(c->model, &config, &f, err, sizeof err) < 0)
        fail_msg("%s", err);
    return f;
}

static void run(struct pair *p, int n_rows, int n_outputs) {
    struct kernels_batch batch = {.rows = p->rows,
                                  .n_rows = n_rows,
                                  .pages = p->pages,
                                  .pages_stride = STRIDE,
                                  .outputs = p->outputs,
                                  .n_outputs = n_outputs};
    char err[400] = "";
    if (forward_run(p->want, &batch, err, sizeof err) < 0)
        fail_msg("%s", err);
    batch.samples = p->bits ? NULL : p->samples;
    if (forward_run(p->got, &batch, err, sizeof err) < 0)
        fail_msg("%s", err);
}

/* Output o is of session s: what the devices made of it. */
static void look(struct pair *p, int o, int s) {
    struct greedy_found *f = p->found;
    int n = p->c->model->n_vocab;
    const float *want = forward_logits(p->want, o), *got = forward_logits(p->got, o);
    int32_t token = forward_steps_largest(want, n), chosen = p->bits ? token : forward_token(p->got, o);
    float second = -INFINITY;
    p->next[s] = token;
    f->steps++;
    if (p->bits) {
        f->others += memcmp(want, got, (size_t)n * sizeof *want) != 0;
        return;
    }
    for (int32_t i = 0; i < n; i++) {
        double d = fabs((double)want[i] - (double)got[i]);
        f->worst = d <= f->worst ? f->worst : d; /* also what is no number */
        second = i != token && want[i] > second ? want[i] : second;
    }
    assert_int_equal(chosen, forward_steps_largest(got, n));
    f->near_ties += (double)want[token] - (double)second <= 2 * p->c->bound;
    if (chosen != token) {
        double gap = (double)want[token] - (double)want[chosen];
        f->others++;
        f->gap = gap > f->gap ? gap : f->gap;
        p->parted[s] = true;
        if (gap > 2 * p->c->bound)
            fail_msg("%s: session %d chooses %d on the CPU and %d on the GPU, whose logit is %g lower",
                     p->c->name, s, token, chosen, gap);
    }
}

/* The prompts one after the other in batches of `chunk` rows; a batch may have the end of one and the
 * beginnings of others. */
static void read_prompts(struct pair *p) {
    int n = 0, n_outputs = 0, first = 0;
    for (int s = 0; s < p->c->n; s++)
        for (int i = 0; i < p->c->prompts[s].n; i++) {
            bool last = i + 1 == p->c->prompts[s].n;
            p->rows[n] = (struct kernels_row){.token = p->c->prompts[s].ids[i], .position = i, .table = s};
            if (last)
                p->outputs[n_outputs++] = n;
            n++;
            if (n < p->c->chunk && !(last && s + 1 == p->c->n))
                continue;
            run(p, n, n_outputs);
            for (int o = 0; o < n_outputs; o++)
                look(p, o, first + o);
            first += n_outputs;
            n = n_outputs = 0;
        }
}

static void run_case(const struct greedy_case *c, bool bits, struct greedy_found *found) {
    struct pair *p = calloc(1, sizeof *p);
    int page = 0, most = c->chunk > c->n ? c->chunk : c->n, steps = c->steps > 0 ? c->steps : GREEDY_STEPS;
    assert_true(p != NULL && c->n <= GREEDY_SESSIONS && steps <= GREEDY_STEPS);
    *found = (struct greedy_found){.steps = 0};
    p->c = c;
    p->found = found;
    p->bits = bits;
    p->want = open_forward(c, bits ? c->module : NULL, bits);
    p->got = open_forward(c, c->module, false);
    p->rows = calloc((size_t)most, sizeof *p->rows);
    assert_non_null(p->rows);
    for (int s = 0; s < c->n; s++) {
        for (int i = 0; i < pages_of(&c->prompts[s]); i++)
            p->pages[s * STRIDE + i] = page++;
        p->samples[s] = (struct kernels_sample){.wanted = true, .top_p = 1, .repeat_penalty = 1}; /* greedy */
    }
    read_prompts(p);
    for (int step = 1; step < steps; step++) {
        for (int s = 0; s < c->n; s++) {
            p->rows[s] =
                (struct kernels_row){.token = p->next[s], .position = c->prompts[s].n + step - 1, .table = s};
            p->outputs[s] = s;
        }
        run(p, c->n, c->n);
        for (int s = 0; s < c->n; s++)
            look(p, s, s);
    }
    for (int s = 0; s < c->n; s++)
        found->whole += !p->parted[s];
    forward_close(p->want);
    forward_close(p->got);
    free(p->rows);
    free(p);
}

void greedy_compare(const struct greedy_case *c, struct greedy_found *found) {
    run_case(c, false, found);
}

int greedy_rounded(const struct greedy_case *c) {
    struct greedy_found found;
    run_case(c, true, &found);
    return found.others;
}

void greedy_check(const struct greedy_case *c, int most) {
    struct greedy_found f;
    greedy_compare(c, &f);
    print_message("%-11s %2d sessions, prompts by %3d rows, keys in %s: %2d texts the same; of %4d tokens %d "
                  "others; %d near ties; a logit differs by at most %.2g, bound %g; gap %.2g\n",
                  c->name, c->n, c->chunk, c->kv_type == DTYPE_F16 ? "F16" : "F32", f.whole, f.steps,
                  f.others, f.near_ties, f.worst, c->bound, f.gap);
    if (!(f.worst <= c->bound))
        fail_msg("a logit differs by %g, bound %g", f.worst, c->bound);
    if (f.others > most)
        fail_msg("%d of %d tokens are others on the GPU, at most %d may be", f.others, f.steps, most);
}
