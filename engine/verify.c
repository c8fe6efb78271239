/* Guessed tokens in the batch: put behind a session's last token, and kept as far as they are what is
 * sampled.
 *
 * Each row's logits are sampled in order, as if the tokens before it had been computed one by one, with the
 * same random numbers and the same history; the next row counts only when the token that came of it is the
 * guessed one. So the text is the one that would have been written without guesses, sampled or greedy, as far
 * as a row's logits do not depend on its company (kernels/kernels.h). Keys and values of wrong guesses are
 * overwritten by the rows that follow. */
#include "engine/local.h"

/* Where the grammar ends the guess. Its states are made here a little before they would be. */
static int allowed(struct local_engine *e, const struct local_session *s, const int32_t *ids, int n) {
    struct grammar_matcher probe = {0};
    int i = 0;
    if (s->gen.grammar == NULL)
        return n;
    if (s->gen.matcher.grammar == NULL || grammar_matcher_clone(&probe, &s->gen.matcher) < 0)
        return 0;
    while (i < n && grammar_matcher_token(&probe, e->vocab, ids[i]) == 1)
        i++;
    grammar_matcher_finish(&probe);
    return i;
}

/* Guesses what follows, as far as it could be kept; returns how many tokens. */
static int guess(struct local_engine *e, struct local_session *s, int most) {
    struct verify *v = &s->verify;
    int left = (int)finish_tokens_left(e, s) - 1; /* one more comes of the last row */
    most = most < left ? most : left;
    if (most <= 0 || draft_index(&v->draft, s->tokens, s->gen.sure) < 0)
        return 0;
    int n = draft_find(&v->draft, s->tokens, s->n_tokens, v->ids, most, &v->matched), ends = 0;
    while (ends < n && !finish_is_stop(e, s, v->ids[ends]))
        ends++;
    return allowed(e, s, v->ids, ends);
}

/* The positions that have a page, or get one that nobody needs. */
static int with_pages(struct local_engine *e, struct local_session *s, int n, int32_t *table) {
    int need = (s->n_computed + 1 + n + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS;
    while (s->n_pages < need && s->n_pages < s->pages_cap) {
        int32_t page = pages_take(e->pages);
        if (page == PAGES_NONE)
            break;
        table[s->n_pages] = page;
        s->pages[s->n_pages++] = page;
    }
    int room = s->n_pages * KERNELS_PAGE_TOKENS - s->n_computed - 1;
    return room < n ? room : n;
}

void verify_plan(struct local_engine *e, struct local_session *s, int n_decode) {
    struct step *step = &e->step;
    struct verify *v = &s->verify;
    int most = SPECULATE_ROWS - step->n_guessed;
    most = most < e->max_rows - step->n_rows ? most : e->max_rows - step->n_rows;
    if (s->gen.no_speculation || n_decode > SPECULATE_SESSIONS || s->n_rows != 1 || s->output < 0)
        return;
    int n = guess(e, s, most);
    if (e->always_guess > 0) {
        n = n < e->always_guess ? n : e->always_guess;
    } else if (n > 0) {
        n = speculate_choose(&e->cost, e->row_ns, speculate_chance(&v->luck, v->matched),
                             n_decode - 1 + step->n_guessed, n);
        if (n == 0)
            speculate_skipped(&v->luck, v->matched);
    }
    n = with_pages(e, s, n, step->tables + (size_t)(step->n_tables - 1) * (size_t)step->tables_stride);
    v->base = v->at = s->n_tokens;
    v->output = s->output;
    v->n = n > 0 ? n : 0;
    for (int i = 0; i < v->n; i++) {
        step->outputs[step->n_outputs++] = step->n_rows;
        step->rows[step->n_rows++] = (struct kernels_row){
            .token = v->ids[i], .position = s->n_tokens + i, .table = step->n_tables - 1};
    }
    step->n_guessed += v->n;
}

/* Guesses that the timeline has by now. */
static int count_right(const struct local_session *s) {
    const struct verify *v = &s->verify;
    int n = 0;
    while (n < v->n && v->base + n < s->n_tokens && s->tokens[v->base + n] == v->ids[n])
        n++;
    return n;
}

static void settle(struct local_engine *e, struct local_session *s, int right) {
    struct verify *v = &s->verify;
    if (s->n_computed == v->base) { /* else what stands before was replaced, and nothing counts */
        int n_rows = s->n_rows;
        s->n_rows = right;
        hold_count(s);
        s->n_rows = n_rows;
        e->n_computed += (uint64_t)right;
        s->n_computed += right;
        hold_publish(e, s);
    }
    speculate_learn(&v->luck, v->matched, v->n, right);
    s->gen.n_drafted += v->n;
    s->gen.n_accepted += right;
    v->n = 0;
}

void verify_next(struct local_engine *e, struct local_session *s) {
    struct verify *v = &s->verify;
    s->output = -1;
    if (v->n == 0)
        return;
    int right = count_right(s), written = s->n_tokens - v->base;
    bool runs = s->gen.running && !s->gen.cancel && !s->dead;
    if (runs && s->n_computed == v->base && right == written && s->n_tokens > v->at) {
        v->at = s->n_tokens;
        s->output = v->output + written;
    } else {
        settle(e, s, right);
    }
}

void verify_end(struct local_engine *e, struct local_session *s) {
    if (s->verify.n > 0)
        settle(e, s, count_right(s));
}
