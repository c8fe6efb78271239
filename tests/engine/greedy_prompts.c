#include "tests/engine/greedy_prompts.h"

#include "engine/tokenizer.h"
#include "tests/engine/logits.h"
#include "tests/shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void open_model(struct greedy_model *g, const char *path, bool weights_alone) {
    char err[400] = "";
    int rc = weights_alone ? model_open_weights(path, &g->file, err, sizeof err)
                           : model_open(path, &g->file, err, sizeof err);
    if (rc < 0)
        fail_msg("%s", err);
    bf16_model_init(&g->bf16, g->file);
}

void greedy_open_stories(struct greedy_model *g) {
    char path[4096];
    open_model(g, shared_path(path, "models/stories260K/derived/stories260K-bf16.gguf"), true);
}

void greedy_open_default(struct greedy_model *g) {
    open_model(g, "models/hermes-tiny.gguf", false);
}

void greedy_close(struct greedy_model *g) {
    bf16_model_finish(&g->bf16);
    model_close(g->file);
}

static void take(struct greedy_prompt *p, const int32_t *ids, int n) {
    assert_true(n > 0 && n <= GREEDY_PROMPT);
    p->n = n;
    memcpy(p->ids, ids, (size_t)n * sizeof *ids);
}

void greedy_stories(struct greedy_prompt prompts[GREEDY_SESSIONS]) {
    char path[4096];
    cJSON *reference = logits_read_json(shared_path(path, "models/stories260K/reference-greedy.json"));
    const cJSON *runs = cJSON_GetObjectItem(reference, "runs");
    int n_runs = cJSON_GetArraySize(runs);
    for (int s = 0; s < GREEDY_SESSIONS; s++) {
        int32_t ids[LOGITS_MAX_IDS];
        int n = logits_read_ids(cJSON_GetObjectItem(cJSON_GetArrayItem(runs, s % n_runs), "greedy_ids"), ids);
        assert_true(4 + s / n_runs * 2 <= n);
        take(&prompts[s], ids, 4 + s / n_runs * 2);
    }
    cJSON_Delete(reference);
}

static void ask(const struct model *m, const char *question, struct greedy_prompt *p) {
    static const char before[] = "<|im_start|>user\n", after[] = "<|im_end|>\n<|im_start|>assistant\n";
    struct token_list list = {NULL, 0, 0};
    if (m->add_bos)
        assert_int_equal(token_list_push(&list, m->bos_id), 0);
    assert_int_equal(tokenizer_encode_template(m->tokenizer, before, strlen(before), &list), 0);
    assert_int_equal(tokenizer_encode_text(m->tokenizer, question, strlen(question), &list), 0);
    assert_int_equal(tokenizer_encode_template(m->tokenizer, after, strlen(after), &list), 0);
    take(p, list.v, (int)list.n);
    token_list_finish(&list);
}

void greedy_questions(const struct model *m, struct greedy_prompt prompts[GREEDY_SESSIONS]) {
    for (int s = 0; s < GREEDY_SESSIONS; s++) {
        char text[128];
        int a = 3 + 7 * s, b = 2 + s * s;
        switch (s % 8) {
        case 0:
            (void)snprintf(text, sizeof text, "How much is %d times %d?", a, b);
            break;
        case 1:
            (void)snprintf(text, sizeof text, "What is %d %% of %d?", a, b);
            break;
        case 2:
            (void)snprintf(text, sizeof text, "Which files are in folder%d?", a);
            break;
        case 3:
            (void)snprintf(text, sizeof text, "What can you do?");
            break;
        case 4:
            (void)snprintf(text, sizeof text, "Remember that my number is %d%d.", a, b);
            break;
        case 5:
            (void)snprintf(text, sizeof text, "Who are you, and what are %d and %d together?", a, b);
            break;
        case 6:
            (void)snprintf(text, sizeof text, "Read notes%d.txt and tell me what line %d says.", a, b);
            break;
        default:
            (void)snprintf(text, sizeof text, "Convert %d kilometres to miles, then add %d.", a, b);
            break;
        }
        ask(m, text, &prompts[s]);
    }
}

void greedy_whole(struct greedy_prompt *prompt) {
    cJSON *golden = logits_read_json("tests/data/tiny-logits.json");
    int32_t ids[LOGITS_MAX_IDS];
    const cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItem(golden, "prompts"), 0);
    int n = logits_read_ids(cJSON_GetObjectItem(first, "ids"), ids);
    take(prompt, ids, n);
    cJSON_Delete(golden);
}
