/* What a grammar is made of inside: expressions, the program they become, and its states. Private to
 * engine/. */
#ifndef ENGINE_GRAMMAR_PROGRAM_H
#define ENGINE_GRAMMAR_PROGRAM_H

#include "engine/grammar.h"

#include <stdatomic.h>

/* ---- expressions (grammar_build.c) ---- */

enum grammar_kind {
    GRAMMAR_LITERAL,  /* a: offset in bytes, b: length */
    GRAMMAR_RANGE,    /* a to b */
    GRAMMAR_SEQUENCE, /* a: offset in items, b: number */
    GRAMMAR_CHOICE,   /* the same */
    GRAMMAR_REPEAT,   /* item a, b to c times */
    GRAMMAR_STRING,   /* a: one character, b to c times */
    GRAMMAR_OPEN,     /* item a, which may begin with any plain characters */
    GRAMMAR_CALL,     /* rule a */
    GRAMMAR_TAG,      /* tag a */
    GRAMMAR_UNTIL,    /* tag a */
    GRAMMAR_WITHOUT,  /* tag a */
};

struct grammar_expression {
    enum grammar_kind kind;
    uint32_t a, b, c;
};

struct grammar_rule_source {
    uint32_t expression; /* GRAMMAR_NONE: not defined */
    bool nested;
    bool names; /* unique in it */
};

#define GRAMMAR_TAG_BYTES 32

struct grammar_tag_text {
    char text[GRAMMAR_TAG_BYTES];
    size_t len;
};

struct grammar_builder {
    struct grammar_expression *expressions;
    size_t n_expressions, expressions_cap;
    uint32_t *items;
    size_t n_items, items_cap;
    char *bytes;
    size_t n_bytes, bytes_cap;
    struct grammar_rule_source *rules;
    size_t n_rules, rules_cap;
    struct grammar_tag_text tags[GRAMMAR_TAGS_MAX];
    size_t n_tags;
    uint32_t character; /* of a JSON string; GRAMMAR_NONE: not made yet */
    int status;         /* first failure */
    const char *why;
};

/* ---- the program (grammar_emit.c, grammar_fold.c, grammar_settle.c) ---- */

enum grammar_op {
    GRAMMAR_OP_RETURN,   /* of a rule; instruction 0 */
    GRAMMAR_OP_BYTES,    /* takes low … high, goes on at next */
    GRAMMAR_OP_SYMBOL,   /* takes symbol arg, goes on at next */
    GRAMMAR_OP_SPLIT,    /* at next and at arg */
    GRAMMAR_OP_JUMP,     /* at next */
    GRAMMAR_OP_FAIL,     /* nowhere */
    GRAMMAR_OP_CALL,     /* at rule arg, then at next */
    GRAMMAR_OP_LOOP,     /* begins loop arg */
    GRAMMAR_OP_LOOP_END, /* an iteration of loop arg is over */
    GRAMMAR_OP_STRING,   /* at next; marks that a character of loop arg (GRAMMAR_NONE: any number) begins */
    GRAMMAR_OP_TEXT,     /* at next; marks text until tag arg, of which `low` bytes came just now */
    GRAMMAR_OP_EDGES, /* takes what an edge from arg on takes, low + 256 * high of them, goes on as that says;
                         and at next without a byte, if it is not GRAMMAR_NONE */
};

struct grammar_instruction {
    uint8_t op, low, high;
    uint8_t
        height; /* nested rules that every way to the end of its rule or iteration has inside each other */
    uint32_t next, arg;
    uint32_t distance; /* bytes of a shortest way to there */
};
#define GRAMMAR_HEIGHT_MAX 255u /* and above */

/* Takes low … high, goes on at next. */
struct grammar_edge {
    uint8_t low, high;
    uint32_t next;
};

struct grammar_loop {
    uint32_t body, exit, end; /* instructions; `end` is the LOOP_END */
    uint32_t min, max;        /* max may be GRAMMAR_FOREVER */
};

struct grammar_rule_code {
    uint32_t entry;
    bool nested, names;
    uint16_t begins; /* bit `byte >> 4`: its text may begin with such a byte, or may be empty */
};

/* Symbols behind the byte classes of a row. */
#define GRAMMAR_SYMBOL_OTHER 0 /* an added token that is no tag */
#define GRAMMAR_SYMBOL_TAG   1 /* the first tag */

/* ---- states (grammar_automaton.c) ---- */

/* What comes after the end of a rule or an iteration; interned. Frame 0 is the bottom. */
struct grammar_frame {
    uint32_t parent;
    uint32_t pc;    /* where a call returns to, or the LOOP_END of a loop */
    uint32_t count; /* iterations of the loop that are complete */
    uint16_t depth; /* nested rules around */
    bool names;     /* inside of a value whose names are unique */
    uint32_t rest;  /* bytes of a shortest way from the end of the rule or iteration to the end */
};

struct grammar_thread {
    uint32_t pc, frame;
};

/* A kept mask. */
struct grammar_mask {
    uint32_t base; /* a slice of the vocabulary (grammar_vocab.h) */
    uint32_t n;    /* tokens that are other than in the slice; GRAMMAR_NONE: `data` is the whole mask */
    uint32_t bytes;
    bool used; /* since masks were last thrown away */
    uint32_t data[];
};

/* Whether a state is the inside of a string: plain ASCII characters lead back to it, control bytes nowhere.
 */
enum grammar_loops {
    GRAMMAR_LOOPS_UNKNOWN,
    GRAMMAR_LOOPS_NOT,
    GRAMMAR_LOOPS_ALL,
};

struct grammar_state {
    uint32_t first, n; /* its threads, sorted */
    uint32_t distance;
    /* That many characters of a string may follow at least, plain or escaped, and the first of one more when
     * it has several bytes; GRAMMAR_FOREVER: any number. */
    uint32_t plain;
    uint16_t text; /* tag * GRAMMAR_TAG_BYTES + bytes of it just seen, + 1: any text may follow that does not
                      end the tag */
    bool complete;
    bool names;                /* some thread is inside of a value whose names are unique */
    uint8_t loops;             /* enum grammar_loops */
    struct grammar_mask *mask; /* NULL: not computed */
};

/* Where a token of several bytes led that no row knew: the same one is often tried first and taken then. */
struct grammar_hop {
    uint32_t from, to; /* states; from GRAMMAR_STATE_NEW: none */
    int32_t token;
};
#define GRAMMAR_HOPS 16

#define GRAMMAR_STATE_NEW  0u /* in a row: not computed yet */
#define GRAMMAR_STATE_DEAD 1u

/* What a grammar should take with all that it keeps: what its program leaves of it goes to states and masks,
 * two thirds and one. */
#define GRAMMAR_BYTES 1000000u
/* Above grammar_state_room(), which is at most and at least this, the states are built anew, from where the
 * matchers are; before a token that a mask may have been made for, above twice of it, because the token goes
 * through the states of the mask. */
#define GRAMMAR_STATE_BYTES       (640u << 10)
#define GRAMMAR_STATE_BYTES_LEAST (160u << 10)
/* Above grammar_mask_room(), the masks that were not used of late go. */
#define GRAMMAR_MASK_BYTES       (256u << 10)
#define GRAMMAR_MASK_BYTES_LEAST (80u << 10)
/* One step or mask may go beyond, up to here. */
#define GRAMMAR_STATE_BYTES_MAX (64u << 20)
#define GRAMMAR_THREADS_MAX     (1u << 14) /* of a state, while it is made */

/* Work is counted, in what costs as much as a node of the trie, some 4 ns: GRAMMAR_WORK_STEP for each new
 * step, one for every GRAMMAR_SCANNED threads that it looks at, GRAMMAR_WORK_THREAD for each that it leads
 * to. A mask for which GRAMMAR_WORK_MAX are not enough is cut: it lacks tokens, but none that is a single
 * byte (unless even those are too much work), so that every text can still be written. A token that takes
 * more than GRAMMAR_WORK_TOKEN is refused (-E2BIG); one that the mask had found by walking takes none. */
#define GRAMMAR_WORK_MAX    600000u
#define GRAMMAR_WORK_TOKEN  1200000u
#define GRAMMAR_WORK_STEP   16u
#define GRAMMAR_WORK_THREAD 20u
#define GRAMMAR_SCANNED     4u

struct grammar_automaton {
    struct grammar_state *states;
    uint32_t n_states;
    size_t states_cap;
    uint32_t *rows; /* rows_cap times `width`: the next state by byte class or symbol */
    size_t rows_cap;
    uint32_t *state_slots, state_mask;
    struct grammar_thread *threads;
    uint32_t n_threads;
    size_t threads_cap;
    struct grammar_frame *frames;
    uint32_t n_frames;
    size_t frames_cap;
    uint32_t *frame_slots, frame_mask;
    size_t mask_bytes;
    size_t moved_bytes; /* of the states when they were last built anew */
    uint32_t start;
    int status;    /* first failure of the running operation */
    uint32_t work; /* of the running operation */
    /* the state being made */
    struct grammar_thread *list;
    uint32_t n_list;
    size_t list_cap;
    uint32_t *seen, seen_mask; /* index in list + 1 */
    /* where several bytes are taken at once: threads behind the last one, not followed yet; from first_passed
     * on those behind the next one */
    struct grammar_thread *passed;
    uint32_t n_passed, first_passed;
    size_t passed_cap;
    struct grammar_hop hops[GRAMMAR_HOPS]; /* by state and token */
    uint64_t hops_vocab;                   /* fingerprint of the tokens' vocabulary */
};

struct grammar {
    atomic_int references;
    struct grammar_instruction *code;
    uint32_t n_code;
    struct grammar_edge *edges;
    uint32_t n_edges;
    struct grammar_loop *loops;
    uint32_t n_loops;
    struct grammar_rule_code *rules;
    uint32_t n_rules, root;
    bool names; /* some rule has them */
    uint32_t max_nesting;
    uint8_t classes[256];    /* bytes that the program does not tell apart have one class */
    uint8_t class_byte[256]; /* a byte of the class */
    bool class_single[256];  /* the only one */
    uint32_t n_classes, width;
    struct grammar_tag_text tags[GRAMMAR_TAGS_MAX];
    uint32_t n_tags;
    uint64_t vocab;                       /* fingerprint of the vocabulary whose masks are kept; 0: none */
    int32_t tag_tokens[GRAMMAR_TAGS_MAX]; /* its added tokens of the tags, or -1 */
    size_t n_cut;                         /* masks that were cut */
    uint64_t n_looks;                     /* at ways between instructions, while it was compiled */
    struct grammar_matcher *matchers;
    struct grammar_automaton automaton;
};

/* Room for n more elements: the items, moved perhaps, or NULL when memory is out (they stay as they were). */
HX_MUST_CHECK void *grammar_grow(void *items, size_t size, size_t used, size_t *cap, size_t n);

static inline size_t grammar_program_bytes(const struct grammar *g) {
    return g->n_code * sizeof *g->code + g->n_edges * sizeof *g->edges + g->n_loops * sizeof *g->loops +
           g->n_rules * sizeof *g->rules;
}

static inline size_t grammar_room(const struct grammar *g, size_t thirds, size_t least, size_t most) {
    size_t program = grammar_program_bytes(g), left = program < GRAMMAR_BYTES ? GRAMMAR_BYTES - program : 0;
    size_t room = left / 3 * thirds;
    return room < least ? least : room > most ? most : room;
}

static inline size_t grammar_state_room(const struct grammar *g) {
    return grammar_room(g, 2, GRAMMAR_STATE_BYTES_LEAST, GRAMMAR_STATE_BYTES);
}

static inline size_t grammar_mask_room(const struct grammar *g) {
    return grammar_room(g, 1, GRAMMAR_MASK_BYTES_LEAST, GRAMMAR_MASK_BYTES);
}

/* The edges of an instruction that takes bytes; none for any other. `own`: room for one. */
static inline const struct grammar_edge *grammar_edges(const struct grammar *g, uint32_t pc,
                                                       struct grammar_edge *own, uint32_t *n) {
    const struct grammar_instruction *i = &g->code[pc];
    *own = (struct grammar_edge){i->low, i->high, i->next};
    *n = i->op == GRAMMAR_OP_BYTES ? 1 : i->op == GRAMMAR_OP_EDGES ? i->low + 256u * i->high : 0;
    return i->op == GRAMMAR_OP_EDGES ? g->edges + i->arg : own;
}

/* The compile steps, each fills its part of `g`; grammar_destroy() frees what there is. Instructions; */
HX_MUST_CHECK int grammar_emit(const struct grammar_builder *b, uint32_t root, struct grammar *g, char *err,
                               size_t errlen);
/* fewer of them, and classes of bytes; -ENOMEM; */
HX_MUST_CHECK int grammar_fold(struct grammar *g);
/* distances, heights, and that it can be matched. */
HX_MUST_CHECK int grammar_analyse(struct grammar *g, char *err, size_t errlen);
/* Refuses rules that call themselves before anything is taken. */
HX_MUST_CHECK int grammar_check_recursion(struct grammar *g, char *err, size_t errlen);

/* The start state. -ENOMEM, -E2BIG. */
HX_MUST_CHECK int grammar_automaton_start(struct grammar *g);
void grammar_automaton_finish(struct grammar *g);
/* The state behind `state` after a byte class or symbol: GRAMMAR_STATE_DEAD where there is none, and after a
 * failure, which then stands in automaton.status. */
uint32_t grammar_automaton_step(struct grammar *g, uint32_t state, uint32_t column);
/* The next column's place in the row, for who follows rows himself. */
static inline uint32_t grammar_automaton_next(struct grammar *g, uint32_t state, uint32_t column) {
    uint32_t next = g->automaton.rows[(size_t)state * g->width + column];
    return next != GRAMMAR_STATE_NEW ? next : grammar_automaton_step(g, state, column);
}
/* The state of the listed threads (engine/grammar_threads.h), which are followed first. */
uint32_t grammar_automaton_listed(struct grammar *g);
/* The state behind `state` after n bytes (grammar_pass.c). -E2BIG also when the work of the operation goes
 * above `most` before the last byte. */
uint32_t grammar_automaton_over(struct grammar *g, uint32_t state, const char *bytes, size_t n,
                                uint32_t most);
/* At the beginning of an operation: forgets failures, and states when they take more than `most` bytes. */
HX_MUST_CHECK int grammar_automaton_begin(struct grammar *g, size_t most);
size_t grammar_automaton_bytes(const struct grammar *g);
/* When the masks take too much: forgets those that were not used since it was last called; all, when too many
 * are left. */
void grammar_automaton_thin_masks(struct grammar *g);
/* All kept masks. */
void grammar_automaton_forget_masks(struct grammar *g);
/* What an added token of this text is behind the byte classes of a row. */
uint32_t grammar_symbol_of(const struct grammar *g, const char *text, size_t len);

#endif
