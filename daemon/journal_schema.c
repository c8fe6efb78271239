#include "daemon/journal_schema.h"

#include "daemon/journal_db.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

/* Times are RFC 3339 text with milliseconds; numbers that are not known are NULL. */
static const char schema_jobs[] =
    "CREATE TABLE jobs("
    "  num INTEGER PRIMARY KEY AUTOINCREMENT," /* order of acceptance; stays when the file is vacuumed */
    "  id TEXT NOT NULL UNIQUE,"
    "  kind TEXT NOT NULL DEFAULT 'agent',"
    "  status TEXT NOT NULL CHECK(status IN "
    "    ('queued','working','input_required','completed','failed','cancelled')),"
    "  title TEXT, model TEXT,"
    "  request_json TEXT NOT NULL, metadata_json TEXT, tools_json TEXT,"
    "  result_text TEXT, error_code TEXT, error_message TEXT,"
    "  priority INTEGER NOT NULL DEFAULT 0,"
    "  client_uid INTEGER NOT NULL, client_name TEXT, idempotency_key TEXT, trace_id TEXT,"
    "  created_at TEXT NOT NULL, started_at TEXT, finished_at TEXT, deadline_at TEXT,"
    "  input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0,"
    "  cached_tokens INTEGER NOT NULL DEFAULT 0, reasoning_tokens INTEGER NOT NULL DEFAULT 0,"
    "  turns INTEGER NOT NULL DEFAULT 0, tool_calls INTEGER NOT NULL DEFAULT 0,"
    "  starts INTEGER NOT NULL DEFAULT 0," /* also after restarts: one job may not crash the daemon for ever
                                            */
    "  cancel_requested INTEGER NOT NULL DEFAULT 0," /* survives a restart */
    "  UNIQUE(client_uid, idempotency_key)) STRICT;"
    "CREATE INDEX jobs_status ON jobs(status, num);"
    "CREATE INDEX jobs_live ON jobs(num) WHERE status IN ('queued','working','input_required');";

static const char schema_turns[] =
    "CREATE TABLE turns("
    "  job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,"
    "  turn INTEGER NOT NULL,"
    "  prompt_text TEXT NOT NULL," /* what was appended before the generation, byte for byte */
    "  prompt_cuts TEXT NOT NULL," /* its spans: 't' or 'u' (trusted or not) and the bytes, \"t120 u33\" */
    "  output_text TEXT NOT NULL DEFAULT '',"
    "  output_tokens_blob BLOB NOT NULL DEFAULT x''," /* the ids behind it, little-endian int32 */
    "  finish_reason TEXT,"                           /* NULL: the generation did not end yet */
    "  seed INTEGER NOT NULL, sampling_json TEXT,"
    "  input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER, reasoning_tokens INTEGER,"
    "  queue_ms REAL, prompt_ms REAL, first_token_ms REAL, decode_ms REAL,"
    "  started_at TEXT NOT NULL, finished_at TEXT,"
    "  PRIMARY KEY(job_id, turn)) STRICT;";

static const char schema_parts[] =
    "CREATE TABLE parts("
    "  id INTEGER PRIMARY KEY,"
    "  job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,"
    "  turn INTEGER NOT NULL, position INTEGER NOT NULL,"
    "  role TEXT NOT NULL CHECK(role IN ('system','user','assistant','tool')),"
    "  type TEXT NOT NULL CHECK(type IN ('text','reasoning','tool_call','rehearsed')),"
    "  section TEXT, text TEXT NOT NULL DEFAULT '', call INTEGER,"
    "  truncated INTEGER NOT NULL DEFAULT 0, token_count INTEGER, ms REAL, created_at TEXT NOT NULL,"
    "  UNIQUE(job_id, turn, role, position)) STRICT;";

static const char schema_tools[] =
    "CREATE TABLE tools("
    "  id INTEGER PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, provider TEXT NOT NULL,"
    "  description TEXT NOT NULL, input_schema TEXT NOT NULL, flags INTEGER NOT NULL,"
    "  first_seen_at TEXT NOT NULL, seen INTEGER NOT NULL," /* the highest `seen` of a name is the one in use
                                                             */
    "  UNIQUE(name, version, provider, description, input_schema, flags)) STRICT;"
    "CREATE TABLE tool_calls("
    "  job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,"
    "  call INTEGER NOT NULL, turn INTEGER NOT NULL, position INTEGER NOT NULL,"
    "  tool_id INTEGER REFERENCES tools(id),"
    "  name TEXT NOT NULL, arguments_json TEXT NOT NULL, raw_text TEXT, valid INTEGER NOT NULL,"
    "  state TEXT NOT NULL CHECK(state IN "
    "    ('intent','waiting_approval','started','ok','error','cancelled','deadline','unknown')),"
    "  attempt INTEGER NOT NULL DEFAULT 0, idempotency_key TEXT, pid INTEGER,"
    "  error_code TEXT, output TEXT, output_is_json INTEGER NOT NULL DEFAULT 0,"
    "  truncated INTEGER NOT NULL DEFAULT 0, exit_code INTEGER, signal INTEGER,"
    "  duration_ms REAL, first_byte_us REAL, cpu_ms REAL, max_rss_kib INTEGER,"
    "  created_at TEXT NOT NULL, started_at TEXT, finished_at TEXT,"
    "  PRIMARY KEY(job_id, call)) STRICT;"
    "CREATE TABLE events(" /* what event streams replay */
    "  job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE, seq INTEGER NOT NULL,"
    "  type TEXT NOT NULL, data_json TEXT NOT NULL, created_at TEXT NOT NULL,"
    "  PRIMARY KEY(job_id, seq)) STRICT, WITHOUT ROWID;";

/* One job as a list of steps, in order: what was asked, then for each turn the generation and what came of
 * it. */
static const char schema_trace[] =
    "CREATE VIEW trace AS"
    "  SELECT job_id, turn, position, kind, name, text, ms, tokens, state, created_at FROM ("
    "    SELECT job_id, turn, position, CASE WHEN role = 'assistant' THEN 2 ELSE 0 END AS step, 0 AS half,"
    "           CASE WHEN type <> 'text' THEN type WHEN role = 'assistant' THEN 'text' ELSE role END AS kind,"
    "           section AS name, text, ms, token_count AS tokens,"
    "           CASE WHEN truncated THEN 'truncated' END AS state, created_at"
    "      FROM parts WHERE type <> 'tool_call'"
    "    UNION ALL"
    "    SELECT job_id, turn, 0, 1, 0, 'turn', finish_reason, NULL,"
    "           coalesce(prompt_ms, 0) + decode_ms, output_tokens, NULL, started_at FROM turns"
    "    UNION ALL"
    "    SELECT job_id, turn, position, 2, 0, 'call', name, arguments_json, NULL, NULL, NULL, created_at"
    "      FROM tool_calls"
    "    UNION ALL"
    "    SELECT job_id, turn, position, 2, 1, 'result', name, output, duration_ms, NULL,"
    "           coalesce(error_code, state), finished_at FROM tool_calls"
    "      WHERE state NOT IN ('intent', 'waiting_approval', 'started'))"
    "  ORDER BY job_id, turn, step, position, half;";

/* Which section of reasoning led to which call. A section's tokens are those from token_from up to token_end
 * of its turn, its time is that from the end of what stood before it. */
static const char schema_reasoning[] =
    "ALTER TABLE parts ADD COLUMN token_from INTEGER;"
    "ALTER TABLE tool_calls ADD COLUMN repaired TEXT;" /* names of the rules it was normalised by */
    "CREATE TABLE citations("
    "  job_id TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,"
    "  position INTEGER NOT NULL," /* order in the answer */
    "  passage TEXT NOT NULL, start_byte INTEGER NOT NULL, end_byte INTEGER NOT NULL," /* of result_text */
    "  resolved INTEGER NOT NULL, call INTEGER," /* whose result the passage is in; NULL: given, or none */
    "  PRIMARY KEY(job_id, position)) STRICT, WITHOUT ROWID;"
    "CREATE VIEW reasoning AS"
    "  SELECT job_id, turn, position, section, text, truncated, token_from,"
    "         token_from + token_count AS token_end, ms, created_at"
    "    FROM parts WHERE type = 'reasoning';"
    /* Each call with the last section of each name before it, in its turn or an earlier one. */
    "CREATE VIEW plan_calls AS"
    "  SELECT c.job_id, c.call, c.name, c.arguments_json, coalesce(c.error_code, c.state) AS outcome,"
    "         c.turn, c.position, r.section, r.turn AS section_turn, r.position AS section_position, r.text,"
    "         r.truncated, r.token_from, r.token_end, r.ms"
    "    FROM tool_calls c JOIN reasoning r ON r.job_id = c.job_id"
    "     AND (r.turn, r.position) < (c.turn, c.position)"
    "   WHERE NOT EXISTS (SELECT 1 FROM parts p WHERE p.job_id = r.job_id AND p.type = 'reasoning'"
    "     AND p.section = r.section AND (p.turn, p.position) > (r.turn, r.position)"
    "     AND (p.turn, p.position) < (c.turn, c.position));"
    /* Calls that were only thought of, and the first real one of the same tool behind each. */
    "CREATE VIEW rehearsals AS"
    "  SELECT p.job_id, p.turn, p.position, p.section AS name, p.text,"
    "         (SELECT r.section FROM parts r WHERE r.job_id = p.job_id AND r.turn = p.turn"
    "           AND r.type = 'reasoning' AND r.position < p.position ORDER BY r.position DESC LIMIT 1)"
    "           AS section,"
    "         (SELECT min(c.call) FROM tool_calls c WHERE c.job_id = p.job_id AND c.name = p.section"
    "           AND (c.turn, c.position) > (p.turn, p.position)) AS call"
    "    FROM parts p WHERE p.type = 'rehearsed';";

/* Of `starts`, how many ended with the daemon being stopped in order: no fault of the job. */
static const char schema_clean_stops[] = "ALTER TABLE jobs ADD COLUMN clean_stops INTEGER NOT NULL DEFAULT 0";

/* NULL: the result is text; else it is JSON, made so by the rules of these names. */
static const char schema_result_repaired[] = "ALTER TABLE jobs ADD COLUMN result_repaired TEXT";

/* Tokens that the grammar left no choice about; NULL: not known. */
static const char schema_forced_tokens[] = "ALTER TABLE turns ADD COLUMN forced_tokens INTEGER";

/* Tokens that were computed again though they had been before, and how many for which reason, as a JSON
 * object; NULL: not known. */
static const char schema_prefix_misses[] =
    "ALTER TABLE turns ADD COLUMN prefix_miss_tokens INTEGER;"
    "ALTER TABLE turns ADD COLUMN prefix_misses_json TEXT;"
    "ALTER TABLE jobs ADD COLUMN prefix_miss_tokens INTEGER NOT NULL DEFAULT 0";

/* Tokens that were guessed ahead of the model, those that came true, and those of the prompt that were
 * computed while calls still ran; NULL: not known. */
static const char schema_ahead[] = "ALTER TABLE turns ADD COLUMN drafted_tokens INTEGER;"
                                   "ALTER TABLE turns ADD COLUMN accepted_tokens INTEGER;"
                                   "ALTER TABLE turns ADD COLUMN ahead_tokens INTEGER";

/* The answer announces a call that was never made. */
static const char schema_narrated[] =
    "ALTER TABLE jobs ADD COLUMN result_narrated INTEGER NOT NULL DEFAULT 0";

/* Step i brings a file of version i to version i + 1. Steps are only ever appended. */
static const char *const step_1[] = {schema_jobs,  schema_turns, schema_parts,
                                     schema_tools, schema_trace, NULL};
static const char *const step_2[] = {schema_reasoning, NULL};
static const char *const step_3[] = {schema_clean_stops, NULL};
static const char *const step_4[] = {schema_result_repaired, NULL};
static const char *const step_5[] = {schema_forced_tokens, NULL};
static const char *const step_6[] = {schema_prefix_misses, NULL};
static const char *const step_7[] = {schema_ahead, NULL};
static const char *const step_8[] = {schema_narrated, NULL};
static const char *const *const steps[] = {step_1, step_2, step_3, step_4, step_5, step_6, step_7, step_8};

int journal_schema_version(void) {
    return (int)(sizeof steps / sizeof *steps);
}

static int run_step(sqlite3 *db, const char *const *step, int version) {
    char pragma[96];
    snprintf(pragma, sizeof pragma, "PRAGMA application_id = %d; PRAGMA user_version = %d",
             JOURNAL_APPLICATION_ID, version + 1);
    int rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    for (const char *const *sql = step; rc == SQLITE_OK && *sql != NULL; sql++)
        rc = sqlite3_exec(db, *sql, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, pragma, NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    return rc;
}

/* An old file stays beside the new one until somebody removes it. */
static int back_up(sqlite3 *db, const char *path, int version, char *err, size_t errlen) {
    char copy[4096];
    if (snprintf(copy, sizeof copy, "%s.v%d", path, version) >= (int)sizeof copy)
        return err_set(err, errlen, -ENAMETOOLONG, "The path of the journal '%s' is too long.", path);
    unlink(copy); /* of an attempt that was cut short */
    char *sql = sqlite3_mprintf("VACUUM INTO %Q", copy);
    if (sql == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory to copy the journal '%s'.", path);
    int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_free(sql);
    return rc == SQLITE_OK
               ? 0
               : journal_db_error(db, rc, "copying the journal before its migration", path, err, errlen);
}

int journal_schema_check(sqlite3 *db, const char *path, char *err, size_t errlen) {
    int64_t id = 0, version = 0, tables = 0;
    int rc = journal_db_int(db, "PRAGMA application_id", &id);
    if (rc == SQLITE_OK)
        rc = journal_db_int(db, "PRAGMA user_version", &version);
    if (rc == SQLITE_OK)
        rc = journal_db_int(db, "SELECT count(*) FROM sqlite_schema", &tables);
    if (rc != SQLITE_OK)
        return journal_db_error(db, rc, "reading the journal", path, err, errlen);
    if (id != JOURNAL_APPLICATION_ID && (id != 0 || version != 0 || tables != 0))
        return err_set(err, errlen, -EBADMSG,
                       "'%s' is a database of another program; name another state folder.", path);
    if (version > journal_schema_version())
        return err_set(err, errlen, -EPROTO,
                       "The journal '%s' was written by a newer hermesd (version %d of its tables, this one "
                       "knows %d); run that one.",
                       path, (int)version, journal_schema_version());
    if (version < 0 || (version == 0 && tables != 0))
        return err_set(err, errlen, -EBADMSG, "The journal '%s' says version %d, which never existed.", path,
                       (int)version);
    return 0;
}

int journal_schema_migrate_by(sqlite3 *db, const char *path, const char *const *const *by, int n_steps,
                              char *err, size_t errlen) {
    int64_t version = 0;
    int rc = journal_db_int(db, "PRAGMA user_version", &version);
    if (rc != SQLITE_OK)
        return journal_db_error(db, rc, "reading the journal", path, err, errlen);
    if (version > 0 && version < n_steps) {
        rc = back_up(db, path, (int)version, err, errlen);
        if (rc < 0)
            return rc;
    }
    for (int v = (int)version; v < n_steps; v++) {
        rc = run_step(db, by[v], v);
        if (rc != SQLITE_OK) {
            int code = journal_db_error(db, rc, "making the tables of the journal", path, err, errlen);
            sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
            return code;
        }
    }
    return 0;
}

int journal_schema_migrate(sqlite3 *db, const char *path, char *err, size_t errlen) {
    return journal_schema_migrate_by(db, path, steps, journal_schema_version(), err, errlen);
}
