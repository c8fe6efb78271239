/* Real prompts for greedy.h. They fail the running test when something is missing. */
#ifndef TESTS_ENGINE_GREEDY_PROMPTS_H
#define TESTS_ENGINE_GREEDY_PROMPTS_H

#include "tests/engine/bf16_model.h"
#include "tests/engine/greedy.h"

/* stories260K in BF16, as its file has it, or the default model with its matrices as BF16. */
struct greedy_model {
    struct model *file;
    struct bf16_model bf16;
};
void greedy_open_stories(struct greedy_model *g);
void greedy_open_default(struct greedy_model *g);
void greedy_close(struct greedy_model *g);

/* Beginnings of stories that stories260K wrote itself, from 4 tokens on. */
void greedy_stories(struct greedy_prompt prompts[GREEDY_SESSIONS]);
/* Short questions in ChatML. */
void greedy_questions(const struct model *m, struct greedy_prompt prompts[GREEDY_SESSIONS]);
/* A conversation of the default model with tools, several hundred tokens. */
void greedy_whole(struct greedy_prompt *prompt);

#endif
