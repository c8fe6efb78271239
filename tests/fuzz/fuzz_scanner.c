/* A model's turn, any bytes. Whatever they are: no crash, no leak; every cut of the text gives the same
 * events; a call that runs has a known name and an object as arguments; one that was noted as repaired never
 * runs on a strict tool; behind <tool_response> nothing is read; an answer that was to be JSON is, on one
 * line. */
#include "agent/agent.h"
#include "base/buf.h"
#include "base/json.h"
#include "tools/schema.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect(int truth, const char *what) {
    if (!truth) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static const struct json_limits any_number = {
    .max_bytes = 8u << 20, .max_nodes = 1000000, .max_depth = 64, .any_number = true};

/* An object without a member "no". */
static const struct schema *answer_schema(void) {
    static const char text[] = "{\"type\": \"object\", \"properties\": {\"no\": false}}";
    static struct schema *schema; /* as long as the process */
    if (schema == NULL && schema_compile(text, sizeof text - 1, &schema, NULL, 0) != 0)
        abort();
    return schema;
}

static struct agent *make(int strict, int lenient, int json) {
    const struct agent_tool tools[] = {
        {.name = "add",
         .schema = "{\"type\": \"object\", \"properties\": {\"a\": {\"type\": \"integer\"}}, \"required\": "
                   "[\"a\"]}",
         .strict = strict},
        {.name = "list_files", .schema = "{\"type\": \"object\"}", .strict = strict}};
    const struct agent_answer answer = {.schema = answer_schema()};
    const struct agent_config config = {
        .tools = tools, .n_tools = 2, .lenient_calls = lenient, .answer = json ? &answer : NULL};
    const struct agent_message any = {AGENT_ROLE_USER, "?"};
    struct agent *a = NULL;
    struct agent_step step;
    if (agent_create(&config, &a, NULL, 0) != 0 || agent_start(a, &any, 1, NULL, 0) != 0)
        abort();
    agent_next(a, &step);
    return a;
}

static void note(struct buf *out, const struct agent_event *e, int strict) {
    int rc = 0;
    if (e->type == AGENT_EVENT_MESSAGE_DELTA || e->type == AGENT_EVENT_REASONING_DELTA)
        return;
    rc = buf_printf(out, "%d %d %s %s %s %s %s %s %d\n", (int)e->type, e->position,
                    e->section != NULL ? e->section : "", e->name != NULL ? e->name : "",
                    e->arguments != NULL ? e->arguments : "", e->raw != NULL ? e->raw : "",
                    e->error != NULL ? e->error : "", e->repaired != NULL ? e->repaired : "", e->truncated);
    rc = rc ? rc : buf_append(out, e->text, e->len);
    expect(rc == 0, "the events fit");
    if (e->type != AGENT_EVENT_CALL || e->error != NULL)
        return;
    expect(strcmp(e->name, "add") == 0 || strcmp(e->name, "list_files") == 0, "only known tools run");
    expect(e->arguments[0] == '{' &&
               json_check(e->arguments, strlen(e->arguments), &any_number, NULL, 0) == 0,
           "arguments are an object");
    expect(!strict || e->repaired == NULL, "strict tools take no repaired call");
}

static void note_answer(struct buf *out, struct agent *a, int json) {
    struct agent_step step;
    agent_next(a, &step);
    if (step.type == AGENT_STEP_CALL)
        return;
    int rc = buf_printf(out, "%d %s %.*s", (int)step.type, step.repaired != NULL ? step.repaired : "",
                        (int)step.len, step.text != NULL ? step.text : "");
    expect(rc == 0, "the answer fits");
    if (!json || step.type != AGENT_STEP_DONE)
        return;
    expect(json_check(step.text, step.len, NULL, NULL, 0) == 0, "the answer is JSON");
    expect(step.text[0] == '{' && memchr(step.text, '\n', step.len) == NULL, "it is an object on one line");
}

/* The events of the text, fed in pieces of at most `piece` bytes. */
static char *play(const char *text, size_t len, size_t piece, int strict, int lenient, int json) {
    struct agent *a = make(strict, lenient, json);
    struct agent_event e;
    struct buf out;
    buf_init(&out, 64u << 20);
    expect(buf_puts(&out, "") == 0, "memory");
    for (size_t at = 0; at < len;) {
        size_t n = len - at < piece ? len - at : piece;
        char *copy = malloc(n); /* of its own size, so that reading past it is seen */
        expect(copy != NULL, "memory");
        memcpy(copy, text + at, n);
        expect(agent_feed_text(a, copy, n, 0) == 0, "text is taken");
        free(copy);
        at += n;
    }
    expect(agent_feed_end(a, AGENT_FINISH_STOP) == 0, "the end is taken");
    while (agent_take_event(a, &e))
        note(&out, &e, strict);
    note_answer(&out, a, json);
    agent_destroy(a);
    return buf_take(&out, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    if (memchr(text, '\0', size) != NULL)
        return 0; /* the events are compared as text */
    int strict = size % 3 == 0, lenient = size % 2 == 0, json = size % 5 < 2;
    char *whole = play(text, size, size + 1, strict, lenient, json);
    char *bytes = play(text, size, 1, strict, lenient, json);
    char *pieces = play(text, size, 2 + size % 7, strict, lenient, json);
    expect(strcmp(whole, bytes) == 0 && strcmp(whole, pieces) == 0, "the cut does not matter");
    free(whole);
    free(bytes);
    free(pieces);
    return 0;
}
