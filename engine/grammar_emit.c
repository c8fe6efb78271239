/* From expressions to instructions. Code is written from its end: each expression is given where to go on. */
#include "engine/grammar_program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RETURN 0u /* instruction 0 */

struct emitter {
    const struct grammar_builder *b;
    struct grammar *g;
    size_t code_cap, loops_cap;
    uint32_t *slots, n_slots; /* table of the instructions that may be used again; 0: none */
    int status;
};

static uint32_t put(struct emitter *e, struct grammar_instruction i) {
    if (e->status != 0)
        return RETURN;
    if (e->g->n_code >= GRAMMAR_INSTRUCTIONS_MAX) {
        e->status = -E2BIG;
        return RETURN;
    }
    void *grown = grammar_grow(e->g->code, sizeof i, e->g->n_code, &e->code_cap, 1);
    if (grown == NULL) {
        e->status = -ENOMEM;
        return RETURN;
    }
    e->g->code = grown;
    e->g->code[e->g->n_code] = i;
    return e->g->n_code++;
}

static uint64_t hash_of(const struct grammar_instruction *i) {
    uint64_t h = ((uint64_t)i->next << 32 | i->arg) * 0x9E3779B97F4A7C15u;
    h = (h ^ h >> 31 ^ (uint64_t)(i->op | i->low << 8 | i->high << 16)) * 0xD6E8FEB86659FD93u;
    return h ^ h >> 32;
}

static bool rehash(struct emitter *e) {
    uint32_t n = e->n_slots == 0 ? 1024 : e->n_slots * 2;
    uint32_t *slots = calloc(n, sizeof *slots);
    if (slots == NULL) {
        e->status = -ENOMEM;
        return false;
    }
    for (uint32_t k = 0; k < e->n_slots; k++) {
        if (e->slots[k] == 0)
            continue;
        uint64_t h = hash_of(&e->g->code[e->slots[k]]);
        while (slots[h & (n - 1)] != 0)
            h++;
        slots[h & (n - 1)] = e->slots[k];
    }
    free(e->slots);
    e->slots = slots;
    e->n_slots = n;
    return true;
}

/* The same instruction as before, where there is one: equal ends are written once. Not for what is changed
 * later. */
static uint32_t put_once(struct emitter *e, struct grammar_instruction i) {
    if (e->status != 0 || (e->g->n_code * 2 >= e->n_slots && !rehash(e)))
        return RETURN;
    uint64_t h = hash_of(&i);
    for (; e->slots[h & (e->n_slots - 1)] != 0; h++) {
        uint32_t pc = e->slots[h & (e->n_slots - 1)];
        const struct grammar_instruction *x = &e->g->code[pc];
        if (x->op == i.op && x->low == i.low && x->high == i.high && x->next == i.next && x->arg == i.arg)
            return pc;
    }
    uint32_t pc = put(e, i);
    if (e->status == 0)
        e->slots[h & (e->n_slots - 1)] = pc;
    return pc;
}

static uint32_t put_op(struct emitter *e, enum grammar_op op, uint32_t next, uint32_t arg) {
    return put_once(e, (struct grammar_instruction){.op = (uint8_t)op, .next = next, .arg = arg});
}

static uint32_t put_bytes(struct emitter *e, unsigned low, unsigned high, uint32_t next) {
    return put_once(e, (struct grammar_instruction){
                           .op = GRAMMAR_OP_BYTES, .low = (uint8_t)low, .high = (uint8_t)high, .next = next});
}

static uint32_t put_text(struct emitter *e, const char *text, size_t len, uint32_t next) {
    for (size_t i = len; i-- > 0;)
        next = put_bytes(e, (unsigned char)text[i], (unsigned char)text[i], next);
    return next;
}

static uint32_t emit(struct emitter *e, uint32_t expression, uint32_t next, int depth);

static uint32_t put_loop(struct emitter *e, const struct grammar_expression *x, uint32_t next, int depth) {
    if (e->status != 0)
        return RETURN;
    void *grown = grammar_grow(e->g->loops, sizeof *e->g->loops, e->g->n_loops, &e->loops_cap, 1);
    if (grown == NULL) {
        e->status = -ENOMEM;
        return RETURN;
    }
    e->g->loops = grown;
    uint32_t loop = e->g->n_loops++;
    uint32_t end = put_op(e, GRAMMAR_OP_LOOP_END, RETURN, loop);
    e->g->loops[loop] =
        (struct grammar_loop){.body = RETURN, .exit = next, .end = end, .min = x->b, .max = x->c};
    uint32_t body = emit(e, x->a, end, depth);
    if (x->kind == GRAMMAR_STRING)
        body = put_op(e, GRAMMAR_OP_STRING, body, loop);
    e->g->loops[loop].body = body;
    return put_op(e, GRAMMAR_OP_LOOP, RETURN, loop);
}

static uint32_t put_repeat(struct emitter *e, const struct grammar_expression *x, uint32_t next, int depth) {
    bool string = x->kind == GRAMMAR_STRING;
    if (x->c == 0)
        return next;
    if (x->c == 1 && !string) {
        uint32_t body = emit(e, x->a, next, depth);
        return x->b == 1 ? body : put_op(e, GRAMMAR_OP_SPLIT, body, next);
    }
    if (x->c != GRAMMAR_FOREVER || x->b > 1)
        return put_loop(e, x, next, depth);
    uint32_t again =
        put(e, (struct grammar_instruction){.op = GRAMMAR_OP_SPLIT, .next = RETURN, .arg = next});
    uint32_t head = string ? put_op(e, GRAMMAR_OP_STRING, again, GRAMMAR_NONE) : again;
    uint32_t body = emit(e, x->a, head, depth);
    if (e->status != 0)
        return RETURN;
    e->g->code[again].next = body;
    if (x->b == 0)
        return head;
    return string ? put_op(e, GRAMMAR_OP_STRING, body, GRAMMAR_NONE) : body;
}

/* Where to be after `byte` when the first `matched` bytes of the tag were just seen (Knuth, Morris, Pratt).
 */
static size_t tag_step(const struct grammar_tag_text *tag, size_t matched, char byte) {
    for (size_t n = matched + 1; n > 0; n--) {
        if (tag->text[n - 1] == byte && memcmp(tag->text, tag->text + (matched + 1 - n), n - 1) == 0)
            return n;
    }
    return 0;
}

/* One alternative more. */
static uint32_t either(struct emitter *e, uint32_t a, uint32_t b) {
    return put_op(e, GRAMMAR_OP_SPLIT, a, b);
}

/* Text in which the tag did not come yet: one instruction for each number of its bytes seen just now. */
static uint32_t put_dispatch(struct emitter *e, uint32_t tag_index, bool until, uint32_t next) {
    const struct grammar_tag_text *tag = &e->b->tags[tag_index];
    uint32_t heads[sizeof tag->text] = {0};
    for (size_t i = 0; i < tag->len; i++)
        heads[i] = put(e, (struct grammar_instruction){
                              .op = GRAMMAR_OP_TEXT, .low = (uint8_t)i, .next = RETURN, .arg = tag_index});
    for (size_t i = 0; i < tag->len && e->status == 0; i++) {
        uint32_t ways = put_op(e, GRAMMAR_OP_SYMBOL, heads[0], GRAMMAR_SYMBOL_OTHER);
        ways = either(e, ways,
                      until ? put_op(e, GRAMMAR_OP_SYMBOL, next, GRAMMAR_SYMBOL_TAG + tag_index) : next);
        unsigned from = 0;
        for (unsigned byte = 0; byte < 256; byte++) {
            size_t to = tag_step(tag, i, (char)byte);
            if (to == 0 && byte < 255)
                continue;
            if (byte > from || to == 0)
                ways = either(e, ways, put_bytes(e, from, to == 0 ? byte : byte - 1, heads[0]));
            from = byte + 1;
            if (to == tag->len && until)
                ways = either(e, ways, put_bytes(e, byte, byte, next));
            else if (to > 0 && to < tag->len)
                ways = either(e, ways, put_bytes(e, byte, byte, heads[to]));
        }
        if (e->status == 0)
            e->g->code[heads[i]].next = ways;
    }
    return heads[0];
}

static uint32_t put_call(struct emitter *e, uint32_t rule, uint32_t next) {
    /* What ends with a call needs no frame to come back to. The target is filled in later. */
    if (next == RETURN && !e->b->rules[rule].nested && !e->b->rules[rule].names)
        return put_op(e, GRAMMAR_OP_JUMP, GRAMMAR_NONE, rule);
    return put_op(e, GRAMMAR_OP_CALL, next, rule);
}

static uint32_t emit(struct emitter *e, uint32_t expression, uint32_t next, int depth) {
    const struct grammar_expression *x = &e->b->expressions[expression];
    if (depth >= GRAMMAR_DEPTH_MAX)
        e->status = e->status != 0 ? e->status : -E2BIG;
    if (e->status != 0)
        return RETURN;
    switch (x->kind) {
    case GRAMMAR_LITERAL:
        return put_text(e, e->b->bytes + x->a, x->b, next);
    case GRAMMAR_RANGE:
        return put_bytes(e, x->a, x->b, next);
    case GRAMMAR_SEQUENCE:
        for (uint32_t i = x->b; i-- > 0;)
            next = emit(e, e->b->items[x->a + i], next, depth + 1);
        return next;
    case GRAMMAR_CHOICE: {
        if (x->b == 0)
            return put_op(e, GRAMMAR_OP_FAIL, RETURN, 0);
        uint32_t whole = emit(e, e->b->items[x->a], next, depth + 1);
        for (uint32_t i = 1; i < x->b; i++)
            whole = either(e, whole, emit(e, e->b->items[x->a + i], next, depth + 1));
        return whole;
    }
    case GRAMMAR_REPEAT:
    case GRAMMAR_STRING:
        return put_repeat(e, x, next, depth + 1);
    case GRAMMAR_OPEN:
        return put_op(e, GRAMMAR_OP_STRING, emit(e, x->a, next, depth + 1), GRAMMAR_NONE);
    case GRAMMAR_CALL:
        return put_call(e, x->a, next);
    case GRAMMAR_TAG:
        return either(e, put_op(e, GRAMMAR_OP_SYMBOL, next, GRAMMAR_SYMBOL_TAG + x->a),
                      put_text(e, e->b->tags[x->a].text, e->b->tags[x->a].len, next));
    case GRAMMAR_UNTIL:
    case GRAMMAR_WITHOUT:
        return put_dispatch(e, x->a, x->kind == GRAMMAR_UNTIL, next);
    }
    return RETURN;
}

/* The rules from the last, which is the innermost as things are usually built, to the first. */
static void emit_rules(struct emitter *e) {
    struct grammar *g = e->g;
    for (size_t r = e->b->n_rules; r-- > 0 && e->status == 0;) {
        const struct grammar_rule_source *source = &e->b->rules[r];
        g->rules[r] = (struct grammar_rule_code){emit(e, source->expression, RETURN, 0), source->nested,
                                                 source->names, UINT16_MAX};
        g->names = g->names || source->names;
    }
}

int grammar_emit(const struct grammar_builder *b, uint32_t root, struct grammar *g, char *err,
                 size_t errlen) {
    struct emitter e = {.b = b, .g = g};
    for (size_t r = 0; r < b->n_rules; r++)
        if (b->rules[r].expression == GRAMMAR_NONE)
            return err_set(err, errlen, -EINVAL, "Rule %zu of the grammar is not defined.", r);
    if (root >= b->n_expressions)
        return err_set(err, errlen, -EINVAL, "The grammar has no beginning.");
    memcpy(g->tags, b->tags, sizeof g->tags);
    g->n_tags = (uint32_t)b->n_tags;
    g->n_rules = (uint32_t)b->n_rules;
    g->rules = calloc(b->n_rules + 1, sizeof *g->rules);
    if (g->rules == NULL)
        e.status = -ENOMEM;
    (void)put_op(&e, GRAMMAR_OP_RETURN, RETURN, 0);
    if (e.status == 0)
        emit_rules(&e);
    g->root = e.status == 0 ? emit(&e, root, RETURN, 0) : RETURN;
    free(e.slots);
    if (e.status == -E2BIG)
        return err_set(err, errlen, -E2BIG,
                       "The grammar has more than %u instructions, or expressions more than %d deep.",
                       GRAMMAR_INSTRUCTIONS_MAX, GRAMMAR_DEPTH_MAX);
    if (e.status < 0)
        return err_set(err, errlen, e.status, "Not enough memory for the grammar.");
    for (uint32_t i = 0; i < g->n_code; i++)
        if (g->code[i].op == GRAMMAR_OP_JUMP && g->code[i].next == GRAMMAR_NONE)
            g->code[i].next = g->rules[g->code[i].arg].entry;
    return 0;
}
