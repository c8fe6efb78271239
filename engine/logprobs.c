#include "engine/logprobs.h"

#include "engine/local.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    float logit;
    int32_t token;
};

/* Puts the token into a list of at most `most`, best first, of equal ones the lower token: tokens come in
 * ascending order. Returns the length of the list. */
static int insert(struct entry *list, int n, int most, float logit, int32_t token) {
    if (n == most && (most == 0 || logit <= list[n - 1].logit))
        return n;
    int at = n < most ? n++ : n - 1;
    for (; at > 0 && list[at - 1].logit < logit; at--)
        list[at] = list[at - 1];
    list[at] = (struct entry){logit, token};
    return n;
}

void logprobs_of(const float *logits, int n_vocab, int32_t token, int n_top, struct kernels_logprobs *out) {
    struct entry list[KERNELS_TOP_LOGPROBS];
    int most = n_top < KERNELS_TOP_LOGPROBS ? n_top : KERNELS_TOP_LOGPROBS, n = 0;
    float largest = -INFINITY;
    double sum = 0;
    for (int32_t i = 0; i < n_vocab; i++) {
        if (!(logits[i] > -INFINITY)) /* no number, or what cannot be */
            continue;
        largest = logits[i] > largest ? logits[i] : largest;
        n = insert(list, n, most, logits[i], i);
    }
    for (int32_t i = 0; i < n_vocab; i++)
        if (logits[i] > -INFINITY)
            sum += exp((double)logits[i] - (double)largest);
    double rest = (double)largest + log(sum);
    out->chosen = (float)((double)logits[token] - rest);
    out->n_top = n;
    for (int i = 0; i < n; i++) {
        out->top[i].token = list[i].token;
        out->top[i].logprob = (float)((double)list[i].logit - rest);
    }
}

/* ---- of a generation's tokens ---- */

int logprobs_keep(struct generation *g, int first, int end, int chosen_at,
                  const struct engine_logprobs *told) {
    int n = end - g->sent;
    if (!g->logprobs)
        return 0;
    if (n > g->cap_told) {
        int cap = n + n / 2 + 16;
        struct engine_logprobs *grown = realloc(g->told, (size_t)cap * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        g->told = grown;
        g->cap_told = cap;
    }
    for (int at = first; at < end; at++)
        g->told[at - g->sent] = at == chosen_at ? *told : (struct engine_logprobs){.there = false};
    g->n_told = n;
    return 0;
}

int logprobs_attach(struct generation *g, struct engine_event *event) {
    int n_there = event->n_tokens < g->n_told ? event->n_tokens : g->n_told; /* fewer after -ENOMEM */
    size_t n = (size_t)n_there;
    if (!g->logprobs)
        return 0;
    event->logprobs = calloc((size_t)event->n_tokens + 1, sizeof *event->logprobs);
    if (event->logprobs == NULL)
        return -ENOMEM;
    if (n > 0)
        memcpy(event->logprobs, g->told, n * sizeof *g->told);
    g->n_told -= n_there;
    if (g->n_told > 0)
        memmove(g->told, g->told + n, (size_t)g->n_told * sizeof *g->told);
    return 0;
}

void logprobs_release(struct generation *g) {
    free(g->told);
    g->told = NULL;
    g->n_told = g->cap_told = 0;
}
