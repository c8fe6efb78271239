#include "agent/loop.h"

#include "agent/toolcall.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEFT_OUT SIZE_MAX

struct loop_call {
    uint64_t signature;
    char *name, *arguments; /* owned */
    int same;               /* times it came with the result that it had most often */
    bool forbidden;
};

struct loop_step {
    size_t call;
    uint64_t result;
    int turn;
};

void loop_init(struct loop *l, const struct agent_limits *max) {
    *l = (struct loop){.max = *max};
}

void loop_reset(struct loop *l) {
    for (size_t i = 0; i < l->n_calls; i++) {
        free(l->calls[i].name);
        free(l->calls[i].arguments);
    }
    l->n_calls = l->n_steps = l->n_asked = l->n_idle = l->n_forbidden = 0;
    l->refusals = 0;
}

void loop_finish(struct loop *l) {
    loop_reset(l);
    free(l->calls);
    free(l->steps);
    free(l->asked);
    free(l->forbidden);
    *l = (struct loop){.max = l->max};
}

/* Room for one more; the items, moved perhaps, or NULL. */
static void *grow(void *items, size_t size, size_t used, size_t *cap) {
    if (used < *cap)
        return items;
    size_t more = *cap == 0 ? 16 : *cap * 2;
    void *grown = realloc(items, more * size);
    if (grown != NULL)
        *cap = more;
    return grown;
}

/* ---- asked ---- */

static int push_asked(struct loop *l, size_t call) {
    size_t *grown = grow(l->asked, sizeof *l->asked, l->n_asked, &l->asked_cap);
    if (grown == NULL)
        return -ENOMEM;
    l->asked = grown;
    l->asked[l->n_asked++] = call;
    return 0;
}

int loop_leave_out(struct loop *l) {
    return push_asked(l, LEFT_OUT);
}

static int find_call(struct loop *l, const char *name, const char *arguments, size_t *number) {
    uint64_t signature;
    int rc = toolcall_signature(name, arguments, strlen(arguments), &signature);
    if (rc < 0)
        return rc;
    for (*number = 0; *number < l->n_calls; ++*number)
        if (l->calls[*number].signature == signature)
            return 0;
    struct loop_call *grown = grow(l->calls, sizeof *l->calls, l->n_calls, &l->calls_cap);
    if (grown == NULL)
        return -ENOMEM;
    l->calls = grown;
    struct loop_call call = {.signature = signature, .name = strdup(name), .arguments = strdup(arguments)};
    if (call.name == NULL || call.arguments == NULL) {
        free(call.name);
        free(call.arguments);
        return -ENOMEM;
    }
    l->calls[l->n_calls++] = call;
    return 0;
}

const char *loop_ask(struct loop *l, const char *name, const char *arguments, bool *refused, int *status,
                     char *text, size_t size) {
    size_t call, now = 0;
    *refused = false;
    *status = find_call(l, name, arguments, &call);
    for (size_t i = 0; *status == 0 && i < l->n_asked; i++)
        now += l->asked[i] == call;
    *status = *status == 0 ? push_asked(l, call) : *status;
    if (*status < 0 || l->max.max_identical_calls <= 0)
        return NULL;
    if (l->calls[call].forbidden) {
        snprintf(
            text, size,
            "Not run: this call gave the same result %d times already and will not be run again. Use what "
            "is known, or do something else.",
            l->max.max_identical_calls);
    } else if (now > 0 && now + (size_t)l->calls[call].same >= (size_t)l->max.max_identical_calls) {
        snprintf(text, size, "Not run: the same call came before in this turn.");
    } else {
        return NULL;
    }
    *refused = true;
    if (l->refusals++ < LOOP_REFUSALS_MAX)
        return NULL;
    snprintf(text, size,
             "The model made the same call of '%.100s' more than %d times, and went on when it was refused.",
             name, l->max.max_identical_calls);
    return "identical_calls";
}

/* ---- answered ---- */

/* FNV-1a, 64 bits. */
static uint64_t hash(const char *text, size_t len) {
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)text[i]) * 1099511628211u;
    return h;
}

static int forbid(struct loop *l, size_t call, int turn) {
    struct agent_forbidden *grown =
        grow(l->forbidden, sizeof *l->forbidden, l->n_forbidden, &l->forbidden_cap);
    if (grown == NULL)
        return -ENOMEM;
    l->forbidden = grown;
    l->forbidden[l->n_forbidden++] = (struct agent_forbidden){
        .name = l->calls[call].name, .arguments = l->calls[call].arguments, .since = turn + 1};
    l->calls[call].forbidden = true;
    return 0;
}

static int add_step(struct loop *l, size_t call, int turn, const struct loop_result *r) {
    const struct loop_step step = {.call = call, .result = hash(r->text, r->len), .turn = turn};
    struct loop_step *grown = grow(l->steps, sizeof *l->steps, l->n_steps, &l->steps_cap);
    int same = 1;
    bool idle = r->failed;
    if (grown == NULL)
        return -ENOMEM;
    l->steps = grown;
    for (size_t i = 0; i < l->n_steps; i++) {
        if (l->steps[i].result != step.result)
            continue;
        same += l->steps[i].call == call;
        idle = idle || l->steps[i].call == call ||
               (r->read_only && strcmp(l->calls[l->steps[i].call].name, l->calls[call].name) == 0);
    }
    l->steps[l->n_steps++] = step;
    if (idle && l->n_idle++ == 0)
        l->idle_since = turn;
    else if (!idle)
        l->n_idle = 0;
    struct loop_call *c = &l->calls[call];
    c->same = same > c->same ? same : c->same;
    bool enough = l->max.max_identical_calls > 0 && c->same >= l->max.max_identical_calls;
    return enough && !c->forbidden ? forbid(l, call, turn) : 0;
}

int loop_answer(struct loop *l, int turn, const struct loop_result *results, size_t n) {
    int rc = 0;
    for (size_t i = 0; i < n && i < l->n_asked && rc == 0; i++)
        rc = l->asked[i] == LEFT_OUT ? 0 : add_step(l, l->asked[i], turn, &results[i]);
    l->n_asked = 0;
    return rc;
}

/* ---- verdict ---- */

static bool same_step(const struct loop_step *a, const struct loop_step *b) {
    return a->call == b->call && a->result == b->result;
}

/* Whether the last steps are `repeats` times the same `period` ones, which are not all one. */
static bool is_cycle(const struct loop *l, size_t period, size_t repeats) {
    size_t n = period * repeats;
    if (l->n_steps < n)
        return false;
    const struct loop_step *s = l->steps + l->n_steps - n;
    bool all_one = true;
    for (size_t i = 0; i < n; i++) {
        if (i >= period && !same_step(&s[i], &s[i - period]))
            return false;
        all_one = all_one && same_step(&s[i], &s[0]);
    }
    return !all_one && s[0].turn != s[n - 1].turn;
}

static void say_cycle(const struct loop *l, size_t period, char *text, size_t size) {
    int n = snprintf(text, size, "The last %zu calls repeat with a period of %zu and give the same results:",
                     period * (size_t)l->max.max_cycle_repeats, period);
    for (size_t i = 0; i < period && (size_t)n < size; i++)
        n += snprintf(text + n, size - (size_t)n, "%s %.40s", i > 0 ? "," : "",
                      l->calls[l->steps[l->n_steps - period + i].call].name);
    if ((size_t)n < size)
        snprintf(text + n, size - (size_t)n, ".");
}

const char *loop_verdict(const struct loop *l, char *text, size_t size) {
    for (size_t period = 2; l->max.max_cycle_repeats > 0 && period <= LOOP_PERIOD_MAX; period++)
        if (is_cycle(l, period, (size_t)l->max.max_cycle_repeats)) {
            say_cycle(l, period, text, size);
            return "loop_detected";
        }
    if (l->max.max_idle_calls > 0 && l->n_idle >= (size_t)l->max.max_idle_calls &&
        l->idle_since != l->steps[l->n_steps - 1].turn) {
        snprintf(text, size, "The last %zu calls failed or gave nothing that was not known before.",
                 l->n_idle);
        return "no_progress";
    }
    return NULL;
}
