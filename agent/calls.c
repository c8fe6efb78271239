#include "agent/calls.h"

#include "agent/render.h"
#include "agent/repair.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESULT_BYTES_DEFAULT (32u * 1024)
#define RESULT_BYTES_CEILING (4u * 1024 * 1024)
#define ERROR_BYTES_MAX      2000
#define BODY_EXTRA           1024 /* keys, and a name of ordinary length */

void calls_init(struct calls *c, enum agent_profile profile, size_t max_result_bytes) {
    if (max_result_bytes == 0)
        max_result_bytes = RESULT_BYTES_DEFAULT;
    if (max_result_bytes > RESULT_BYTES_CEILING)
        max_result_bytes = RESULT_BYTES_CEILING;
    *c = (struct calls){.profile = profile, .max_result_bytes = max_result_bytes};
}

void calls_clear(struct calls *c) {
    for (size_t i = 0; i < c->n; i++) {
        free(c->all[i].name);
        free(c->all[i].arguments);
        buf_finish(&c->all[i].body);
    }
    c->n = c->n_open = c->next_ready = 0;
}

void calls_finish(struct calls *c) {
    calls_clear(c);
    free(c->all);
    *c = (struct calls){.profile = c->profile, .max_result_bytes = c->max_result_bytes};
}

/* At most `max` bytes of the text, and no cut inside a character. */
static size_t cut(const char *text, size_t len, size_t max) {
    if (len <= max)
        return len;
    size_t end = max;
    for (int back = 0; back < 4 && end > 0; back++) {
        if (((unsigned char)text[end] & 0xC0) != 0x80)
            return end;
        end--;
    }
    return max; /* not UTF-8 anyway */
}

static int answer_error(struct calls *c, struct calls_one *one, const char *text, size_t len) {
    int rc = render_body_error(&one->body, c->profile, one->name, text, cut(text, len, ERROR_BYTES_MAX));
    one->state = CALLS_ANSWERED;
    one->failed = true;
    c->n_open--;
    return rc;
}

int calls_add(struct calls *c, int number, const char *name, const char *arguments, const char *error) {
    if (c->n == c->cap) {
        size_t cap = c->cap == 0 ? 8 : c->cap * 2;
        struct calls_one *all = realloc(c->all, cap * sizeof *all);
        if (all == NULL)
            return -ENOMEM;
        c->all = all;
        c->cap = cap;
    }
    struct calls_one *one = &c->all[c->n];
    *one = (struct calls_one){.number = number,
                              .state = CALLS_READY,
                              .name = strdup(name),
                              .arguments = strdup(arguments != NULL ? arguments : "{}")};
    /* An escaped character has six bytes. */
    buf_init(&one->body, 6 * (c->max_result_bytes + strlen(name) + ERROR_BYTES_MAX) + BODY_EXTRA);
    c->n++;
    c->n_open++;
    if (one->name == NULL || one->arguments == NULL)
        return -ENOMEM;
    return error != NULL ? answer_error(c, one, error, strlen(error)) : 0;
}

bool calls_running(const struct calls *c) {
    for (size_t i = 0; i < c->n; i++)
        if (c->all[i].state == CALLS_RUNNING)
            return true;
    return false;
}

const struct calls_one *calls_start(struct calls *c) {
    while (c->next_ready < c->n && c->all[c->next_ready].state != CALLS_READY)
        c->next_ready++;
    if (c->next_ready == c->n)
        return NULL;
    struct calls_one *one = &c->all[c->next_ready++];
    one->state = CALLS_RUNNING;
    return one;
}

static const char *sentence(enum agent_result status) {
    switch (status) {
    case AGENT_RESULT_OK:
        return "";
    case AGENT_RESULT_ERROR:
        return "The tool failed.";
    case AGENT_RESULT_INVALID:
        return "The arguments do not fit the tool's parameters.";
    case AGENT_RESULT_TIMEOUT:
        return "The tool did not answer in time.";
    case AGENT_RESULT_CRASHED:
        return "The tool ended unexpectedly and gave no result.";
    case AGENT_RESULT_UNAVAILABLE:
        return "The tool cannot run now. Try again later.";
    case AGENT_RESULT_UNKNOWN:
        return "The call was interrupted. It is not known whether it took effect; check before it is "
               "repeated.";
    case AGENT_RESULT_CANCELLED:
        return "The call was cancelled.";
    }
    return "The tool failed.";
}

int calls_answer(struct calls *c, int number, enum agent_result status, const char *text, size_t len) {
    struct calls_one *one = NULL;
    for (size_t i = 0; i < c->n && one == NULL; i++)
        if (c->all[i].number == number && c->all[i].state == CALLS_RUNNING)
            one = &c->all[i];
    if (one == NULL)
        return -EINVAL;
    if (text == NULL) {
        text = sentence(status);
        len = strlen(text);
    }
    if (status != AGENT_RESULT_OK)
        return answer_error(c, one, text, len);
    size_t kept = cut(text, len, c->max_result_bytes);
    int rc = render_body_ok(&one->body, c->profile, one->name, text, kept, kept < len);
    one->state = CALLS_ANSWERED;
    c->n_open--;
    return rc;
}

/* ---- what the model is told of calls that do not run ---- */

void calls_say_unknown(const struct agent_tool *tools, size_t n_tools, const char *name, char *text,
                       size_t size) {
    int n = snprintf(text, size, "The tool '%.100s' does not exist.", name);
    for (size_t i = 0; i < n_tools; i++) {
        size_t at = (size_t)n, more = strlen(tools[i].name) + 24;
        if (at + more >= size) {
            snprintf(text + at, size - at, ", ...");
            return;
        }
        n += snprintf(text + at, size - at, "%s%s", i == 0 ? " Available tools: " : ", ", tools[i].name);
    }
}

void calls_say_strict(const char *name, const char *repaired, char *text, size_t size) {
    snprintf(text, size,
             "Not run: '%.100s' takes only calls that are written exactly, and this one was not "
             "(%s). " REPAIR_SHAPE,
             name, repaired);
}
