/* Masks where names must not come again. */
#include "engine/grammar_names.h"
#include "engine/grammar_vocab.h"

#include <errno.h>
#include <string.h>

static void clear_bit(uint32_t *mask, uint32_t id) {
    mask[id / 32] &= ~((uint32_t)1 << id % 32);
}

/* Takes the token out when it is in the mask and leads nowhere because of the names. */
static int try(const struct grammar_matcher *m, const struct grammar_vocab *v, uint32_t id, uint32_t *mask) {
    struct grammar_matcher probe;
    if ((mask[id / 32] >> id % 32 & 1) == 0)
        return 0;
    int rc = grammar_matcher_clone(&probe, m);
    rc = rc < 0 ? rc : grammar_matcher_token(&probe, v, (int32_t)id);
    grammar_matcher_finish(&probe);
    if (rc == 0 || rc == -E2BIG)
        clear_bit(mask, id);
    return rc == -E2BIG || rc > 0 ? 0 : rc;
}

/* The same for one that may close a name that its object has already: if it does. */
static int try_if_again(const struct grammar_matcher *m, const struct grammar_vocab *v, uint32_t id,
                        uint32_t *mask) {
    struct grammar_names names;
    size_t len;
    const char *text = grammar_vocab_text(v, id, &len);
    int rc = 1;
    if ((mask[id / 32] >> id % 32 & 1) == 0)
        return 0;
    grammar_names_copy(&names, &m->names);
    for (size_t i = 0; i < len && rc == 1; i++)
        rc = grammar_names_byte(&names, (unsigned char)text[i]);
    grammar_names_finish(&names);
    return rc == 0 || rc == -E2BIG ? try(m, v, id, mask) : rc < 0 ? rc : 0;
}

int grammar_names_drop_repeats(const struct grammar_matcher *m, const struct grammar_vocab *v,
                               uint32_t *mask) {
    int rc = 0;
    size_t len;
    const char *rest;
    if (grammar_names_in_name(&m->names, false))
        for (uint32_t at = 0; rc == 0 && (rest = grammar_names_rest(&m->names, &at, &len)) != NULL;) {
            uint32_t n;
            const struct grammar_closer *c = grammar_vocab_closers(v, rest, len, &n);
            for (; n > 0 && rc == 0; n--, c++)
                rc = try(m, v, c->id, mask);
        }
    for (uint32_t i = 0; i < v->quotes.n_odd && rc == 0; i++)
        rc = try_if_again(m, v, v->quotes.odd[i], mask);
    for (size_t w = 0; w < v->words && grammar_names_in_name(&m->names, true) && rc == 0; w++)
        for (uint32_t bits = mask[w] & v->quotes.all[w]; bits != 0 && rc == 0; bits &= bits - 1)
            rc = try_if_again(m, v, (uint32_t)w * 32 + (uint32_t)__builtin_ctz(bits), mask);
    return rc;
}

/* Whether the token may lead to a name that must not end there: it writes all that is left of one, or it is
 * not plain; or it comes before one that must not be empty. */
static bool may_end_at_name(const struct grammar_matcher *m, const struct grammar_vocab *v, uint32_t id) {
    size_t len, rest_len;
    const char *text = grammar_vocab_text(v, id, &len), *rest;
    if (grammar_names_in_name(&m->names, true) || grammar_names_is_longer_next(&m->names) ||
        !v->tokens[id].plain)
        return true;
    for (uint32_t at = 0; (rest = grammar_names_rest(&m->names, &at, &rest_len)) != NULL;)
        if (rest_len == len && memcmp(rest, text, len) == 0)
            return true;
    return false;
}

int grammar_names_drop_far(const struct grammar_matcher *m, const struct grammar_vocab *v, uint32_t within,
                           uint32_t *mask) {
    for (size_t w = 0; w < v->words; w++)
        for (uint32_t bits = mask[w]; bits != 0; bits &= bits - 1) {
            uint32_t id = (uint32_t)w * 32 + (uint32_t)__builtin_ctz(bits);
            struct grammar_matcher probe;
            if (v->tokens[id].kind != GRAMMAR_TOKEN_BYTES || !may_end_at_name(m, v, id))
                continue;
            int rc = grammar_matcher_clone(&probe, m);
            rc = rc < 0 ? rc : grammar_matcher_token(&probe, v, (int32_t)id);
            if (rc == 1 && grammar_matcher_distance(&probe) >= within && !grammar_matcher_is_complete(&probe))
                clear_bit(mask, id);
            grammar_matcher_finish(&probe);
            if (rc < 0 && rc != -E2BIG)
                return rc;
        }
    return 0;
}
