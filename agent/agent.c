#include "agent/agent.h"

#include "agent/answer.h"
#include "agent/calls.h"
#include "agent/citations.h"
#include "agent/events.h"
#include "agent/limits.h"
#include "agent/loop.h"
#include "agent/nudge.h"
#include "agent/render.h"
#include "agent/responses.h"
#include "agent/turn.h"
#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROMPT_BYTES_MAX    (64u * 1024 * 1024)
#define CATALOGUE_BYTES_MAX 600 /* of tool names in the answer to an unknown one */

enum phase {
    PHASE_NEW,
    PHASE_PROMPT,     /* the next spans are rendered: generate */
    PHASE_GENERATING, /* the model writes */
    PHASE_RESULTS,    /* the turn ended with calls */
    PHASE_DONE        /* the turn ended with an answer */
};

struct agent {
    struct agent_tool *tools; /* owned, with their strings */
    size_t n_tools;
    struct turn_rules rules; /* points to `tools` and `more` */
    struct tags_more more;   /* reasoning sections of its own */
    char *system;
    int max_calls_per_turn;
    bool sequential;

    enum phase phase;
    struct render render;
    struct turn turn;
    struct calls calls; /* of the turn */
    struct responses responses;
    struct limits limits;
    struct loop loop;
    struct events events;
    struct citations citations;
    struct answer answer; /* JSON mode */
    struct buf documents; /* as the last message of agent_start() shows them */
    int n_turns, n_calls; /* so far, over the whole job */
    int max_tokens;       /* of the running generation */
    int turn_tokens;
    bool stop_wanted, stop_given;
    bool nudged;   /* since the last message of the user */
    bool narrated; /* nudged, and the turn announces a call again */
    bool cut_off;  /* the turn ended where its tokens did */

    const char *reason; /* the job failed */
    char why[300];
};

/* ---- creating ---- */

static void tool_finish(struct agent_tool *t) {
    free((char *)t->name);
    free((char *)t->description);
    free((char *)t->schema);
}

void agent_destroy(struct agent *a) {
    if (a == NULL)
        return;
    for (size_t i = 0; i < a->n_tools; i++)
        tool_finish(&a->tools[i]);
    free(a->tools);
    free(a->system);
    render_finish(&a->render);
    turn_finish(&a->turn);
    calls_finish(&a->calls);
    loop_finish(&a->loop);
    agent_events_finish(&a->events);
    citations_finish(&a->citations);
    answer_finish(&a->answer);
    buf_finish(&a->documents);
    free(a);
}

static int check_tool(const struct agent_tool *t, const struct agent_tool *before, size_t n, char *err,
                      size_t errlen) {
    char why[200];
    if (t->name == NULL || t->name[0] == '\0' || t->schema == NULL)
        return err_set(err, errlen, -EINVAL, "A tool needs a name and a schema.");
    int rc = json_check(t->schema, strlen(t->schema), NULL, why, sizeof why);
    if (rc < 0)
        return err_set(err, errlen, rc == -ENOMEM ? rc : -EINVAL,
                       "The schema of tool '%s' cannot be used: %s.", t->name, why);
    if (t->schema[strspn(t->schema, " \t\r\n")] != '{')
        return err_set(err, errlen, -EINVAL, "The schema of tool '%s' must be a JSON object.", t->name);
    for (size_t i = 0; i < n; i++)
        if (strcmp(before[i].name, t->name) == 0)
            return err_set(err, errlen, -EINVAL, "Two tools are called '%s'.", t->name);
    return 0;
}

static int copy_tools(struct agent *a, const struct agent_config *config, char *err, size_t errlen) {
    a->tools = calloc(config->n_tools + 1, sizeof *a->tools);
    if (a->tools == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for %zu tools.", config->n_tools);
    for (size_t i = 0; i < config->n_tools; i++) {
        const struct agent_tool *from = &config->tools[i];
        struct agent_tool *to = &a->tools[i];
        int rc = check_tool(from, config->tools, i, err, errlen);
        if (rc < 0)
            return rc;
        a->n_tools++;
        *to = (struct agent_tool){.name = strdup(from->name),
                                  .description = strdup(from->description != NULL ? from->description : ""),
                                  .schema = strdup(from->schema),
                                  .poller = from->poller,
                                  .read_only = from->read_only,
                                  .strict = from->strict};
        if (to->name == NULL || to->description == NULL || to->schema == NULL)
            return err_set(err, errlen, -ENOMEM, "Not enough memory for tool '%s'.", from->name);
    }
    return 0;
}

static int copy_documents(struct agent *a, const struct agent_config *config, char *err, size_t errlen) {
    int rc = 0;
    bool escape = config->profile == AGENT_PROFILE_STABLE;
    if (config->n_documents == 0)
        return 0;
    rc = buf_puts(&a->documents, "\n\nDocuments:\n{\"passages\": [");
    for (size_t i = 0; rc == 0 && i < config->n_documents; i++) {
        const struct agent_document *d = &config->documents[i];
        rc = citations_add(&a->citations, d->id, -1);
        rc = rc ? rc : buf_puts(&a->documents, i > 0 ? ", {\"id\": " : "{\"id\": ");
        rc = rc ? rc : json_quote(&a->documents, d->id, strlen(d->id), escape);
        rc = rc ? rc : buf_puts(&a->documents, ", \"text\": ");
        rc = rc ? rc : json_quote(&a->documents, d->text, strlen(d->text), escape);
        rc = rc ? rc : buf_putc(&a->documents, '}');
    }
    rc = rc ? rc : buf_puts(&a->documents, "]}");
    return rc == 0 ? 0 : err_set(err, errlen, rc, "There is no room for %zu documents.", config->n_documents);
}

/* The last message, with the documents behind it. */
static void render_last(struct agent *a, const char *text) {
    struct buf whole;
    buf_init(&whole, PROMPT_BYTES_MAX);
    int rc = buf_puts(&whole, text);
    rc = rc ? rc : buf_append(&whole, a->documents.data, a->documents.len);
    render_note(&a->render, rc);
    if (rc == 0)
        render_user(&a->render, whole.data, whole.len);
    buf_finish(&whole);
}

static int read_sections(struct agent *a, const struct agent_config *config, char *err, size_t errlen) {
    const char *bad = "";
    if (tags_more_read(&a->more, config->reasoning_tags, &bad) < 0)
        return err_set(err, errlen, -EINVAL, "'%.60s' cannot be the name of reasoning sections.", bad);
    a->rules.more = a->render.more = &a->more;
    if (config->open_section != NULL &&
        (a->rules.open_section = tags_section(&a->more, config->open_section)) == NULL)
        return err_set(err, errlen, -EINVAL, "There is no reasoning section '%.60s'.", config->open_section);
    return 0;
}

int agent_create(const struct agent_config *config, struct agent **out, char *err, size_t errlen) {
    struct agent *a = calloc(1, sizeof *a);
    if (a == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for a conversation.");
    a->max_calls_per_turn = config->limits.max_calls_per_turn;
    a->sequential = config->sequential;
    render_init(&a->render, config->profile, PROMPT_BYTES_MAX);
    calls_init(&a->calls, config->profile, config->limits.max_result_bytes);
    limits_init(&a->limits, &config->limits);
    loop_init(&a->loop, &config->limits);
    agent_events_init(&a->events);
    citations_init(&a->citations);
    buf_init(&a->documents, PROMPT_BYTES_MAX);
    a->system = strdup(config->system != NULL ? config->system : "");
    int rc = copy_tools(a, config, err, errlen);
    a->rules = (struct turn_rules){.tools = {a->tools, a->n_tools}, .lenient = config->lenient_calls};
    rc = rc ? rc : copy_documents(a, config, err, errlen);
    rc = rc ? rc : answer_init(&a->answer, config->answer, err, errlen);
    a->rules.json = a->answer.on;
    rc = rc ? rc : read_sections(a, config, err, errlen);
    if (rc == 0 && a->system == NULL)
        rc = err_set(err, errlen, -ENOMEM, "Not enough memory for the system text.");
    if (rc < 0) {
        agent_destroy(a);
        return rc;
    }
    *out = a;
    return 0;
}

int agent_start(struct agent *a, const struct agent_message *messages, size_t n, char *err, size_t errlen) {
    if (a->phase != PHASE_NEW)
        return err_set(err, errlen, -EINVAL, "The conversation has its messages already.");
    if (n == 0 || messages[n - 1].role != AGENT_ROLE_USER)
        return err_set(err, errlen, -EINVAL, "The last message must be the user's.");
    const struct render_answer answer = {.schema = a->answer.prompt_schema};
    render_prefix_for(&a->render, a->tools, a->n_tools, a->answer.on && !a->answer.in_system ? &answer : NULL,
                      a->system);
    for (size_t i = 0; i < n; i++) {
        const char *text = messages[i].text != NULL ? messages[i].text : "";
        if (i + 1 == n && a->documents.len > 0)
            render_last(a, text);
        else if (messages[i].role == AGENT_ROLE_USER)
            render_user(&a->render, text, strlen(text));
        else
            render_assistant(&a->render, text, strlen(text));
    }
    const struct agent_span *spans;
    size_t n_spans;
    int rc = render_spans(&a->render, &spans, &n_spans);
    if (rc == -ENOBUFS)
        return err_set(err, errlen, rc, "The messages are longer than %u bytes.", PROMPT_BYTES_MAX);
    if (rc < 0)
        return err_set(err, errlen, rc, "Not enough memory for the messages.");
    a->phase = PHASE_PROMPT;
    return 0;
}

/* ---- failing ---- */

/* The first reason stays. A running generation is stopped before the job is said to have failed. */
static void fail(struct agent *a, const char *reason, const char *why) {
    if (a->reason != NULL)
        return;
    a->reason = reason;
    if (why != a->why)
        (void)!err_set(a->why, sizeof a->why, 0, "%s", why);
    a->stop_wanted = true;
}

/* What an errno means for the job. Only -ENOMEM is also the caller's; a ceiling is a limit like others. */
static int fail_for(struct agent *a, int rc) {
    if (rc == -E2BIG)
        fail(a, "turn_too_long", "The model wrote more than 1 MiB in one turn.");
    else if (rc == -ENOBUFS)
        fail(a, "too_large", "A text of the conversation is larger than the daemon can hold.");
    else if (rc < 0)
        fail(a, "out_of_memory", "There was not enough memory to go on with the job.");
    return rc == -E2BIG || rc == -ENOBUFS ? 0 : rc;
}

/* ---- calls ---- */

static const struct agent_tool *find_tool(const struct agent *a, const char *name) {
    for (size_t i = 0; i < a->n_tools; i++)
        if (strcmp(a->tools[i].name, name) == 0)
            return &a->tools[i];
    return NULL;
}

/* Limits of the job; a crossed one ends it. *refused: the call must not run, for the reason in `text`.
 * -ENOMEM.
 */
static int count_call(struct agent *a, const struct turn_call *call, bool counts, bool *refused, char *text,
                      size_t size) {
    const char *reason = limits_call(&a->limits, a->why, sizeof a->why);
    int rc = 0;
    *refused = false;
    if (reason != NULL) {
        fail(a, reason, a->why);
    } else if (!counts) {
        rc = loop_leave_out(&a->loop);
    } else {
        const char *said = call->arguments != NULL ? call->arguments : call->raw;
        reason = loop_ask(&a->loop, call->name, said, refused, &rc, text, size);
        if (reason != NULL)
            fail(a, reason, text);
    }
    return rc;
}

static int on_call(void *arg, const struct turn_call *call) {
    struct agent *a = arg;
    char text[CATALOGUE_BYTES_MAX + SHAPES_NAMES_SIZE], told[300], repaired[SHAPES_NAMES_SIZE];
    const char *error = call->error;
    bool too_many = false, refused = false;
    shapes_names(call->repaired, repaired, sizeof repaired);
    const struct agent_tool *tool = find_tool(a, call->name);
    if (error == NULL && tool == NULL) {
        calls_say_unknown(a->tools, a->n_tools, call->name, text, CATALOGUE_BYTES_MAX);
        error = text;
    }
    if (error == NULL && tool->strict && repaired[0] != '\0') {
        calls_say_strict(call->name, repaired, text, sizeof text);
        error = text;
    }
    if (error == NULL && a->max_calls_per_turn > 0 && a->calls.n >= (size_t)a->max_calls_per_turn) {
        snprintf(text, sizeof text, "Not run: at most %d calls are allowed in one turn. Call again.",
                 a->max_calls_per_turn);
        error = text;
        too_many = true;
    }
    bool counts = !too_many && (tool == NULL || !tool->poller);
    int rc = a->reason == NULL ? count_call(a, call, counts, &refused, told, sizeof told) : 0;
    if (refused && error == NULL)
        error = told;
    if (a->cut_off) {
        snprintf(text, sizeof text, "The call is truncated. %s", a->why);
        error = text;
    } else if (a->reason != NULL && error == NULL) {
        error = a->why; /* the job is at its end */
    }
    int number = a->n_calls++;
    struct agent_event event = {.type = AGENT_EVENT_CALL,
                                .turn = a->n_turns - 1,
                                .position = call->position,
                                .call = number,
                                .name = call->name,
                                .arguments = call->arguments,
                                .raw = call->raw,
                                .error = error,
                                .repaired = repaired[0] != '\0' ? repaired : NULL,
                                .n_tokens = call->n_tokens,
                                .token_from = call->token_from};
    rc = rc ? rc : agent_events_push(&a->events, &event);
    return rc ? rc : calls_add(&a->calls, number, call->name, call->arguments, error);
}

/* ---- the next step ---- */

/* Whether the turn's calls led anywhere: ends the job, or forbids calls from now on. */
static void judge_calls(struct agent *a) {
    struct loop_result *results = calloc(a->calls.n + 1, sizeof *results);
    int rc = results != NULL ? 0 : -ENOMEM;
    for (size_t i = 0; i < a->calls.n && rc == 0; i++) {
        const struct calls_one *one = &a->calls.all[i];
        const struct agent_tool *tool = find_tool(a, one->name);
        results[i] = (struct loop_result){.text = one->body.data,
                                          .len = one->body.len,
                                          .failed = one->failed,
                                          .read_only = tool != NULL && tool->read_only};
    }
    rc = rc ? rc : loop_answer(&a->loop, a->n_turns - 1, results, a->calls.n);
    free(results);
    const char *reason = rc == 0 ? loop_verdict(&a->loop, a->why, sizeof a->why) : NULL;
    if (fail_for(a, rc) == 0 && reason != NULL)
        fail(a, reason, a->why);
}

/* What is new of the tool turn, while calls still run. */
static void append_known(struct agent *a, struct agent_step *step) {
    responses_render(&a->responses, &a->render, &a->calls);
    int rc = responses_take(&a->responses, &a->render, &step->spans, &step->n_spans);
    if (rc == 1)
        step->type = AGENT_STEP_APPEND;
    else
        (void)fail_for(a, rc);
}

static void begin_turn(struct agent *a, struct agent_step *step) {
    const char *reason = limits_turn(&a->limits, a->why, sizeof a->why);
    a->max_tokens = limits_tokens(&a->limits);
    if (reason == NULL && a->max_tokens <= 0)
        reason = limits_token_reason(&a->limits, a->why, sizeof a->why);
    if (reason != NULL) {
        fail(a, reason, a->why);
        return;
    }
    render_generate(&a->render);
    if (a->rules.open_section != NULL)
        render_section(&a->render, a->rules.open_section);
    int rc = render_spans(&a->render, &step->spans, &step->n_spans);
    if (rc < 0) {
        (void)fail_for(a, rc);
        return;
    }
    turn_finish(&a->turn);
    calls_clear(&a->calls);
    rc = turn_init(&a->turn, a->n_turns, &a->rules, &a->events, on_call, a);
    if (rc < 0) {
        (void)fail_for(a, rc);
        return;
    }
    a->stop_wanted = a->stop_given = a->narrated = a->cut_off = false;
    a->turn_tokens = 0;
    a->phase = PHASE_GENERATING;
    step->type = AGENT_STEP_GENERATE;
    step->max_tokens = a->max_tokens;
    step->forbidden = a->loop.forbidden;
    step->n_forbidden = a->loop.n_forbidden;
    step->turn = a->n_turns++;
}

static void next_call(struct agent *a, struct agent_step *step) {
    if (a->sequential && (a->phase == PHASE_GENERATING || calls_running(&a->calls)))
        return;
    const struct calls_one *call = calls_start(&a->calls);
    if (call == NULL)
        return;
    step->type = AGENT_STEP_CALL;
    step->turn = a->n_turns - 1;
    step->call = call->number;
    step->name = call->name;
    step->arguments = call->arguments;
}

static const struct buf *answer_text(const struct agent *a) {
    return a->answer.on ? &a->answer.json : &a->turn.answer;
}

void agent_next(struct agent *a, struct agent_step *step) {
    *step = (struct agent_step){.type = AGENT_STEP_WAIT};
    if (a->reason == NULL)
        next_call(a, step);
    if (step->type == AGENT_STEP_CALL)
        return;
    if (a->phase == PHASE_GENERATING && a->stop_wanted && !a->stop_given) {
        a->stop_given = true;
        step->type = AGENT_STEP_STOP;
        return;
    }
    if (a->reason == NULL && a->phase == PHASE_RESULTS && a->calls.n_open == 0) {
        judge_calls(a);
        responses_end(&a->responses, &a->render, &a->calls);
        calls_clear(&a->calls);
        a->phase = PHASE_PROMPT;
    } else if (a->reason == NULL && a->phase == PHASE_RESULTS && !a->sequential) {
        append_known(a, step);
    }
    if (a->reason == NULL && a->phase == PHASE_PROMPT)
        begin_turn(a, step);
    if (a->reason != NULL && a->phase != PHASE_GENERATING) {
        *step = (struct agent_step){.type = AGENT_STEP_FAILED, .reason = a->reason, .text = a->why};
        step->len = strlen(a->why);
    } else if (a->phase == PHASE_DONE) {
        const struct buf *text = answer_text(a);
        step->type = AGENT_STEP_DONE;
        step->text = text->data;
        step->len = text->len;
        step->repaired = a->answer.on ? a->answer.repaired : NULL;
        step->narrated = a->narrated;
    }
}

/* ---- feeding ---- */

int agent_feed_text(struct agent *a, const char *text, size_t len, int n_tokens) {
    if (a->phase != PHASE_GENERATING || n_tokens < 0)
        return -EINVAL;
    agent_events_release(&a->events);
    a->turn_tokens = n_tokens > LIMITS_TURN_TOKENS_MAX - a->turn_tokens ? LIMITS_TURN_TOKENS_MAX + 1
                                                                        : a->turn_tokens + n_tokens;
    if (a->reason != NULL)
        return 0;
    int rc = fail_for(a, turn_feed(&a->turn, text, len, n_tokens));
    if (a->reason == NULL && a->turn_tokens > a->max_tokens)
        fail(a, limits_token_reason(&a->limits, a->why, sizeof a->why), a->why);
    if (a->turn.stopped)
        a->stop_wanted = true;
    return rc;
}

/* Why the job cannot go on behind a generation that ended like this; NULL when it can. */
static const char *end_reason(struct agent *a, enum agent_finish finish) {
    if (finish == AGENT_FINISH_CONTEXT) {
        snprintf(a->why, sizeof a->why, "The conversation no longer fits into the model's context.");
        return "context_full";
    }
    if (a->turn.stopped || finish == AGENT_FINISH_STOP)
        return NULL;
    if (finish == AGENT_FINISH_LENGTH)
        return limits_token_reason(&a->limits, a->why, sizeof a->why);
    snprintf(a->why, sizeof a->why, "The generation was cancelled.");
    return "cancelled";
}

/* One word more to a model that announced a call or said nothing, once between two messages of the user. */
static void nudge(struct agent *a) {
    const char *text =
        nudge_text(a->turn.answer.data, a->turn.answer.len, a->tools, a->n_tools, a->limits.calls);
    a->narrated = a->nudged && text != NULL && a->turn.answer.len > 0;
    if (text == NULL || a->nudged)
        return;
    a->nudged = true;
    render_clear(&a->render);
    render_user(&a->render, text, strlen(text));
    a->phase = PHASE_PROMPT;
}

/* JSON mode: an answer that does not fit is asked for again, a few times. -ENOMEM. */
static int judge_answer(struct agent *a) {
    struct buf text;
    int status = 0;
    int rc = answer_read(&a->answer, a->turn.answer.data, a->turn.answer.len);
    if (rc != -EINVAL)
        return fail_for(a, rc);
    nudge(a); /* a call that was announced is no failed answer */
    if (a->phase == PHASE_PROMPT)
        return 0;
    buf_init(&text, sizeof a->answer.why + 100);
    if (answer_again(&a->answer, &text, &status) && status == 0) {
        render_clear(&a->render);
        render_user(&a->render, text.data, text.len);
        a->phase = PHASE_PROMPT;
    } else if (status == 0 && a->turn.answer.len > 0) {
        fail(a, "invalid_answer", a->answer.why);
    }
    buf_finish(&text);
    return fail_for(a, status);
}

/* JSON mode: the tokens ran out behind the answer, as they do where the grammar had to hurry: it is whole,
 * only the turn's end is missing. Of a number that cannot be known. -ENOMEM. */
static int take_cut_answer(struct agent *a) {
    const struct buf *text = &a->turn.answer;
    bool ends = text->len > 0 && strchr("-0123456789", text->data[0]) == NULL;
    int rc = ends && a->calls.n == 0 ? answer_read(&a->answer, text->data, text->len) : -EINVAL;
    if (rc == 0 && a->answer.repaired[0] == '\0') {
        a->reason = NULL;
        a->stop_wanted = false;
    }
    return rc == -EINVAL ? 0 : fail_for(a, rc);
}

int agent_feed_end(struct agent *a, enum agent_finish finish) {
    if (a->phase != PHASE_GENERATING)
        return -EINVAL;
    agent_events_release(&a->events);
    const char *reason = a->reason == NULL ? end_reason(a, finish) : NULL;
    if (reason != NULL)
        fail(a, reason, a->why);
    a->limits.tokens += a->turn_tokens;
    a->cut_off = reason != NULL && finish != AGENT_FINISH_CANCELLED;
    int rc = fail_for(a, turn_end(&a->turn));
    a->phase = a->calls.n > 0 ? PHASE_RESULTS : PHASE_DONE;
    if (reason != NULL && finish != AGENT_FINISH_CANCELLED && a->answer.on)
        rc = rc ? rc : take_cut_answer(a);
    else if (a->phase == PHASE_DONE && a->reason == NULL && a->answer.on)
        rc = rc ? rc : judge_answer(a);
    else if (a->phase == PHASE_DONE && a->reason == NULL)
        nudge(a);
    if (a->phase == PHASE_DONE)
        rc = rc ? rc : fail_for(a, citations_find(&a->citations, answer_text(a)->data, answer_text(a)->len));
    if (a->phase == PHASE_DONE && a->turn.answer.len == 0)
        fail(a, "empty_answer", "The model ended its turn without an answer and without a call.");
    return rc;
}

int agent_feed_result(struct agent *a, int call, enum agent_result status, const char *text, size_t len) {
    agent_events_release(&a->events);
    int rc = calls_answer(&a->calls, call, status, text, len);
    if (rc == 0 && status == AGENT_RESULT_OK)
        rc = citations_add_result(&a->citations, call, text, len);
    return rc == -EINVAL ? rc : fail_for(a, rc);
}

int agent_feed_message(struct agent *a, const char *text, size_t len) {
    if (a->reason != NULL)
        return -EINVAL;
    if (a->phase != PHASE_DONE)
        return -EBUSY;
    agent_events_release(&a->events);
    render_clear(&a->render);
    render_user(&a->render, text, len);
    limits_reset(&a->limits);
    loop_reset(&a->loop);
    a->nudged = false;
    a->answer.failures = 0;
    a->phase = PHASE_PROMPT;
    return 0;
}

const struct agent_citation *agent_citations(const struct agent *a, size_t *n) {
    *n = a->phase == PHASE_DONE ? a->citations.n_found : 0;
    return a->citations.found;
}

bool agent_take_event(struct agent *a, struct agent_event *event) {
    return agent_events_take(&a->events, event);
}
