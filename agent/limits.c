#include "agent/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const struct agent_limits agent_limits_default = {
    .max_turns = 16,
    .max_calls = 64,
    .max_calls_per_turn = 8,
    .max_output_tokens = 16384,
    .max_turn_tokens = 4096,
    .max_identical_calls = 3,
    .max_result_bytes = 32 * 1024,
};

struct limits_repeat {
    uint64_t signature;
    int count;
};

void limits_init(struct limits *l, const struct agent_limits *max) {
    *l = (struct limits){.max = *max};
}

void limits_finish(struct limits *l) {
    free(l->repeats);
    *l = (struct limits){.max = l->max};
}

void limits_reset(struct limits *l) {
    l->turns = l->calls = l->tokens = 0;
    l->n_repeats = 0;
}

const char *limits_turn(struct limits *l, char *text, size_t size) {
    if (l->max.max_turns <= 0 || l->turns < l->max.max_turns) {
        l->turns++;
        return NULL;
    }
    snprintf(text, size, "The job used all %d turns it may have and is not finished.", l->max.max_turns);
    return "max_turns";
}

const char *limits_call(struct limits *l, char *text, size_t size) {
    int max =
        l->max.max_calls > 0 && l->max.max_calls < LIMITS_CALLS_MAX ? l->max.max_calls : LIMITS_CALLS_MAX;
    if (l->calls < max) {
        l->calls++;
        return NULL;
    }
    snprintf(text, size, "The job used all %d tool calls it may have and asked for another.", max);
    return "max_tool_calls";
}

const char *limits_same_call(struct limits *l, const char *name, uint64_t signature, int *status, char *text,
                             size_t size) {
    *status = 0;
    if (l->max.max_identical_calls <= 0)
        return NULL;
    size_t i = 0;
    while (i < l->n_repeats && l->repeats[i].signature != signature)
        i++;
    if (i == l->n_repeats && i == l->cap_repeats) {
        size_t cap = l->cap_repeats == 0 ? 16 : l->cap_repeats * 2;
        struct limits_repeat *more = realloc(l->repeats, cap * sizeof *more);
        if (more == NULL) {
            *status = -ENOMEM;
            return NULL;
        }
        l->repeats = more;
        l->cap_repeats = cap;
    }
    if (i == l->n_repeats)
        l->repeats[l->n_repeats++] = (struct limits_repeat){signature, 0};
    if (++l->repeats[i].count <= l->max.max_identical_calls)
        return NULL;
    snprintf(text, size, "The model made the same call of '%.100s' more than %d times.", name,
             l->max.max_identical_calls);
    return "identical_calls";
}

static int tokens_left(const struct limits *l) {
    return l->max.max_output_tokens > 0 ? l->max.max_output_tokens - l->tokens : LIMITS_TURN_TOKENS_MAX;
}

static int tokens_of_turn(const struct limits *l) {
    return l->max.max_turn_tokens > 0 ? l->max.max_turn_tokens : LIMITS_TURN_TOKENS_MAX;
}

int limits_tokens(const struct limits *l) {
    int left = tokens_left(l), turn = tokens_of_turn(l);
    return left < turn ? left : turn;
}

const char *limits_token_reason(const struct limits *l, char *text, size_t size) {
    if (tokens_left(l) <= tokens_of_turn(l)) {
        snprintf(text, size, "The job used all %d tokens it may generate and is not finished.",
                 l->max.max_output_tokens);
        return l->max.max_output_tokens > 0 ? "max_output_tokens" : "turn_too_long";
    }
    snprintf(text, size, "The model did not end its turn within %d tokens.", tokens_of_turn(l));
    return "turn_too_long";
}
