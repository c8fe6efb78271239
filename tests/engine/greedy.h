/* Sessions that write greedy tokens as models really run, on a GPU beside the CPU, by the forward pass alone:
 * inputs of products rounded as each device does (config.exact is false), keys and values in F16, the tokens
 * of the GPU chosen by the GPU. */
#ifndef TESTS_ENGINE_GREEDY_H
#define TESTS_ENGINE_GREEDY_H

#include "engine/model.h"
#include "kernels/tensor.h"

#include <stdbool.h>

#define GREEDY_STEPS    64 /* at most */
#define GREEDY_SESSIONS 64
#define GREEDY_PROMPT   512 /* tokens at most */

struct greedy_prompt {
    int32_t ids[GREEDY_PROMPT];
    int n;
};

struct greedy_case {
    const struct model *model;
    const char *name;
    const char *module; /* of the GPU */
    const struct greedy_prompt *prompts;
    int n;     /* sessions, each with a prompt of its own; they write together */
    int steps; /* tokens of each session; 0: GREEDY_STEPS */
    int chunk; /* rows of prompts in a batch; 1: token by token */
    enum dtype kv_type;
    double bound; /* of the difference of any logit */
};

/* Steps are those of each session, behind the CPU's tokens on both devices. */
struct greedy_found {
    int steps;
    int near_ties; /* the CPU's two best logits are nearer than twice the bound */
    int others;    /* the GPU chose another token than the CPU, every time at a near tie */
    int whole;     /* sessions without such a step: their texts are the same */
    double worst;  /* difference of a logit */
    double gap;    /* the largest one between the CPU's logits of its own token and of the GPU's */
};

/* Fails the running test when another token is chosen where there is no near tie, or the GPU's choice is not
 * its own largest logit. */
void greedy_compare(const struct greedy_case *c, struct greedy_found *found);
/* Prints what greedy_compare() found, and fails the running test when a logit differs by more than the bound,
 * or more than `most` tokens are others. */
void greedy_check(const struct greedy_case *c, int most);

/* On the GPU alone, beside the GPU with products that are exact (kernels_config): how often logits differ in
 * any bit. */
int greedy_rounded(const struct greedy_case *c);

#endif
