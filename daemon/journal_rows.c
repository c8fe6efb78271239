#include "daemon/journal_rows.h"

#include "daemon/journal_db.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Texts are kept in chunks, so that they never move while a row points to them. */
struct journal_chunk {
    struct journal_chunk *next;
    size_t used, size;
    max_align_t data[];
};
#define CHUNK_BYTES 16384

static void *take(struct journal_rows *rows, size_t n) {
    size_t room = (n + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct journal_chunk *c = rows->chunks;
    if (c == NULL || c->size - c->used < room) {
        size_t size = room > CHUNK_BYTES ? room : CHUNK_BYTES;
        c = malloc(sizeof *c + size);
        if (c == NULL)
            return NULL;
        *c = (struct journal_chunk){.next = rows->chunks, .size = size};
        rows->chunks = c;
    }
    void *at = (char *)c->data + c->used;
    c->used += room;
    rows->bytes += room;
    return at;
}

void journal_rows_finish(struct journal_rows *rows) {
    while (rows->chunks != NULL) {
        struct journal_chunk *c = rows->chunks;
        rows->chunks = c->next;
        free(c);
    }
    free(rows->jobs);
    free(rows->events);
    free(rows->turns);
    free(rows->parts);
    free(rows->calls);
    free(rows->counts);
    *rows = (struct journal_rows){0};
}

void journal_rows_show(const struct journal_rows *rows, struct journal_result *result) {
    result->jobs = rows->jobs;
    result->n_jobs = rows->n_jobs;
    result->events = rows->events;
    result->n_events = rows->n_events;
    result->turns = rows->turns;
    result->n_turns = rows->n_turns;
    result->parts = rows->parts;
    result->n_parts = rows->n_parts;
    result->calls = rows->calls;
    result->n_calls = rows->n_calls;
    result->counts = rows->counts;
    result->n_counts = rows->n_counts;
}

/* Room for one more item; arrays double at powers of two. */
static void *grow(void *items, size_t n, size_t size) {
    if (n >= 8 && (n & (n - 1)) != 0)
        return items;
    if (n < 8 && n != 0)
        return items;
    size_t room = n == 0 ? 8 : n * 2;
    return room > SIZE_MAX / size ? NULL : realloc(items, room * size);
}

#define GROW(rows, items, n)                                                                                 \
    do {                                                                                                     \
        void *grown_ = grow((rows)->items, (rows)->n, sizeof *(rows)->items);                                \
        if (grown_ == NULL)                                                                                  \
            return -ENOMEM;                                                                                  \
        (rows)->items = grown_;                                                                              \
    } while (0)

/* ---- columns, left to right ---- */

struct cursor {
    struct journal_rows *rows;
    sqlite3_stmt *stmt;
    int column;
    int status; /* first failure */
};

/* A copy of a text or blob, NUL-terminated; NULL for NULL. */
static const char *next_bytes(struct cursor *c, size_t *len) {
    int i = c->column++;
    if (len != NULL)
        *len = 0;
    if (c->status < 0 || sqlite3_column_type(c->stmt, i) == SQLITE_NULL)
        return NULL;
    const void *data = sqlite3_column_type(c->stmt, i) == SQLITE_BLOB ? sqlite3_column_blob(c->stmt, i)
                                                                      : sqlite3_column_text(c->stmt, i);
    size_t n = (size_t)sqlite3_column_bytes(c->stmt, i);
    if (data == NULL && n > 0) {
        c->status = -ENOMEM;
        return NULL;
    }
    if (n + c->rows->bytes > JOURNAL_ROWS_MAX) {
        c->status = -E2BIG;
        return NULL;
    }
    char *copy = take(c->rows, n + 1);
    if (copy == NULL) {
        c->status = -ENOMEM;
        return NULL;
    }
    if (n > 0)
        memcpy(copy, data, n);
    copy[n] = '\0';
    if (len != NULL)
        *len = n;
    return copy;
}

static const char *next_text(struct cursor *c) {
    return next_bytes(c, NULL);
}

static int64_t next_int(struct cursor *c) {
    return sqlite3_column_int64(c->stmt, c->column++);
}

static int64_t next_int_or(struct cursor *c, int64_t otherwise) {
    int64_t n = next_int(c);
    return sqlite3_column_type(c->stmt, c->column - 1) == SQLITE_NULL ? otherwise : n;
}

static double next_real(struct cursor *c) {
    double x = sqlite3_column_double(c->stmt, c->column++);
    return sqlite3_column_type(c->stmt, c->column - 1) == SQLITE_NULL ? -1 : x;
}

static int64_t next_time(struct cursor *c) {
    return journal_db_time((const char *)sqlite3_column_text(c->stmt, c->column++));
}

/* ---- rows ---- */

int journal_rows_add_job(struct journal_rows *rows, sqlite3_stmt *s) {
    GROW(rows, jobs, n_jobs);
    struct cursor c = {.rows = rows, .stmt = s};
    struct journal_job *job = &rows->jobs[rows->n_jobs];
    *job = (struct journal_job){0};
    job->id = next_text(&c);
    job->kind = next_text(&c);
    job->status = next_text(&c);
    job->title = next_text(&c);
    job->model = next_text(&c);
    job->result_text = next_text(&c);
    job->result_repaired = next_text(&c);
    job->result_narrated = next_int(&c) != 0;
    job->error_code = next_text(&c);
    job->error_message = next_text(&c);
    job->client_name = next_text(&c);
    job->idempotency_key = next_text(&c);
    job->metadata_json = next_text(&c);
    job->trace_id = next_text(&c);
    job->client_uid = next_int(&c);
    job->priority = (int)next_int(&c);
    job->created_ns = next_time(&c);
    job->started_ns = next_time(&c);
    job->finished_ns = next_time(&c);
    job->deadline_ns = next_time(&c);
    job->input_tokens = next_int(&c);
    job->output_tokens = next_int(&c);
    job->cached_tokens = next_int(&c);
    job->reasoning_tokens = next_int(&c);
    job->prefix_miss_tokens = next_int(&c);
    job->turns = (int)next_int(&c);
    job->tool_calls = (int)next_int(&c);
    job->starts = (int)next_int(&c);
    job->clean_stops = (int)next_int(&c);
    job->cancel_requested = next_int(&c) != 0;
    job->last_seq = next_int(&c);
    job->citations_json = next_text(&c);
    if (c.status == 0)
        rows->n_jobs++;
    return c.status;
}

int journal_rows_add_request(struct journal_rows *rows, sqlite3_stmt *s) {
    struct cursor c = {.rows = rows, .stmt = s};
    struct journal_job *job = &rows->jobs[rows->n_jobs - 1];
    job->request_json = next_text(&c);
    job->tools_json = next_text(&c);
    return c.status;
}

int journal_rows_add_event(struct journal_rows *rows, sqlite3_stmt *s) {
    GROW(rows, events, n_events);
    struct cursor c = {.rows = rows, .stmt = s};
    struct journal_event *event = &rows->events[rows->n_events];
    *event = (struct journal_event){0};
    event->job_id = next_text(&c);
    event->seq = next_int(&c);
    event->type = next_text(&c);
    event->data = next_bytes(&c, &event->len);
    event->created_ns = next_time(&c);
    if (c.status == 0)
        rows->n_events++;
    return c.status;
}

/* "t120 u33" cuts the prompt into its spans again. */
static int split_prompt(struct journal_rows *rows, struct journal_turn *turn, const char *text, size_t len,
                        const char *cuts) {
    size_t n = *cuts != '\0' ? 1 : 0;
    for (const char *at = cuts; *at != '\0'; at++)
        n += *at == ' ';
    struct journal_span *spans = n > 0 ? take(rows, n * sizeof *spans) : NULL;
    if (n > 0 && spans == NULL)
        return -ENOMEM;
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        char kind = *cuts;
        char *end;
        unsigned long long size = kind == 't' || kind == 'u' ? strtoull(cuts + 1, &end, 10) : 0;
        if ((kind != 't' && kind != 'u') || end == cuts + 1 || (*end != ' ' && *end != '\0') ||
            size > len - used)
            return -EBADMSG;
        spans[i] = (struct journal_span){.trusted = kind == 't', .text = text + used, .len = (size_t)size};
        used += (size_t)size;
        cuts = *end == ' ' ? end + 1 : end;
    }
    if (used != len)
        return -EBADMSG;
    turn->prompt = spans;
    turn->n_prompt = n;
    return 0;
}

static int read_tokens(struct journal_rows *rows, struct journal_turn *turn, const char *blob, size_t len) {
    if (len % 4 != 0)
        return -EBADMSG;
    int32_t *tokens = take(rows, len + sizeof *tokens);
    if (tokens == NULL)
        return -ENOMEM;
    const unsigned char *at = (const unsigned char *)blob;
    for (size_t i = 0; i < len / 4; i++, at += 4)
        tokens[i] =
            (int32_t)((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
    turn->tokens = tokens;
    turn->n_tokens = len / 4;
    return 0;
}

int journal_rows_add_turn(struct journal_rows *rows, sqlite3_stmt *s) {
    GROW(rows, turns, n_turns);
    struct cursor c = {.rows = rows, .stmt = s};
    struct journal_turn *turn = &rows->turns[rows->n_turns];
    *turn = (struct journal_turn){0};
    size_t prompt_len, blob_len;
    turn->job_id = next_text(&c);
    turn->turn = (int)next_int(&c);
    const char *prompt = next_bytes(&c, &prompt_len);
    const char *cuts = next_text(&c);
    turn->seed = (uint64_t)next_int(&c);
    turn->sampling_json = next_text(&c);
    turn->text = next_bytes(&c, &turn->len);
    const char *blob = next_bytes(&c, &blob_len);
    turn->finish = next_text(&c);
    turn->input_tokens = next_int(&c);
    turn->output_tokens = next_int(&c);
    turn->cached_tokens = next_int(&c);
    turn->reasoning_tokens = next_int(&c);
    turn->queue_ms = next_real(&c);
    turn->prompt_ms = next_real(&c);
    turn->first_token_ms = next_real(&c);
    turn->decode_ms = next_real(&c);
    turn->forced_tokens = next_int_or(&c, -1);
    turn->prefix_miss_tokens = next_int_or(&c, -1);
    turn->prefix_misses_json = next_text(&c);
    turn->drafted_tokens = next_int_or(&c, -1);
    turn->accepted_tokens = next_int_or(&c, -1);
    turn->ahead_tokens = next_int_or(&c, -1);
    turn->started_ns = next_time(&c);
    turn->finished_ns = next_time(&c);
    if (c.status == 0)
        c.status = split_prompt(rows, turn, prompt, prompt_len, cuts);
    if (c.status == 0)
        c.status = read_tokens(rows, turn, blob, blob_len);
    if (c.status == 0)
        rows->n_turns++;
    return c.status;
}

int journal_rows_add_part(struct journal_rows *rows, sqlite3_stmt *s) {
    GROW(rows, parts, n_parts);
    struct cursor c = {.rows = rows, .stmt = s};
    struct journal_part *part = &rows->parts[rows->n_parts];
    *part = (struct journal_part){0};
    part->job_id = next_text(&c);
    part->turn = (int)next_int(&c);
    part->position = (int)next_int(&c);
    part->role = next_text(&c);
    part->type = next_text(&c);
    part->section = next_text(&c);
    part->text = next_bytes(&c, &part->len);
    part->truncated = next_int(&c) != 0;
    part->n_tokens = (int)next_int_or(&c, -1);
    part->ms = next_real(&c);
    part->call = (int)next_int_or(&c, -1);
    part->token_from = (int)next_int(&c);
    if (c.status == 0)
        rows->n_parts++;
    return c.status;
}

int journal_rows_add_call(struct journal_rows *rows, sqlite3_stmt *s) {
    GROW(rows, calls, n_calls);
    struct cursor c = {.rows = rows, .stmt = s};
    struct journal_call *call = &rows->calls[rows->n_calls];
    *call = (struct journal_call){0};
    call->job_id = next_text(&c);
    call->call = (int)next_int(&c);
    call->turn = (int)next_int(&c);
    call->position = (int)next_int(&c);
    call->name = next_text(&c);
    call->arguments = next_text(&c);
    call->raw = next_text(&c);
    call->valid = next_int(&c) != 0;
    call->state = next_text(&c);
    call->attempt = (int)next_int(&c);
    call->idempotency_key = next_text(&c);
    call->pid = (int)next_int(&c);
    call->error_code = next_text(&c);
    call->output = next_bytes(&c, &call->output_len);
    call->is_json = next_int(&c) != 0;
    call->truncated = next_int(&c) != 0;
    call->exit_code = (int)next_int(&c);
    call->signal = (int)next_int(&c);
    call->duration_ms = next_real(&c);
    call->first_byte_us = next_real(&c);
    call->cpu_ms = next_real(&c);
    call->max_rss_kib = next_int(&c);
    call->created_ns = next_time(&c);
    call->started_ns = next_time(&c);
    call->finished_ns = next_time(&c);
    call->repaired = next_text(&c);
    if (c.status == 0)
        rows->n_calls++;
    return c.status;
}

int journal_rows_add_count(struct journal_rows *rows, sqlite3_stmt *s) {
    GROW(rows, counts, n_counts);
    struct cursor c = {.rows = rows, .stmt = s};
    struct journal_count *count = &rows->counts[rows->n_counts];
    count->status = next_text(&c);
    count->jobs = next_int(&c);
    if (c.status == 0)
        rows->n_counts++;
    return c.status;
}
