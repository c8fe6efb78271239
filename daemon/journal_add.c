/* Batches: what happened, as statements with their values. */
#include "daemon/journal_batch.h"

#include "base/buf.h"
#include "base/clock.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CUTS_MAX (1u << 20)

/* ---- values ---- */

static struct journal_value v_null(void) {
    return (struct journal_value){.type = JOURNAL_NULL};
}

static struct journal_value v_int(int64_t n) {
    return (struct journal_value){.type = JOURNAL_INT, .as.integer = n};
}

static struct journal_value v_int_or_null(int64_t n, bool known) {
    return known ? v_int(n) : v_null();
}

/* A duration or size, to three places; below zero it is not known. */
static struct journal_value v_real(double x) {
    return x >= 0 ? (struct journal_value){.type = JOURNAL_REAL, .as.real = round(x * 1000) / 1000}
                  : v_null();
}

static struct journal_value v_bytes(enum journal_value_type type, const void *data, size_t len) {
    struct journal_value v = {.type = type};
    v.as.bytes.data = data;
    v.as.bytes.len = data != NULL ? len : 0;
    return v;
}

static struct journal_value v_text(const char *text) {
    return text != NULL ? v_bytes(JOURNAL_TEXT, text, strlen(text)) : v_null();
}

static struct journal_value v_text_or(const char *text, const char *otherwise) {
    return v_text(text != NULL ? text : otherwise);
}

/* `room` holds the text until the op has copied it. */
static struct journal_value v_time(int64_t ns, char room[CLOCK_TEXT_SIZE]) {
    clock_format(ns != 0 ? ns : clock_wall_ns(), room);
    return v_bytes(JOURNAL_TEXT, room, strlen(room));
}

static struct journal_value v_time_or_null(int64_t ns, char room[CLOCK_TEXT_SIZE]) {
    return ns != 0 ? v_time(ns, room) : v_null();
}

/* ---- the batch ---- */

struct journal_batch *journal_batch_create(void) {
    struct journal_batch *b = calloc(1, sizeof *b);
    if (b != NULL)
        b->bytes = sizeof *b;
    return b;
}

void journal_batch_destroy(struct journal_batch *b) {
    if (b == NULL)
        return;
    while (b->first != NULL) {
        struct journal_op *op = b->first;
        b->first = op->next;
        free(op);
    }
    free(b);
}

static void put(struct journal_batch *b, enum journal_sql sql, const struct journal_value *values, size_t n) {
    if (b->status != 0)
        return;
    size_t size = sizeof(struct journal_op) + n * sizeof *values;
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        if (values[i].type == JOURNAL_TEXT || values[i].type == JOURNAL_BLOB)
            bytes += values[i].as.bytes.len;
    struct journal_op *op = malloc(size + bytes);
    if (op == NULL) {
        b->status = -ENOMEM;
        return;
    }
    op->next = NULL;
    op->sql = sql;
    op->n = (int)n;
    char *at = (char *)op + size;
    for (size_t i = 0; i < n; i++) {
        op->values[i] = values[i];
        if (values[i].type != JOURNAL_TEXT && values[i].type != JOURNAL_BLOB)
            continue;
        if (values[i].as.bytes.len > 0)
            memcpy(at, values[i].as.bytes.data, values[i].as.bytes.len);
        op->values[i].as.bytes.data = at;
        at += values[i].as.bytes.len;
    }
    if (b->last != NULL)
        b->last->next = op;
    else
        b->first = op;
    b->last = op;
    b->bytes += size + bytes;
}

#define PUT(b, sql, ...)                                                                                     \
    do {                                                                                                     \
        const struct journal_value values_[] = {__VA_ARGS__};                                                \
        put((b), (sql), values_, sizeof values_ / sizeof *values_);                                          \
    } while (0)

/* ---- jobs ---- */

void journal_add_tool(struct journal_batch *b, const struct journal_tool *tool) {
    char now[CLOCK_TEXT_SIZE];
    PUT(b, JOURNAL_SQL_TOOL, v_text(tool->name), v_text_or(tool->version, ""), v_text_or(tool->provider, ""),
        v_text_or(tool->description, ""), v_text_or(tool->input_schema, ""), v_int(tool->flags),
        v_time(0, now));
}

void journal_add_job(struct journal_batch *b, const struct journal_job *job) {
    char created[CLOCK_TEXT_SIZE], deadline[CLOCK_TEXT_SIZE];
    b->accepts = true;
    PUT(b, JOURNAL_SQL_JOB, v_text(job->id), v_text_or(job->kind, "agent"), v_text_or(job->status, "queued"),
        v_text(job->title), v_text(job->model), v_text(job->request_json), v_text(job->tools_json),
        v_int(job->priority), v_int(job->client_uid), v_text(job->client_name), v_text(job->idempotency_key),
        v_text(job->trace_id), v_time(job->created_ns, created), v_time_or_null(job->deadline_ns, deadline),
        v_text(job->metadata_json));
}

void journal_add_job_started(struct journal_batch *b, const char *job_id, int64_t started_ns) {
    char started[CLOCK_TEXT_SIZE];
    PUT(b, JOURNAL_SQL_JOB_STARTED, v_text(job_id), v_time(started_ns, started));
}

void journal_add_job_status(struct journal_batch *b, const char *job_id, const char *status) {
    PUT(b, JOURNAL_SQL_JOB_STATUS, v_text(job_id), v_text(status));
}

void journal_add_cancel(struct journal_batch *b, const char *job_id) {
    PUT(b, JOURNAL_SQL_CANCEL, v_text(job_id));
}

void journal_add_job_finished(struct journal_batch *b, const struct journal_job *job) {
    char finished[CLOCK_TEXT_SIZE];
    PUT(b, JOURNAL_SQL_JOB_FINISHED, v_text(job->id), v_text(job->status), v_text(job->result_text),
        v_text(job->error_code), v_text(job->error_message), v_time(job->finished_ns, finished),
        v_int(job->input_tokens), v_int(job->output_tokens), v_int(job->cached_tokens),
        v_int(job->reasoning_tokens), v_int(job->turns), v_int(job->tool_calls), v_text(job->result_repaired),
        v_int(job->prefix_miss_tokens), v_int(job->result_narrated));
}

void journal_add_job_deleted(struct journal_batch *b, const char *job_id) {
    PUT(b, JOURNAL_SQL_JOB_DELETED, v_text(job_id));
}

/* ---- turns ---- */

/* The spans as one text, and where it was cut: "t120 u33". */
static int join_spans(const struct journal_turn *turn, struct buf *text, struct buf *cuts) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < turn->n_prompt; i++) {
        const struct journal_span *span = &turn->prompt[i];
        rc = buf_append(text, span->text, span->len);
        if (rc == 0)
            rc = buf_printf(cuts, "%s%c%zu", i > 0 ? " " : "", span->trusted ? 't' : 'u', span->len);
    }
    return rc;
}

void journal_add_turn(struct journal_batch *b, const struct journal_turn *turn, bool keep) {
    char started[CLOCK_TEXT_SIZE];
    struct buf text, cuts;
    buf_init(&text, SIZE_MAX / 2);
    buf_init(&cuts, CUTS_MAX);
    int rc = join_spans(turn, &text, &cuts);
    if (rc < 0 && b->status == 0)
        b->status = rc;
    if (!keep) {
        PUT(b, JOURNAL_SQL_TURN_DROP_PARTS, v_text(turn->job_id), v_int(turn->turn));
        PUT(b, JOURNAL_SQL_TURN_DROP_CALLS, v_text(turn->job_id), v_int(turn->turn));
    }
    PUT(b, keep ? JOURNAL_SQL_TURN_KEEP : JOURNAL_SQL_TURN, v_text(turn->job_id), v_int(turn->turn),
        v_bytes(JOURNAL_TEXT, text.data, text.len), v_bytes(JOURNAL_TEXT, cuts.data, cuts.len),
        v_int((int64_t)turn->seed), v_text(turn->sampling_json), v_time(turn->started_ns, started));
    buf_finish(&text);
    buf_finish(&cuts);
}

void journal_add_turn_text(struct journal_batch *b, const char *job_id, int turn, const char *text,
                           size_t len, const int32_t *tokens, size_t n_tokens) {
    PUT(b, JOURNAL_SQL_TURN_TEXT, v_text(job_id), v_int(turn), v_bytes(JOURNAL_TEXT, text, len),
        v_bytes(JOURNAL_BLOB, tokens, n_tokens * sizeof *tokens));
}

void journal_add_turn_finished(struct journal_batch *b, const struct journal_turn *turn) {
    char finished[CLOCK_TEXT_SIZE];
    PUT(b, JOURNAL_SQL_TURN_FINISHED, v_text(turn->job_id), v_int(turn->turn), v_text(turn->finish),
        v_time(turn->finished_ns, finished), v_int(turn->input_tokens), v_int(turn->output_tokens),
        v_int(turn->cached_tokens), v_int(turn->reasoning_tokens), v_real(turn->queue_ms),
        v_real(turn->prompt_ms), v_real(turn->first_token_ms), v_real(turn->decode_ms),
        v_int_or_null(turn->forced_tokens, turn->forced_tokens >= 0),
        v_int_or_null(turn->prefix_miss_tokens, turn->prefix_miss_tokens >= 0),
        v_text(turn->prefix_misses_json), v_int_or_null(turn->drafted_tokens, turn->drafted_tokens >= 0),
        v_int_or_null(turn->accepted_tokens, turn->accepted_tokens >= 0),
        v_int_or_null(turn->ahead_tokens, turn->ahead_tokens >= 0));
}

/* ---- parts, calls, events ---- */

void journal_add_part(struct journal_batch *b, const struct journal_part *part) {
    char now[CLOCK_TEXT_SIZE];
    PUT(b, JOURNAL_SQL_PART, v_text(part->job_id), v_int(part->turn), v_int(part->position),
        v_text(part->role), v_text(part->type), v_text(part->section),
        v_bytes(JOURNAL_TEXT, part->text, part->len), v_int(part->truncated),
        v_int_or_null(part->n_tokens, part->n_tokens >= 0), v_real(part->ms), v_null(), v_time(0, now),
        v_int_or_null(part->token_from, part->n_tokens >= 0));
}

void journal_add_call(struct journal_batch *b, const struct journal_call *call) {
    char created[CLOCK_TEXT_SIZE], finished[CLOCK_TEXT_SIZE];
    bool open = call->state == NULL || strcmp(call->state, "intent") == 0 ||
                strcmp(call->state, "waiting_approval") == 0;
    PUT(b, JOURNAL_SQL_PART, v_text(call->job_id), v_int(call->turn), v_int(call->position),
        v_text("assistant"), v_text("tool_call"), v_null(), v_text_or(call->arguments, ""), v_int(0),
        v_null(), v_null(), v_int(call->call), v_time(call->created_ns, created), v_null());
    PUT(b, JOURNAL_SQL_CALL, v_text(call->job_id), v_int(call->call), v_int(call->turn),
        v_int(call->position), v_text_or(call->name, ""), v_text_or(call->arguments, ""), v_text(call->raw),
        v_int(call->valid), v_text_or(call->state, "intent"), v_text(call->error_code),
        call->output != NULL ? v_bytes(JOURNAL_TEXT, call->output, call->output_len) : v_null(),
        v_int(call->is_json), v_int(call->truncated), v_time(call->created_ns, created),
        open ? v_null() : v_time(call->finished_ns, finished), v_text(call->repaired));
}

void journal_add_call_started(struct journal_batch *b, const struct journal_call *call) {
    char started[CLOCK_TEXT_SIZE];
    PUT(b, JOURNAL_SQL_CALL_STARTED, v_text(call->job_id), v_int(call->call), v_int(call->attempt),
        v_int_or_null(call->pid, call->pid > 0), v_text(call->idempotency_key),
        v_time(call->started_ns, started));
}

void journal_add_call_finished(struct journal_batch *b, const struct journal_call *call) {
    char finished[CLOCK_TEXT_SIZE];
    bool crashed = call->exit_code != 0 || call->signal != 0;
    PUT(b, JOURNAL_SQL_CALL_FINISHED, v_text(call->job_id), v_int(call->call), v_text(call->state),
        v_int_or_null(call->pid, call->pid > 0), v_text(call->error_code),
        call->output != NULL ? v_bytes(JOURNAL_TEXT, call->output, call->output_len) : v_null(),
        v_int(call->is_json), v_int(call->truncated), v_int_or_null(call->exit_code, crashed),
        v_int_or_null(call->signal, crashed), v_real(call->duration_ms), v_real(call->first_byte_us),
        v_real(call->cpu_ms), v_int_or_null(call->max_rss_kib, call->max_rss_kib > 0),
        v_time(call->finished_ns, finished));
}

void journal_add_citation(struct journal_batch *b, const struct journal_citation *c) {
    PUT(b, JOURNAL_SQL_CITATION, v_text(c->job_id), v_int(c->position), v_text_or(c->passage, ""),
        v_int((int64_t)c->start), v_int((int64_t)c->end), v_int(c->resolved),
        v_int_or_null(c->call, c->call >= 0));
}

void journal_add_event(struct journal_batch *b, const struct journal_event *event) {
    char created[CLOCK_TEXT_SIZE];
    PUT(b, JOURNAL_SQL_EVENT, v_text(event->job_id), v_int(event->seq), v_text(event->type),
        v_bytes(JOURNAL_TEXT, event->data, event->len), v_time(event->created_ns, created));
}
