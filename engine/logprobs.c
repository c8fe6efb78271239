#include "engine/logprobs.h"

#include <math.h>

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
