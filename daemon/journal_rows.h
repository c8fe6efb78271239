/* Inside the journal: rows that were read, and the memory their texts live in. One thread at a time. */
#ifndef DAEMON_JOURNAL_ROWS_H
#define DAEMON_JOURNAL_ROWS_H

#include "daemon/journal.h"

#include <sqlite3.h>

struct journal_chunk;
struct journal_rows {
    struct journal_chunk *chunks;
    size_t bytes; /* of texts; see JOURNAL_ROWS_MAX */
    struct journal_job *jobs;
    struct journal_event *events;
    struct journal_turn *turns;
    struct journal_part *parts;
    struct journal_call *calls;
    struct journal_count *counts;
    size_t n_jobs, n_events, n_turns, n_parts, n_calls, n_counts;
};

/* Texts of one answer; above it the read fails with -E2BIG. */
#define JOURNAL_ROWS_MAX ((size_t)256 << 20)

void journal_rows_finish(struct journal_rows *rows);
/* Lets the result point to the rows. */
void journal_rows_show(const struct journal_rows *rows, struct journal_result *result);

/* The columns each row function wants, in its order. */
#define JOURNAL_JOB_COLUMNS                                                                                  \
    "id, kind, status, title, model, result_text, result_repaired, result_narrated, error_code, "            \
    "error_message,"                                                                                         \
    " client_name, idempotency_key, metadata_json,"                                                          \
    " trace_id, client_uid, priority, created_at, started_at, finished_at, deadline_at, input_tokens,"       \
    " output_tokens, cached_tokens, reasoning_tokens, prefix_miss_tokens, turns, tool_calls, starts, "       \
    "clean_stops,"                                                                                           \
    " cancel_requested,"                                                                                     \
    " coalesce((SELECT max(seq) FROM events WHERE job_id = jobs.id), 0),"                                    \
    " (SELECT nullif(json_group_array(json_object('id', passage, 'start', start_byte, 'end', end_byte,"      \
    " 'resolved', json(iif(resolved, 'true', 'false')), 'tool_call_id', 'call_' || call)), '[]')"            \
    " FROM (SELECT * FROM citations WHERE job_id = jobs.id ORDER BY position))"
#define JOURNAL_EVENT_COLUMNS "job_id, seq, type, data_json, created_at"
#define JOURNAL_TURN_COLUMNS                                                                                 \
    "job_id, turn, prompt_text, prompt_cuts, seed, sampling_json, output_text, output_tokens_blob,"          \
    " finish_reason, input_tokens, output_tokens, cached_tokens, reasoning_tokens, queue_ms, prompt_ms,"     \
    " first_token_ms, decode_ms, forced_tokens, prefix_miss_tokens, prefix_misses_json,"                     \
    " drafted_tokens, accepted_tokens, ahead_tokens, started_at, finished_at"
#define JOURNAL_PART_COLUMNS                                                                                 \
    "job_id, turn, position, role, type, section, text, truncated, token_count, ms, call, token_from"
#define JOURNAL_CALL_COLUMNS                                                                                 \
    "job_id, call, turn, position, name, arguments_json, raw_text, valid, state, attempt, idempotency_key,"  \
    " pid, error_code, output, output_is_json, truncated, exit_code, signal, duration_ms, first_byte_us,"    \
    " cpu_ms, max_rss_kib, created_at, started_at, finished_at, repaired"

/* Each takes the statement's current row: 0, -ENOMEM, -E2BIG, -EBADMSG. */
HX_MUST_CHECK int journal_rows_add_job(struct journal_rows *rows, sqlite3_stmt *s);
/* "request_json, tools_json" of the last job, which lists leave out. */
HX_MUST_CHECK int journal_rows_add_request(struct journal_rows *rows, sqlite3_stmt *s);
HX_MUST_CHECK int journal_rows_add_event(struct journal_rows *rows, sqlite3_stmt *s);
HX_MUST_CHECK int journal_rows_add_turn(struct journal_rows *rows, sqlite3_stmt *s);
HX_MUST_CHECK int journal_rows_add_part(struct journal_rows *rows, sqlite3_stmt *s);
HX_MUST_CHECK int journal_rows_add_call(struct journal_rows *rows, sqlite3_stmt *s);
/* "status, count" */
HX_MUST_CHECK int journal_rows_add_count(struct journal_rows *rows, sqlite3_stmt *s);

#endif
