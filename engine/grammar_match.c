/* Matchers: a place in a grammar. */
#include "engine/grammar_names.h"
#include "engine/grammar_program.h"
#include "engine/grammar_vocab.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- life ---- */

static void register_matcher(struct grammar_matcher *m, struct grammar *g, uint32_t state) {
    m->names = (struct grammar_names){0};
    m->grammar = grammar_ref(g);
    m->state = state;
    m->next = g->matchers;
    m->link = &g->matchers;
    if (m->next != NULL)
        m->next->link = &m->next;
    g->matchers = m;
}

int grammar_matcher_init(struct grammar_matcher *m, struct grammar *g) {
    register_matcher(m, g, g->automaton.start);
    return 0;
}

int grammar_matcher_clone(struct grammar_matcher *m, const struct grammar_matcher *from) {
    register_matcher(m, from->grammar, from->state);
    grammar_names_copy(&m->names, &from->names);
    return 0;
}

void grammar_matcher_finish(struct grammar_matcher *m) {
    if (m->grammar == NULL)
        return;
    *m->link = m->next;
    if (m->next != NULL)
        m->next->link = m->link;
    grammar_names_finish(&m->names);
    grammar_unref(m->grammar);
    *m = (struct grammar_matcher){0};
}

/* ---- taking ---- */

/* 1; 0 and the matcher stays; or the failure. */
static int go_to(struct grammar_matcher *m, uint32_t state) {
    if (m->grammar->automaton.status != 0)
        return m->grammar->automaton.status;
    if (state == GRAMMAR_STATE_DEAD)
        return 0;
    m->state = state;
    return 1;
}

/* Bytes of a shortest way to the end by a character that no name of the object has there, so that what is
 * written becomes a name of its own. GRAMMAR_FOREVER: there is none, or it was too much work to look. */
static uint32_t way_of_others(struct grammar *g, uint32_t state, const struct grammar_names *names) {
    bool taken[256] = {['"'] = true, ['\\'] = true};
    uint32_t least = GRAMMAR_FOREVER;
    size_t len;
    const char *rest;
    for (uint32_t at = 0; (rest = grammar_names_rest(names, &at, &len)) != NULL;)
        taken[len > 0 ? (unsigned char)*rest : '"'] = true;
    for (unsigned byte = 0; byte < 256 && g->automaton.status == 0; byte++) {
        if (taken[byte])
            continue;
        uint32_t next = grammar_automaton_next(g, state, g->classes[byte]);
        const struct grammar_state *to = &g->automaton.states[next];
        if (next != GRAMMAR_STATE_DEAD && to->distance < least)
            least = to->distance;
    }
    return least == GRAMMAR_FOREVER ? least : least + 1;
}

/* The next byte of a shortest way to the end, of these; '\0': it is none of them. */
static char nearer(struct grammar *g, uint32_t state, const char *bytes, uint32_t *next) {
    for (; *bytes != '\0'; bytes++) {
        *next = grammar_automaton_next(g, state, g->classes[(unsigned char)*bytes]);
        if (g->automaton.status == 0 && *next != GRAMMAR_STATE_DEAD &&
            g->automaton.states[*next].distance + 1 == g->automaton.states[state].distance)
            break;
    }
    return *bytes;
}

/* The same as way_of_others() from before the quote of a name. */
static uint32_t way_of_longer(struct grammar *g, uint32_t state, const struct grammar_names *names) {
    uint32_t n = 0, next = state, behind;
    char byte = ' ';
    for (; byte != '"' && byte != '\0'; state = next, n++)
        byte = nearer(g, state, "\" \n\t\r", &next);
    if (byte == '\0' || nearer(g, state, "\"", &behind) == '\0')
        return GRAMMAR_FOREVER; /* the empty name is not on the way */
    struct grammar_names in_name;
    grammar_names_copy(&in_name, names);
    uint32_t others =
        grammar_names_byte(&in_name, '"') == 1 ? way_of_others(g, state, &in_name) : GRAMMAR_FOREVER;
    grammar_names_finish(&in_name);
    return others == GRAMMAR_FOREVER ? others : n + others;
}

/* The names after a byte that leads from a state to the next one. 1, 0: the byte must not come. A name may
 * come again where it must: where no others begin like it. */
static int take_name(struct grammar *g, struct grammar_names *names, uint32_t from, uint32_t to,
                     unsigned char byte) {
    if (!grammar_names_is_inside(names))
        return g->automaton.states[to].names && (byte == '{' || byte == '[')
                   ? grammar_names_begin(names, byte)
                   : 1;
    if (byte == '"' && grammar_names_has_this(names) && way_of_others(g, from, names) != GRAMMAR_FOREVER)
        return 0;
    int rc = grammar_names_byte(names, byte);
    return rc == 0 ? 1 : rc;
}

/* Byte by byte, with a look at the names. `most`: work before the last byte. */
static int take_named(struct grammar_matcher *m, const char *bytes, size_t n, uint32_t most) {
    struct grammar *g = m->grammar;
    struct grammar_names names;
    uint32_t s = m->state;
    int rc = 1;
    grammar_names_copy(&names, &m->names);
    for (size_t i = 0; i < n && rc == 1; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        uint32_t next = grammar_automaton_next(g, s, g->classes[byte]);
        rc = g->automaton.status != 0 ? g->automaton.status : next != GRAMMAR_STATE_DEAD;
        if (rc == 1 && g->automaton.work > most && i + 1 < n)
            rc = -E2BIG;
        rc = rc == 1 ? take_name(g, &names, s, next, byte) : rc;
        s = next;
    }
    struct grammar_names dropped = rc == 1 ? m->names : names;
    if (rc == 1) {
        m->names = names;
        m->state = s;
    }
    grammar_names_finish(&dropped);
    return rc;
}

int grammar_matcher_bytes(struct grammar_matcher *m, const char *bytes, size_t n) {
    struct grammar *g = m->grammar;
    int rc = grammar_automaton_begin(g, grammar_state_room(g));
    if (rc < 0)
        return rc;
    if (g->names)
        return take_named(m, bytes, n, UINT32_MAX);
    uint32_t s = m->state;
    for (size_t i = 0; i < n && s != GRAMMAR_STATE_DEAD; i++)
        s = grammar_automaton_next(g, s, g->classes[(unsigned char)bytes[i]]);
    return go_to(m, s);
}

int grammar_matcher_byte(struct grammar_matcher *m, unsigned char byte) {
    char c = (char)byte;
    return grammar_matcher_bytes(m, &c, 1);
}

uint32_t grammar_symbol_of(const struct grammar *g, const char *text, size_t len) {
    for (uint32_t i = 0; i < g->n_tags; i++)
        if (g->tags[i].len == len && memcmp(g->tags[i].text, text, len) == 0)
            return GRAMMAR_SYMBOL_TAG + i;
    return GRAMMAR_SYMBOL_OTHER;
}

/* The state behind a token of these bytes. */
static uint32_t over_token(struct grammar *g, uint32_t from, uint64_t vocab, int32_t token, const char *text,
                           size_t len) {
    struct grammar_automaton *a = &g->automaton;
    struct grammar_hop *hop = &a->hops[(from * 31 + (uint32_t)token) % GRAMMAR_HOPS];
    if (hop->from == from && hop->token == token && a->hops_vocab == vocab)
        return hop->to;
    uint32_t before = a->work, to = grammar_automaton_over(g, from, text, len, GRAMMAR_WORK_TOKEN);
    if (a->work == before || a->status != 0)
        return to;
    if (a->hops_vocab != vocab)
        memset(a->hops, 0, sizeof a->hops);
    a->hops_vocab = vocab;
    *hop = (struct grammar_hop){from, to, token};
    return to;
}

int grammar_matcher_token(struct grammar_matcher *m, const struct grammar_vocab *vocab, int32_t token) {
    if (token < 0 || token >= vocab->n_tokens)
        return 0;
    const struct grammar_vocab_token *t = &vocab->tokens[token];
    if (t->kind == GRAMMAR_TOKEN_UNUSED)
        return 0;
    if (t->kind == GRAMMAR_TOKEN_END)
        return grammar_matcher_is_complete(m);
    size_t len;
    const char *text = grammar_vocab_text(vocab, (uint32_t)token, &len);
    struct grammar *g = m->grammar;
    int rc = grammar_automaton_begin(g, 2 * grammar_state_room(g));
    if (rc < 0)
        return rc;
    if (t->kind == GRAMMAR_TOKEN_BYTES) {
        bool inside = grammar_names_is_inside(&m->names);
        if (g->names && !(inside && (t->plain || grammar_names_is_new(&m->names, text, len))))
            return take_named(m, text, len, GRAMMAR_WORK_TOKEN);
        rc = go_to(m, over_token(g, m->state, vocab->fingerprint, token, text, len));
        if (inside && rc == 1 && t->plain)
            return grammar_names_plain(&m->names, text, len);
        for (size_t i = 0; inside && rc == 1 && i < len; i++)
            rc = grammar_names_byte(&m->names, (unsigned char)text[i]);
        return rc;
    }
    return go_to(m, grammar_automaton_next(g, m->state, g->n_classes + grammar_symbol_of(g, text, len)));
}

/* ---- looking ---- */

bool grammar_matcher_is_complete(const struct grammar_matcher *m) {
    return m->grammar->automaton.states[m->state].complete;
}

uint32_t grammar_matcher_distance(const struct grammar_matcher *m) {
    struct grammar *g = m->grammar;
    if (g->automaton.states[m->state].complete)
        return 0;
    /* A name that must not end here, or where it begins, needs one character more. */
    uint32_t others = GRAMMAR_FOREVER;
    if (grammar_names_has_this(&m->names))
        others = way_of_others(g, m->state, &m->names);
    else if (grammar_names_is_longer_next(&m->names))
        others = way_of_longer(g, m->state, &m->names);
    return others != GRAMMAR_FOREVER ? others : g->automaton.states[m->state].distance;
}

/* The only byte that may follow the state, or -1. */
static int only_byte(struct grammar *g, uint32_t state, uint32_t *next) {
    int byte = -1;
    if (g->automaton.states[state].complete)
        return -1;
    for (uint32_t column = 0; column < g->width; column++) {
        uint32_t s = grammar_automaton_next(g, state, column);
        if (s == GRAMMAR_STATE_DEAD)
            continue;
        if (byte >= 0 || column >= g->n_classes || !g->class_single[column])
            return -1;
        byte = g->class_byte[column];
        *next = s;
    }
    return byte;
}

long grammar_matcher_forced(const struct grammar_matcher *m, char *bytes, size_t size) {
    struct grammar *g = m->grammar;
    int rc = grammar_automaton_begin(g, 2 * grammar_state_room(g));
    uint32_t state = m->state;
    size_t n = 0;
    while (rc == 0 && n < size && g->automaton.work < GRAMMAR_WORK_MAX) {
        int byte = only_byte(g, state, &state);
        rc = g->automaton.status;
        if (byte < 0)
            break;
        bytes[n++] = (char)byte;
    }
    return rc < 0 ? rc : (long)n;
}
