/* What forced tokens save: of right answers to questions of the Berkeley leaderboard, written by who chooses
 * as the tokenizer writes; and of what the default model writes to the questions, greedily, with and without.
 *
 *   bench_forced [QUESTIONS [FILE]]   (how many for the model, 40; and a file of them, which has one object
 * with "system", "question" and "function" in a line, in the leaderboard's form) */
#include "agent/agent.h"
#include "engine/local.h"
#include "tests/agent/bfcl.h"
#include "tests/agent/forced_writer.h"
#include "tests/engine/harness.h"
#include "tests/engine/llama3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL "models/hermes-tiny.gguf"

static void must(bool ok, const char *why) {
    if (ok)
        return;
    (void)fprintf(stderr, "bench_forced: %s\n", why);
    exit(1);
}

/* ---- right answers ---- */

static void write_answers(const struct bfcl *data, const char *name, const struct model *m) {
    struct grammar_vocab *v = llama3_vocab(m);
    struct forced_writer w = {.tokenizer = m->tokenizer,
                              .vocab = v,
                              .mask = calloc(grammar_vocab_words(v), sizeof(uint32_t)),
                              .max_tokens = 8000};
    size_t n_calls = 0, n_tokens = 0, n_choices = 0, n_same = 0;
    must(w.mask != NULL, "no memory");
    for (size_t i = 0; i < data->n; i++)
        for (size_t k = 0; k < data->entries[i].n_calls; k++) {
            struct forced_text t;
            w.target = data->entries[i].calls[k];
            forced_writer_run(&w, data->entries[i].grammar, &t);
            n_calls++;
            n_tokens += t.ids.n;
            n_choices += t.n_choices;
            n_same += forced_text_is_canonical(&t, w.tokenizer);
            forced_text_free(&t);
        }
    printf("%s: %zu right answers, %zu with the tokenizer's ids; %zu tokens, %.1f %% of them forced; %.1f "
           "choices of the model a call instead of %.1f\n",
           name, n_calls, n_same, n_tokens, 100.0 * (double)(n_tokens - n_choices) / (double)n_tokens,
           (double)n_choices / (double)n_calls, (double)n_tokens / (double)n_calls);
    free(w.mask);
    grammar_vocab_destroy(v);
}

/* ---- the model ---- */

struct tally {
    size_t n_tokens, n_forced;
    double decode_s;
};

/* What the model writes first. */
struct written {
    char *text;
    int32_t *tokens;
    int n_tokens;
};

static struct written ask(struct harness *h, const struct bfcl_entry *e, struct grammar *g, bool forced,
                          struct tally *tally) {
    struct agent_tool tools[BFCL_TOOLS_MAX];
    struct engine_span spans[64];
    char err[300] = "";
    for (size_t i = 0; i < e->n; i++)
        tools[i] = (struct agent_tool){
            .name = e->names[i], .description = e->descriptions[i], .schema = e->parameters[i]};
    struct agent_config config = {
        .system = e->system, .tools = tools, .n_tools = e->n, .limits = agent_limits_default};
    struct agent_message message = {AGENT_ROLE_USER, e->question};
    struct agent *a = NULL;
    struct agent_step step;
    must(agent_create(&config, &a, err, sizeof err) == 0 && agent_start(a, &message, 1, err, sizeof err) == 0,
         err);
    agent_next(a, &step);
    must(step.type == AGENT_STEP_GENERATE && step.n_spans <= 64, "no prompt");
    for (size_t i = 0; i < step.n_spans; i++)
        spans[i] = (struct engine_span){
            .kind = step.spans[i].kind == AGENT_SPAN_TRUSTED ? ENGINE_SPAN_TEMPLATE : ENGINE_SPAN_TEXT,
            .data = step.spans[i].text,
            .len = step.spans[i].len};
    struct engine_session *s = harness_session(h);
    struct engine_generate how = {.max_tokens = 300, .grammar = g, .no_forced = !forced};
    must(engine_session_append(s, spans, step.n_spans, err, sizeof err) >= 0, err);
    must(engine_session_generate(s, &how, err, sizeof err) == 0, err);
    struct outcome *o = harness_wait(h, s);
    must(o->done, o->sentence);
    tally->n_tokens += (size_t)o->n_tokens;
    tally->n_forced += (size_t)o->last.forced_tokens;
    tally->decode_s += o->last.decode_ms / 1e3;
    struct written w = {strdup(o->text != NULL ? o->text : ""), o->tokens, o->n_tokens};
    must(w.text != NULL, "no memory");
    o->tokens = NULL;
    harness_destroy(h, s);
    agent_destroy(a);
    return w;
}

static void free_written(struct written *w) {
    free(w->text);
    free(w->tokens);
}

/* Says where they part. */
static bool same_ids(const struct written *a, const struct written *b) {
    int i = 0;
    while (i < a->n_tokens && i < b->n_tokens && a->tokens[i] == b->tokens[i])
        i++;
    if (i == a->n_tokens && i == b->n_tokens)
        return true;
    printf("token %d of %d and %d is the first that differs: %d and %d\n", i, a->n_tokens, b->n_tokens,
           i < a->n_tokens ? a->tokens[i] : -1, i < b->n_tokens ? b->tokens[i] : -1);
    return false;
}

static void run_model(const struct bfcl *data, size_t n) {
    struct harness h;
    char err[300] = "";
    struct tally with = {0}, without = {0};
    size_t n_same = 0, n_calls = 0, n_same_ids = 0;
    harness_init(&h);
    struct engine_config config = {.model_path = MODEL, .wake = harness_wake, .wake_arg = &h};
    must(engine_open(&config, &h.engine, err, sizeof err) == 0, err);
    for (size_t i = 0; i < n; i++) {
        const struct bfcl_entry *e = &data->entries[i * 997 % data->n];
        struct constrain_report report;
        struct grammar *g = NULL;
        must(constrain_turn(e->tools, e->n, &g, &report, err, sizeof err) == 0, err);
        struct written one = ask(&h, e, g, true, &with), other = ask(&h, e, g, false, &without);
        n_calls += strstr(one.text, "</tool_call>") != NULL;
        if (strcmp(one.text, other.text) == 0)
            n_same++;
        else
            printf("with forced tokens:\n%s\nwithout:\n%s\n", one.text, other.text);
        n_same_ids += same_ids(&one, &other);
        free_written(&one);
        free_written(&other);
        grammar_unref(g);
    }
    printf(
        "%s: %zu turns, %zu with a call; without forced tokens %zu have the same text and %zu the same ids; "
        "%.1f %% of %zu tokens forced; %.1f tokens/s, without %.1f\n",
        MODEL, n, n_calls, n_same, n_same_ids, 100.0 * (double)with.n_forced / (double)with.n_tokens,
        with.n_tokens, (double)with.n_tokens / with.decode_s, (double)without.n_tokens / without.decode_s);
    harness_finish(&h);
}

int main(int argc, char **argv) {
    size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 40;
    struct bfcl data, questions;
    struct model *m = NULL;
    char err[300] = "";
    if (argc > 2) {
        bfcl_read_file(&questions, argv[2]);
        run_model(&questions, n < questions.n ? n : questions.n);
        bfcl_free(&questions);
        return 0;
    }
    bfcl_read(&data, true);
    printf("%zu right answers; %zu more are no valid calls\n", data.n_calls, data.n_left_out);
    must(model_open(MODEL, &m, err, sizeof err) == 0, err);
    write_answers(&data, MODEL, m);
    model_close(m);
    m = llama3_open();
    write_answers(&data, "Llama 3", m);
    model_close(m);
    run_model(&data, n < data.n ? n : data.n);
    bfcl_free(&data);
    return 0;
}
