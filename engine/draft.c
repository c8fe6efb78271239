#include "engine/draft.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 256
/* Positions that one search looks at: a text of one letter has as many as tokens. */
#define CHAIN_MAX 32

void draft_finish(struct draft *d) {
    free(d->last);
    free(d->before);
    *d = (struct draft){0};
}

/* Spread by multiplication; what is found is compared in full. */
static uint32_t slot_of(const struct draft *d, const int32_t *end) {
    uint64_t h = (uint32_t)end[0];
    h = h * 0x9E3779B97F4A7C15u + (uint32_t)end[-1];
    h = h * 0x9E3779B97F4A7C15u + (uint32_t)end[-2];
    h *= 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32) & (d->n_slots - 1);
}

static void add(struct draft *d, const int32_t *tokens, int from, int to) {
    for (int i = from < DRAFT_MATCH_MIN - 1 ? DRAFT_MATCH_MIN - 1 : from; i < to; i++) {
        int32_t *last = &d->last[slot_of(d, tokens + i)];
        d->before[i] = *last;
        *last = i;
    }
}

/* Makes room for n tokens; those that are indexed are spread anew. */
static int grow(struct draft *d, const int32_t *tokens, int n) {
    uint32_t n_slots = d->n_slots > 0 ? d->n_slots : SLOTS_MIN;
    while (n_slots < (uint32_t)n)
        n_slots *= 2;
    int32_t *before = realloc(d->before, n_slots * sizeof *before);
    if (before == NULL)
        return -ENOMEM;
    d->before = before;
    int32_t *last = malloc(n_slots * sizeof *last);
    if (last == NULL)
        return -ENOMEM;
    memset(last, 0xFF, n_slots * sizeof *last); /* -1 */
    free(d->last);
    d->last = last;
    d->n_slots = n_slots;
    d->cap = (int)n_slots;
    add(d, tokens, 0, d->n);
    return 0;
}

int draft_index(struct draft *d, const int32_t *tokens, int n) {
    if (n <= d->n)
        return 0;
    if (n > d->cap) {
        int rc = grow(d, tokens, n);
        if (rc < 0)
            return rc;
    }
    add(d, tokens, d->n, n);
    d->n = n;
    return 0;
}

/* Tokens that are equal before and at both ends. */
static int match(const int32_t *tokens, int at, int end) {
    int n = 0;
    while (n < DRAFT_MATCH_MAX && n <= at && tokens[at - n] == tokens[end - n])
        n++;
    return n;
}

int draft_find(const struct draft *d, const int32_t *tokens, int n, int32_t *out, int most, int *matched) {
    int best = -1;
    *matched = 0;
    if (n < DRAFT_MATCH_MIN || d->n_slots == 0 || most <= 0)
        return 0;
    int32_t at = d->last[slot_of(d, tokens + n - 1)];
    for (int looked = 0; at >= 0 && looked < CHAIN_MAX; at = d->before[at], looked++) {
        int equal = at < n - 1 ? match(tokens, at, n - 1) : 0;
        if (equal > *matched) { /* of equal ones the latest */
            *matched = equal;
            best = at;
        }
        if (equal == DRAFT_MATCH_MAX)
            break;
    }
    if (*matched < DRAFT_MATCH_MIN)
        return 0;
    /* A repetition goes on into its own copy. */
    for (int i = 0; i < most; i++)
        out[i] = best + 1 + i < n ? tokens[best + 1 + i] : out[best + 1 + i - n];
    return most;
}
