#include "agent/limits.h"

#include <stdio.h>

const struct agent_limits agent_limits_default = {
    .max_turns = 16,
    .max_calls = 64,
    .max_calls_per_turn = 8,
    .max_output_tokens = 16384,
    .max_turn_tokens = 4096,
    .max_identical_calls = 3,
    .max_cycle_repeats = 3,
    .max_idle_calls = 8,
    .max_result_bytes = 32 * 1024,
};

void limits_init(struct limits *l, const struct agent_limits *max) {
    *l = (struct limits){.max = *max};
}

void limits_reset(struct limits *l) {
    l->turns = l->calls = l->tokens = 0;
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
