/* The SQL of everything that is written. Parameters are bound by position, in the order of journal_add.c. */
#include "daemon/journal_batch.h"

/* A job, turn or call that is over does not change again: the WHERE says so, and `nothing` what is wrong
 * then. */
#define JOB_IS_LIVE  " AND status IN ('queued','working','input_required')"
#define CALL_IS_OPEN " AND state IN ('intent','waiting_approval','started')"

const struct journal_statement journal_statements[JOURNAL_SQL_COUNT] = {
    [JOURNAL_SQL_TOOL] =
        {"INSERT INTO tools(name, version, provider, description, input_schema, flags, first_seen_at, seen)"
         " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, (SELECT coalesce(max(seen), 0) + 1 FROM tools))"
         " ON CONFLICT DO UPDATE SET seen = excluded.seen",
         NULL},
    [JOURNAL_SQL_JOB] =
        {"INSERT INTO jobs(id, kind, status, title, model, request_json, tools_json, priority, client_uid,"
         " client_name, idempotency_key, trace_id, created_at, deadline_at, metadata_json)"
         " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
         NULL},
    [JOURNAL_SQL_JOB_STARTED] = {"UPDATE jobs SET status = 'working', starts = starts + 1,"
                                 " started_at = coalesce(started_at, ?2) WHERE id = ?1" JOB_IS_LIVE,
                                 "There is no unfinished job '%.*s' to start."},
    [JOURNAL_SQL_JOB_STATUS] = {"UPDATE jobs SET status = ?2,"
                                " clean_stops = clean_stops + (status = 'working' AND ?2 = 'queued')"
                                " WHERE id = ?1" JOB_IS_LIVE,
                                "There is no unfinished job '%.*s' whose status could change."},
    [JOURNAL_SQL_CANCEL] = {"UPDATE jobs SET cancel_requested = 1 WHERE id = ?1",
                            "There is no job '%.*s' to cancel."},
    [JOURNAL_SQL_JOB_FINISHED] =
        {"UPDATE jobs SET status = ?2, result_text = ?3, error_code = ?4, error_message = ?5,"
         " finished_at = ?6, input_tokens = ?7, output_tokens = ?8, cached_tokens = ?9,"
         " reasoning_tokens = ?10, turns = ?11, tool_calls = ?12, result_repaired = ?13,"
         " prefix_miss_tokens = ?14, result_narrated = ?15"
         " WHERE id = ?1" JOB_IS_LIVE,
         "There is no unfinished job '%.*s' to finish."},
    [JOURNAL_SQL_JOB_DELETED] = {"DELETE FROM jobs WHERE id = ?1", "There is no job '%.*s' to delete."},
    [JOURNAL_SQL_TURN] =
        {"INSERT INTO turns(job_id, turn, prompt_text, prompt_cuts, seed, sampling_json, started_at)"
         " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"
         " ON CONFLICT(job_id, turn) DO UPDATE SET prompt_text = excluded.prompt_text,"
         " prompt_cuts = excluded.prompt_cuts, output_text = '', output_tokens_blob = x'',"
         " finish_reason = NULL, seed = excluded.seed, sampling_json = excluded.sampling_json,"
         " started_at = excluded.started_at, finished_at = NULL",
         NULL},
    [JOURNAL_SQL_TURN_DROP_PARTS] =
        {"DELETE FROM parts WHERE job_id = ?1 AND turn = ?2 AND role = 'assistant'", NULL},
    [JOURNAL_SQL_TURN_DROP_CALLS] = {"DELETE FROM tool_calls WHERE job_id = ?1 AND turn = ?2 AND attempt = 0",
                                     NULL},
    [JOURNAL_SQL_TURN_KEEP] =
        {"INSERT INTO turns(job_id, turn, prompt_text, prompt_cuts, seed, sampling_json, started_at)"
         " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT(job_id, turn) DO NOTHING",
         NULL},
    [JOURNAL_SQL_TURN_TEXT] = {"UPDATE turns SET output_text = output_text || ?3,"
                               " output_tokens_blob = CAST(output_tokens_blob || ?4 AS BLOB)"
                               " WHERE job_id = ?1 AND turn = ?2 AND finish_reason IS NULL",
                               "Job '%.*s' has no running turn of that number to take text."},
    [JOURNAL_SQL_TURN_FINISHED] =
        {"UPDATE turns SET finish_reason = ?3, finished_at = ?4, input_tokens = ?5,"
         " output_tokens = ?6, cached_tokens = ?7, reasoning_tokens = ?8, queue_ms = ?9,"
         " prompt_ms = ?10, first_token_ms = ?11, decode_ms = ?12, forced_tokens = ?13,"
         " prefix_miss_tokens = ?14, prefix_misses_json = ?15, drafted_tokens = ?16, accepted_tokens = ?17,"
         " ahead_tokens = ?18"
         " WHERE job_id = ?1 AND turn = ?2 AND finish_reason IS NULL",
         "Job '%.*s' has no running turn of that number to finish."},
    [JOURNAL_SQL_PART] =
        {"INSERT INTO parts(job_id, turn, position, role, type, section, text, truncated, token_count, ms,"
         " call, created_at, token_from) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
         " ON CONFLICT(job_id, turn, role, position) DO UPDATE SET type = excluded.type,"
         " section = excluded.section, text = excluded.text, truncated = excluded.truncated,"
         " token_count = excluded.token_count, ms = excluded.ms, call = excluded.call,"
         " token_from = excluded.token_from",
         NULL},
    [JOURNAL_SQL_CALL] =
        {"INSERT INTO tool_calls(job_id, call, turn, position, tool_id, name, arguments_json, raw_text, "
         "valid,"
         " state, error_code, output, output_is_json, truncated, created_at, finished_at, repaired)"
         " VALUES(?1, ?2, ?3, ?4, (SELECT id FROM tools WHERE name = ?5 ORDER BY seen DESC LIMIT 1), ?5, ?6,"
         " ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
         NULL},
    [JOURNAL_SQL_CALL_STARTED] =
        {"UPDATE tool_calls SET state = 'started', attempt = ?3, pid = ?4, idempotency_key = ?5,"
         " started_at = ?6 WHERE job_id = ?1 AND call = ?2" CALL_IS_OPEN,
         "Job '%.*s' has no open call of that number to start."},
    [JOURNAL_SQL_CALL_FINISHED] =
        {"UPDATE tool_calls SET state = ?3, pid = coalesce(?4, pid), error_code = ?5, output = ?6,"
         " output_is_json = ?7, truncated = ?8, exit_code = ?9, signal = ?10, duration_ms = ?11,"
         " first_byte_us = ?12, cpu_ms = ?13, max_rss_kib = ?14, finished_at = ?15"
         " WHERE job_id = ?1 AND call = ?2" CALL_IS_OPEN,
         "Job '%.*s' has no open call of that number to finish."},
    [JOURNAL_SQL_CITATION] =
        {"INSERT INTO citations(job_id, position, passage, start_byte, end_byte, resolved, call)"
         " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
         NULL},
    [JOURNAL_SQL_EVENT] =
        {"INSERT INTO events(job_id, seq, type, data_json, created_at) VALUES(?1, ?2, ?3, ?4, ?5)", NULL},
};
