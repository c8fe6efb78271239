#include "tools/regex.h"

#include "base/utf8.h"
#include "tools/regex_build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VISITS_MAX (8 * REGEX_STATES_MAX)

enum op {
    OP_SET,      /* takes one character of the set, goes on behind */
    OP_SPLIT,    /* goes on at both targets */
    OP_JUMP,     /* goes on at the first target */
    OP_BEGIN,    /* goes on behind where this holds */
    OP_END,      /* … */
    OP_WORD,     /* … */
    OP_NOT_WORD, /* … */
    OP_MATCH,
};

/* The characters of a step, shared by the copies that a counted repetition makes. */
struct regex_characters {
    uint64_t ascii[2]; /* bit per character below 128 */
    const struct regex_node *node;
};

struct regex_step {
    enum op op;
    union {
        uint32_t to[2];
        const struct regex_characters *set;
    };
};

void *regex_keep(struct regex *regex, size_t size) {
    struct regex_kept *kept = calloc(1, sizeof *kept + size);
    if (kept == NULL)
        return NULL;
    kept->next = regex->kept;
    regex->kept = kept;
    return kept->bytes;
}

/* ---- compiling ---- */

static int emit_node(struct regex *regex, const struct regex_node *node);

static int emit(struct regex *regex, enum op op, uint32_t first, uint32_t second) {
    if (regex->n_steps == REGEX_STATES_MAX)
        return -E2BIG;
    if (regex->n_steps == regex->cap_steps) {
        size_t cap = regex->cap_steps == 0 ? 16 : regex->cap_steps * 2;
        struct regex_step *more = realloc(regex->steps, cap * sizeof *more);
        if (more == NULL)
            return -ENOMEM;
        regex->steps = more;
        regex->cap_steps = cap;
    }
    regex->steps[regex->n_steps++] = (struct regex_step){.op = op, .to = {first, second}};
    return 0;
}

static int make_set(struct regex *regex, const struct regex_node *node, const struct regex_characters **out) {
    struct regex_characters *set = regex_keep(regex, sizeof *set);
    if (set == NULL)
        return -ENOMEM;
    set->node = node;
    for (size_t i = 0; i < node->n_ranges; i++)
        for (uint32_t c = node->ranges[i].first; c <= node->ranges[i].last && c < 128; c++)
            set->ascii[c / 64] |= 1ull << c % 64;
    regex->sets[node->set_id] = set;
    *out = set;
    return 0;
}

static int emit_set(struct regex *regex, const struct regex_node *node) {
    const struct regex_characters *set = regex->sets[node->set_id];
    int rc = set != NULL ? 0 : make_set(regex, node, &set);
    rc = rc ? rc : emit(regex, OP_SET, 0, 0);
    if (rc == 0)
        regex->steps[regex->n_steps - 1].set = set;
    return rc;
}

/* split → first, or the rest; a jump behind the last at the end of each. */
static int emit_alternatives(struct regex *regex, const struct regex_node *node) {
    size_t last_jump = SIZE_MAX; /* the jumps, chained until the end is known */
    for (size_t i = 0; i < node->n_children; i++) {
        size_t split = regex->n_steps;
        bool more = i + 1 < node->n_children;
        int rc = more ? emit(regex, OP_SPLIT, (uint32_t)split + 1, 0) : 0;
        rc = rc ? rc : emit_node(regex, node->children[i]);
        if (rc == 0 && more) {
            rc = emit(regex, OP_JUMP, (uint32_t)last_jump, 0);
            last_jump = regex->n_steps - 1;
            regex->steps[split].to[1] = (uint32_t)regex->n_steps;
        }
        if (rc != 0)
            return rc;
    }
    while ((uint32_t)last_jump != UINT32_MAX) {
        uint32_t before = regex->steps[last_jump].to[0];
        regex->steps[last_jump].to[0] = (uint32_t)regex->n_steps;
        last_jump = before;
    }
    return 0;
}

/* The loop of x*: split, x, jump back. */
static int emit_loop(struct regex *regex, const struct regex_node *child) {
    size_t split = regex->n_steps;
    int rc = emit(regex, OP_SPLIT, (uint32_t)split + 1, 0);
    rc = rc ? rc : emit_node(regex, child);
    rc = rc ? rc : emit(regex, OP_JUMP, (uint32_t)split, 0);
    if (rc == 0)
        regex->steps[split].to[1] = (uint32_t)regex->n_steps;
    return rc;
}

/* min copies, then a loop, or max - min copies that may each be left out with all behind it. */
static int emit_repeat(struct regex *regex, const struct regex_node *node) {
    const struct regex_node *child = node->children[0];
    uint32_t last_split = UINT32_MAX;
    int rc = 0;
    if (child->kind == REGEX_EMPTY)
        return 0;
    for (uint32_t i = 0; i < node->min && rc == 0; i++)
        rc = emit_node(regex, child);
    if (rc == 0 && node->max == REGEX_FOREVER)
        return emit_loop(regex, child);
    for (uint32_t i = node->min; i < node->max && rc == 0; i++) {
        uint32_t split = (uint32_t)regex->n_steps;
        rc = emit(regex, OP_SPLIT, split + 1, last_split);
        rc = rc ? rc : emit_node(regex, child);
        last_split = split;
    }
    while (rc == 0 && last_split != UINT32_MAX) {
        uint32_t before = regex->steps[last_split].to[1];
        regex->steps[last_split].to[1] = (uint32_t)regex->n_steps;
        last_split = before;
    }
    return rc;
}

/* As deep as the groups. */
static int emit_node(struct regex *regex, const struct regex_node *node) {
    int rc = 0;
    if (++regex->visits > VISITS_MAX)
        return -E2BIG;
    switch (node->kind) {
    case REGEX_EMPTY:
        return 0;
    case REGEX_SET:
        return emit_set(regex, node);
    case REGEX_CAT:
        for (size_t i = 0; i < node->n_children && rc == 0; i++)
            rc = emit_node(regex, node->children[i]);
        return rc;
    case REGEX_ALT:
        return emit_alternatives(regex, node);
    case REGEX_REPEAT:
        return emit_repeat(regex, node);
    case REGEX_BEGIN:
        return emit(regex, OP_BEGIN, 0, 0);
    case REGEX_END:
        return emit(regex, OP_END, 0, 0);
    case REGEX_WORD:
        return emit(regex, OP_WORD, 0, 0);
    case REGEX_NOT_WORD:
        break;
    }
    return emit(regex, OP_NOT_WORD, 0, 0);
}

/* Makes the steps of the tree. */
static int build(struct regex *regex, char *err, size_t errlen) {
    regex->sets = regex_keep(regex, (regex->n_sets + 1u) * sizeof *regex->sets);
    int rc = regex->sets != NULL ? emit_node(regex, regex->tree) : -ENOMEM;
    rc = rc ? rc : emit(regex, OP_MATCH, 0, 0);
    if (rc == -E2BIG)
        return err_set(err, errlen, rc, "the pattern needs more than %d states", REGEX_STATES_MAX);
    return rc != 0 ? err_set(err, errlen, rc, "no memory for the pattern") : 0;
}

int regex_compile(const char *pattern, struct regex **out, char *err, size_t errlen) {
    struct regex *regex = calloc(1, sizeof *regex);
    if (regex != NULL)
        regex->source = strdup(pattern);
    int rc = regex == NULL || regex->source == NULL
                 ? err_set(err, errlen, -ENOMEM, "no memory for the pattern")
                 : regex_parse(regex, err, errlen);
    rc = rc ? rc : build(regex, err, errlen);
    if (rc == 0)
        *out = regex;
    else
        regex_destroy(regex);
    return rc;
}

void regex_destroy(struct regex *regex) {
    if (regex == NULL)
        return;
    for (struct regex_kept *kept = regex->kept, *next; kept != NULL; kept = next) {
        next = kept->next;
        free(kept);
    }
    free(regex->steps);
    free(regex->source);
    free(regex);
}

size_t regex_states(const struct regex *regex) {
    return regex->n_steps;
}

const char *regex_source(const struct regex *regex) {
    return regex->source;
}

const struct regex_node *regex_tree(const struct regex *regex) {
    return regex->tree;
}

/* ---- matching ---- */

#define NO_CHARACTER UINT32_MAX

/* All the states that one position of the text has. */
struct states {
    uint32_t *list;    /* the ones that take a character */
    uint32_t *stack;   /* to be followed */
    uint32_t *mark;    /* per state: the position that saw it last */
    uint32_t position; /* counts from 1 */
    uint32_t n;
    uint64_t followed;
    uint32_t before, after; /* the characters on both sides, or NO_CHARACTER */
    bool matched;
};

static bool is_word(uint32_t c) {
    return c < 128 && (c == '_' || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'));
}

static bool holds(const struct states *s, enum op op) {
    bool border = is_word(s->before) != is_word(s->after);
    return op == OP_BEGIN  ? s->before == NO_CHARACTER
           : op == OP_END  ? s->after == NO_CHARACTER
           : op == OP_WORD ? border
                           : !border;
}

static void reach(struct states *s, uint32_t *depth, uint32_t step) {
    if (s->mark[step] == s->position)
        return;
    s->mark[step] = s->position;
    s->stack[(*depth)++] = step;
}

/* Adds the state and all it leads to without a character. */
static void follow(const struct regex *regex, struct states *s, uint32_t start) {
    uint32_t depth = 0;
    reach(s, &depth, start);
    while (depth > 0) {
        uint32_t at = s->stack[--depth];
        const struct regex_step *step = &regex->steps[at];
        s->followed++;
        if (step->op == OP_SET) {
            s->list[s->n++] = at;
        } else if (step->op == OP_MATCH) {
            s->matched = true;
        } else if (step->op == OP_SPLIT) {
            reach(s, &depth, step->to[1]);
            reach(s, &depth, step->to[0]);
        } else if (step->op == OP_JUMP) {
            reach(s, &depth, step->to[0]);
        } else if (holds(s, step->op)) {
            reach(s, &depth, at + 1);
        }
    }
}

static bool set_has(const struct regex_characters *set, uint32_t c) {
    if (c < 128)
        return (set->ascii[c / 64] >> c % 64 & 1) != 0;
    size_t low = 0, high = set->node->n_ranges;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c > set->node->ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < set->node->n_ranges && c >= set->node->ranges[low].first;
}

/* The code point at `text`; its length goes to *len. NO_CHARACTER and 0 at the end. */
static uint32_t decode(const char *text, size_t left, size_t *len) {
    static const unsigned char lead_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    if (left == 0) {
        *len = 0;
        return NO_CHARACTER;
    }
    size_t n = utf8_length(text, left);
    if (n == 0) { /* not UTF-8: a byte that no set has */
        *len = 1;
        return REGEX_LAST + 1;
    }
    uint32_t c = (unsigned char)text[0] & lead_bits[n];
    for (size_t i = 1; i < n; i++)
        c = c << 6 | ((unsigned char)text[i] & 0x3fu);
    *len = n;
    return c;
}

static int run(const struct regex *regex, struct states *s, uint32_t *kept, const char *text, size_t len,
               uint64_t *budget) {
    size_t at = 0, width;
    uint32_t n_kept = 0;
    s->before = NO_CHARACTER;
    for (;;) {
        s->after = decode(text + at, len - at, &width);
        s->position++;
        s->n = 0;
        s->followed = 1;
        for (uint32_t i = 0; i < n_kept; i++)
            follow(regex, s, kept[i]);
        follow(regex, s, 0);
        if (s->matched || width == 0)
            return s->matched;
        if (*budget < s->followed) {
            *budget = 0;
            return -E2BIG;
        }
        *budget -= s->followed;
        n_kept = 0;
        for (uint32_t i = 0; i < s->n; i++)
            if (set_has(regex->steps[s->list[i]].set, s->after))
                kept[n_kept++] = s->list[i] + 1;
        s->before = s->after;
        at += width;
    }
}

int regex_search(const struct regex *regex, const char *text, size_t len, uint64_t *budget) {
    uint64_t start = regex->n_steps / 4 + 1; /* clearing the marks costs, too */
    if (*budget < start) {
        *budget = 0;
        return -E2BIG;
    }
    *budget -= start;
    uint32_t *room = calloc(regex->n_steps * 4, sizeof *room);
    if (room == NULL)
        return -ENOMEM;
    struct states s = {.list = room, .stack = room + regex->n_steps, .mark = room + 2 * regex->n_steps};
    int found = run(regex, &s, room + 3 * regex->n_steps, text, len, budget);
    free(room);
    return found;
}
