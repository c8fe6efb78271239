/* Jobs and traces as JSON: the objects of daemon/api.md. */
#include "base/clock.h"
#include "daemon/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_time(struct json_writer *w, const char *key, int64_t ns) {
    char text[CLOCK_TEXT_SIZE];
    json_key(w, key);
    if (ns != 0) {
        clock_format(ns, text);
        json_string(w, text);
    } else {
        json_null(w);
    }
}

static void write_known(struct json_writer *w, const char *key, double value) {
    json_key(w, key);
    if (value >= 0) {
        json_number(w, value);
    } else {
        json_null(w);
    }
}

static void write_metadata(struct json_writer *w, const char *metadata_json) {
    json_key(w, "metadata");
    if (metadata_json != NULL) {
        json_raw(w, metadata_json, strlen(metadata_json));
    } else {
        json_object_begin(w);
        json_object_end(w);
    }
}

static void write_usage(struct json_writer *w, const struct journal_job *row) {
    json_key(w, "usage");
    json_object_begin(w);
    json_key(w, "input_tokens");
    json_int(w, row->input_tokens);
    json_key(w, "output_tokens");
    json_int(w, row->output_tokens);
    json_key(w, "cached_tokens");
    json_int(w, row->cached_tokens);
    json_key(w, "reasoning_tokens");
    json_int(w, row->reasoning_tokens);
    json_key(w, "prefix_miss_tokens");
    json_int(w, row->prefix_miss_tokens);
    json_object_end(w);
}

/* JSON mode: the answer's value. */
static void write_answer(struct json_writer *w, const struct journal_job *row) {
    const char *json = row->result_text != NULL ? row->result_text : "null";
    if (row->result_repaired == NULL) {
        return;
    }
    json_key(w, "json");
    json_raw(w, json, strlen(json));
    json_key(w, "repaired");
    json_string(w, row->result_repaired[0] != '\0' ? row->result_repaired : NULL);
}

static void write_end(struct json_writer *w, const struct journal_job *row) {
    json_key(w, "result");
    if (strcmp(row->status, "completed") == 0) {
        json_object_begin(w);
        json_key(w, "text");
        json_string(w, row->result_text != NULL ? row->result_text : "");
        json_key(w, "citations");
        const char *citations = row->citations_json != NULL ? row->citations_json : "[]";
        json_raw(w, citations, strlen(citations));
        write_answer(w, row);
        if (row->result_narrated) {
            json_key(w, "narrated");
            json_bool(w, true);
        }
        json_object_end(w);
    } else {
        json_null(w);
    }
    json_key(w, "error");
    if (strcmp(row->status, "failed") == 0) {
        json_object_begin(w);
        json_key(w, "code");
        json_string(w, row->error_code != NULL ? row->error_code : "internal_error");
        json_key(w, "message");
        json_string(w, row->error_message != NULL ? row->error_message : "");
        json_object_end(w);
    } else {
        json_null(w);
    }
}

void job_object_write(struct json_writer *w, const struct journal_job *row) {
    json_object_begin(w);
    json_key(w, "id");
    json_string(w, row->id);
    json_key(w, "object");
    json_string(w, "job");
    json_key(w, "status");
    json_string(w, row->status);
    json_key(w, "title");
    json_string(w, row->title);
    json_key(w, "model");
    json_string(w, row->model);
    write_time(w, "created_at", row->created_ns);
    write_time(w, "started_at", row->started_ns);
    write_time(w, "finished_at", row->finished_ns);
    write_time(w, "deadline_at", row->deadline_ns);
    json_key(w, "priority");
    json_int(w, row->priority);
    json_key(w, "turns");
    json_int(w, row->turns);
    json_key(w, "tool_calls");
    json_int(w, row->tool_calls);
    write_usage(w, row);
    write_end(w, row);
    json_key(w, "pending_input");
    json_null(w);
    json_key(w, "trace_id");
    json_string(w, row->trace_id);
    json_key(w, "last_seq");
    json_int(w, row->last_seq);
    write_metadata(w, row->metadata_json);
    json_object_end(w);
}

/* ---- the trace ---- */

static void write_json_or_text(struct json_writer *w, const char *key, const char *text) {
    json_key(w, key);
    if (text != NULL && json_check(text, strlen(text), &json_limits_default, NULL, 0) == 0) {
        json_raw(w, text, strlen(text));
    } else {
        json_string(w, text);
    }
}

static void write_int_unless(struct json_writer *w, const char *key, int64_t value, bool unknown) {
    json_key(w, key);
    if (unknown) {
        json_null(w);
    } else {
        json_int(w, value);
    }
}

static void write_call(struct json_writer *w, const struct journal_call *call) {
    char id[32];
    bool open = strcmp(call->state, "intent") == 0 || strcmp(call->state, "started") == 0 ||
                strcmp(call->state, "waiting_approval") == 0;
    bool ran = call->attempt > 0;
    snprintf(id, sizeof id, "call_%d", call->call);
    json_object_begin(w);
    json_key(w, "call_id");
    json_string(w, id);
    json_key(w, "name");
    json_string(w, call->name);
    write_json_or_text(w, "arguments", call->arguments);
    json_key(w, "status");
    json_string(w, job_call_status(call->state, call->error_code));
    json_key(w, "is_error");
    json_bool(w, !open && strcmp(call->state, "ok") != 0);
    json_key(w, "output");
    if (call->output != NULL) {
        json_string_n(w, call->output, call->output_len);
    } else {
        json_null(w);
    }
    json_key(w, "truncated");
    json_bool(w, call->truncated);
    json_key(w, "attempt");
    json_int(w, call->attempt);
    write_time(w, "started_at", call->started_ns);
    write_time(w, "finished_at", call->finished_ns);
    write_known(w, "duration_ms", ran ? call->duration_ms : -1);
    write_int_unless(w, "pid", call->pid, call->pid == 0);
    write_int_unless(w, "exit_code", call->exit_code, !ran || open);
    write_int_unless(w, "signal", call->signal, !ran || open);
    write_known(w, "cpu_ms", ran ? call->cpu_ms : -1);
    write_int_unless(w, "max_rss_kib", call->max_rss_kib, call->max_rss_kib == 0);
    json_key(w, "repaired");
    json_string(w, call->repaired);
    json_object_end(w);
}

static void write_part(struct json_writer *w, const struct journal_part *part,
                       const struct journal_result *trace) {
    bool rehearsed = strcmp(part->type, "rehearsed") == 0;
    const struct journal_call *call = NULL;
    for (size_t i = 0; i < trace->n_calls && strcmp(part->type, "tool_call") == 0; i++) {
        call = trace->calls[i].call == part->call ? &trace->calls[i] : call;
    }
    json_object_begin(w);
    json_key(w, "position");
    json_int(w, part->position);
    json_key(w, "type");
    json_string(w, rehearsed ? "rehearsed_call" : part->type);
    json_key(w, "section");
    json_string(w, part->section);
    json_key(w, "text");
    if (part->text != NULL) {
        json_string_n(w, part->text, part->len);
    } else {
        json_null(w);
    }
    json_key(w, "truncated");
    json_bool(w, part->truncated);
    write_int_unless(w, "tokens", part->n_tokens, part->n_tokens < 0);
    write_int_unless(w, "token_from", part->token_from, part->n_tokens < 0);
    write_known(w, "duration_ms", part->ms);
    json_key(w, "call");
    if (call != NULL) {
        write_call(w, call);
    } else {
        json_null(w);
    }
    json_object_end(w);
}

void job_object_misses(struct json_writer *w, const char *json) {
    json_key(w, "prefix_misses");
    if (json != NULL) {
        json_raw(w, json, strlen(json));
    } else {
        json_null(w);
    }
}

static void write_turn(struct json_writer *w, const struct journal_turn *turn,
                       const struct journal_result *trace) {
    json_object_begin(w);
    json_key(w, "turn");
    json_int(w, turn->turn);
    json_key(w, "finish_reason");
    json_string(w, turn->finish);
    write_time(w, "started_at", turn->started_ns);
    write_time(w, "finished_at", turn->finished_ns);
    json_key(w, "usage");
    json_object_begin(w);
    json_key(w, "input_tokens");
    json_int(w, turn->input_tokens);
    json_key(w, "output_tokens");
    json_int(w, turn->output_tokens);
    json_key(w, "cached_tokens");
    json_int(w, turn->cached_tokens);
    json_key(w, "reasoning_tokens");
    json_int(w, turn->reasoning_tokens);
    write_int_unless(w, "forced_tokens", turn->forced_tokens, turn->forced_tokens < 0);
    write_int_unless(w, "drafted_tokens", turn->drafted_tokens, turn->drafted_tokens < 0);
    write_int_unless(w, "accepted_tokens", turn->accepted_tokens, turn->accepted_tokens < 0);
    write_int_unless(w, "ahead_tokens", turn->ahead_tokens, turn->ahead_tokens < 0);
    write_int_unless(w, "prefix_miss_tokens", turn->prefix_miss_tokens, turn->prefix_miss_tokens < 0);
    job_object_misses(w, turn->prefix_misses_json);
    json_object_end(w);
    json_key(w, "timings");
    json_object_begin(w);
    write_known(w, "queue_ms", turn->queue_ms);
    write_known(w, "prefill_ms", turn->prompt_ms);
    write_known(w, "first_token_ms", turn->first_token_ms);
    write_known(w, "decode_ms", turn->decode_ms);
    json_object_end(w);
    json_key(w, "sampling");
    if (turn->sampling_json != NULL) {
        json_raw(w, turn->sampling_json, strlen(turn->sampling_json));
    } else {
        json_null(w);
    }
    json_key(w, "parts");
    json_array_begin(w);
    for (size_t i = 0; i < trace->n_parts; i++) {
        if (trace->parts[i].turn == turn->turn && strcmp(trace->parts[i].role, "assistant") == 0) {
            write_part(w, &trace->parts[i], trace);
        }
    }
    json_array_end(w);
    json_object_end(w);
}

void job_trace_write(struct json_writer *w, const struct journal_job *row,
                     const struct journal_result *trace) {
    json_object_begin(w);
    json_key(w, "object");
    json_string(w, "trace");
    json_key(w, "job");
    job_object_write(w, row);
    json_key(w, "input");
    json_array_begin(w);
    for (size_t i = 0; i < trace->n_parts; i++) {
        const struct journal_part *part = &trace->parts[i];
        if (strcmp(part->role, "user") == 0 || strcmp(part->role, "system") == 0) {
            json_object_begin(w);
            json_key(w, "role");
            json_string(w, part->role);
            json_key(w, "content");
            json_string_n(w, part->text != NULL ? part->text : "", part->len);
            json_object_end(w);
        }
    }
    json_array_end(w);
    json_key(w, "turns");
    json_array_begin(w);
    for (size_t i = 0; i < trace->n_turns; i++) {
        write_turn(w, &trace->turns[i], trace);
    }
    json_array_end(w);
    json_object_end(w);
}
