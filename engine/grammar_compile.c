/* From the builder to a grammar, and its life. */
#include "engine/grammar_program.h"

#include <errno.h>
#include <stdlib.h>

static void destroy(struct grammar *g) {
    grammar_automaton_finish(g);
    free(g->code);
    free(g->edges);
    free(g->loops);
    free(g->rules);
    free(g);
}

int grammar_compile(struct grammar_builder *b, uint32_t root, uint32_t max_nesting, struct grammar **out,
                    char *err, size_t errlen) {
    if (b->status != 0)
        return err_set(err, errlen, b->status, "%s", b->why);
    struct grammar *g = calloc(1, sizeof *g);
    if (g == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the grammar.");
    atomic_init(&g->references, 1);
    g->max_nesting = max_nesting < GRAMMAR_NESTING_MAX ? max_nesting : GRAMMAR_NESTING_MAX;
    int rc = grammar_emit(b, root, g, err, errlen);
    if (rc == 0 && (rc = grammar_fold(g)) < 0)
        rc = err_set(err, errlen, rc, "Not enough memory for the grammar.");
    rc = rc ? rc : grammar_analyse(g, err, errlen);
    rc = rc ? rc : grammar_check_recursion(g, err, errlen);
    if (rc == 0 && (rc = grammar_automaton_start(g)) < 0)
        rc = err_set(err, errlen, rc, "The beginning of the grammar has too many ways to go, or no memory.");
    if (rc < 0) {
        destroy(g);
        return rc;
    }
    *out = g;
    return 0;
}

struct grammar *grammar_ref(struct grammar *g) {
    atomic_fetch_add_explicit(&g->references, 1, memory_order_relaxed);
    return g;
}

void grammar_unref(struct grammar *g) {
    if (g != NULL && atomic_fetch_sub_explicit(&g->references, 1, memory_order_acq_rel) == 1)
        destroy(g);
}

void grammar_info(const struct grammar *g, struct grammar_info *info) {
    const struct grammar_automaton *a = &g->automaton;
    *info = (struct grammar_info){
        .n_rules = g->n_rules,
        .n_instructions = g->n_code,
        .program_bytes = grammar_program_bytes(g),
        .n_states = a->n_states,
        .state_bytes = grammar_automaton_bytes(g),
        .mask_bytes = a->mask_bytes,
        .n_cut = g->n_cut,
    };
}
