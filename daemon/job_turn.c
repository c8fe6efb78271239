/* The engine's side of a job: what goes on the timeline, and what comes out of it. */
#include "base/clock.h"
#include "base/log.h"
#include "daemon/job.h"
#include "daemon/jobs_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The model answers its own call: ends the turn as if it had stopped there. */
static const char *const stop_tokens[] = {"<tool_response>", NULL};

/* Of a turn's settings: arguments of forbidden calls can be as long as a turn. */
#define SAMPLING_MAX ((size_t)64 << 20)

/* ---- a turn begins ---- */

/* Those of the prompt that are not on the timeline yet. */
static int append_spans(struct job *job, const struct agent_step *step, char *err, size_t errlen) {
    struct engine_span *spans = calloc(step->n_spans + 1, sizeof *spans);
    size_t n = 0;
    if (spans == NULL) {
        return err_set(err, errlen, -ENOMEM, "memory is out");
    }
    for (size_t i = job->n_appended; i < step->n_spans; i++) {
        spans[n++] = (struct engine_span){
            .kind = step->spans[i].kind == AGENT_SPAN_TRUSTED ? ENGINE_SPAN_TEMPLATE : ENGINE_SPAN_TEXT,
            .data = step->spans[i].text,
            .len = step->spans[i].len,
        };
    }
    int rc = engine_session_append(job->session, spans, n, err, errlen);
    free(spans);
    if (rc >= 0) {
        job->n_appended = step->n_spans;
    }
    return rc < 0 ? rc : 0;
}

/* The turn's row, with the prompt byte for byte. */
static int record_turn(struct job *job, const struct agent_step *step, uint64_t seed) {
    struct journal_batch *batch = job_batch(job);
    struct journal_span *prompt = calloc(step->n_spans + 1, sizeof *prompt);
    struct buf sampling;
    buf_init(&sampling, SAMPLING_MAX);
    if (batch == NULL || prompt == NULL || job_loop_sampling(job, step, &sampling) != 0) {
        free(prompt);
        buf_finish(&sampling);
        return -ENOMEM;
    }
    for (size_t i = 0; i < step->n_spans; i++) {
        prompt[i] = (struct journal_span){.trusted = step->spans[i].kind == AGENT_SPAN_TRUSTED,
                                          .text = step->spans[i].text,
                                          .len = step->spans[i].len};
    }
    journal_add_turn(batch,
                     &(struct journal_turn){.job_id = job->id,
                                            .turn = step->turn,
                                            .prompt = prompt,
                                            .n_prompt = step->n_spans,
                                            .seed = seed,
                                            .sampling_json = sampling.data},
                     false);
    free(prompt);
    buf_finish(&sampling);
    struct job_event e;
    job_event_begin(&e, job, "turn.started", true);
    json_key(&e.w, "turn");
    json_int(&e.w, step->turn);
    job_event_end(&e);
    return 0;
}

static void end_with_error(struct job *job, int rc, const char *err) {
    if (rc == -E2BIG) {
        job_fail(job, job->turn == 0 ? "context_length_exceeded" : "context_full", err);
    } else {
        job_fail(job, rc == -ENOMEM ? "internal_error" : "engine_failed", err);
    }
}

void job_turn_append(struct job *job, const struct agent_step *step) {
    char err[512] = "";
    int rc = append_spans(job, step, err, sizeof err);
    if (rc != 0) {
        end_with_error(job, rc, err);
    }
}

static void begin(struct job *job, const struct agent_step *step) {
    char err[512] = "";
    struct engine_generate how = {
        .sampling = job->request.sampling,
        .max_tokens = step->max_tokens > 0 ? step->max_tokens : 1,
        .stop_tokens = stop_tokens,
        .grammar = job->grammar,
        .no_speculation = !job->request.speculation,
    };
    /* Another seed for each turn, the same one when the turn is generated again after a restart. */
    how.sampling.seed = job->seed + (uint64_t)step->turn;
    job->turn = step->turn;
    job->turn_reasoning_tokens = 0;
    job->turn_output_tokens = 0;
    job->part_began_ns = 0;
    int rc = append_spans(job, step, err, sizeof err);
    job->n_appended = 0;
    if (rc == 0 && record_turn(job, step, how.sampling.seed) != 0) {
        return; /* abandoned */
    }
    if (rc == 0) {
        rc = engine_session_generate(job->session, &how, err, sizeof err);
    }
    if (rc == -ENOTSUP && how.grammar != NULL) {
        log_warn("job is not constrained id=%s: %s", job->id, err);
        how.grammar = NULL;
        rc = engine_session_generate(job->session, &how, err, sizeof err);
    }
    if (rc != 0) {
        end_with_error(job, rc, err);
        return;
    }
    job->generating = true;
    job_loop_tell(job, step, how.grammar != NULL);
}

void job_turn_begin(struct job *job, const struct agent_step *step) {
    if (job_constrain_turn(job, step)) {
        begin(job, step);
    } else {
        job->turn_step = *step; /* nothing is fed to the agent before the turn has begun */
    }
}

void job_turn_constrained(struct job *job) {
    begin(job, &job->turn_step);
    job_step(job);
}

/* ---- what the agent made of the text ---- */

/* Time from the end of the part before, or the first text of the turn; parts of one piece of text share its
 * time with the first of them. */
static double part_ms(struct job *job) {
    uint64_t now = clock_mono_ns(), began = job->part_began_ns;
    job->part_began_ns = now;
    return began != 0 ? (double)(now - began) / 1e6 : -1;
}

static void record_part(struct job *job, const struct agent_event *event, const char *type,
                        const char *section, double ms) {
    struct journal_batch *batch = job_batch(job);
    if (batch != NULL) {
        journal_add_part(batch, &(struct journal_part){.job_id = job->id,
                                                       .turn = event->turn,
                                                       .position = event->position,
                                                       .role = "assistant",
                                                       .type = type,
                                                       .section = section,
                                                       .text = event->text != NULL ? event->text : "",
                                                       .len = event->len,
                                                       .truncated = event->truncated,
                                                       .n_tokens = event->n_tokens,
                                                       .token_from = event->token_from,
                                                       .ms = ms});
    }
}

static void tell_text(struct job *job, const struct agent_event *event, const char *type, bool durable) {
    bool reasoning = event->type == AGENT_EVENT_REASONING_DELTA || event->type == AGENT_EVENT_REASONING_DONE;
    struct job_event e;
    if (!durable && !job_is_watched(job)) {
        return;
    }
    job_event_begin(&e, job, type, durable);
    json_key(&e.w, "turn");
    json_int(&e.w, event->turn);
    json_key(&e.w, "position");
    json_int(&e.w, event->position);
    if (reasoning) {
        json_key(&e.w, "section");
        json_string(&e.w, event->section);
    }
    json_key(&e.w, durable ? "text" : "delta");
    json_string_n(&e.w, event->text != NULL ? event->text : "", event->len);
    if (reasoning && durable) {
        json_key(&e.w, "truncated");
        json_bool(&e.w, event->truncated);
    }
    job_event_end(&e);
}

static void record_rehearsed(struct job *job, const struct agent_event *event) {
    struct agent_event part = *event;
    if (part.text == NULL || part.len == 0) {
        part.text = event->raw != NULL ? event->raw : event->arguments;
        part.len = part.text != NULL ? strlen(part.text) : 0;
    }
    part.n_tokens = -1; /* they are the section's */
    record_part(job, &part, "rehearsed", event->name, -1);
}

static void take_agent_event(struct job *job, const struct agent_event *event) {
    switch (event->type) {
    case AGENT_EVENT_MESSAGE_DELTA:
        tell_text(job, event, "message.delta", false);
        break;
    case AGENT_EVENT_MESSAGE_DONE:
        record_part(job, event, "text", NULL, part_ms(job));
        tell_text(job, event, "message.done", true);
        break;
    case AGENT_EVENT_REASONING_DELTA:
        tell_text(job, event, "reasoning.delta", false);
        break;
    case AGENT_EVENT_REASONING_DONE:
        job->turn_reasoning_tokens += event->n_tokens > 0 ? event->n_tokens : 0;
        record_part(job, event, "reasoning", event->section, part_ms(job));
        tell_text(job, event, "reasoning.done", true);
        break;
    case AGENT_EVENT_CALL:
        (void)part_ms(job);
        job_call_asked(job, event);
        break;
    case AGENT_EVENT_REHEARSED:
        record_rehearsed(job, event);
        break;
    }
}

void job_take_agent_events(struct job *job, bool replay) {
    struct agent_event event;
    while (job->agent != NULL && agent_take_event(job->agent, &event)) {
        /* A call that the journal does not have is new even in a replay. */
        bool known = replay && (event.type != AGENT_EVENT_CALL || job_call_find(job, event.call) != NULL);
        if (!known && job->phase == JOB_WORKING) {
            take_agent_event(job, &event);
        }
    }
}

/* ---- what the engine says ---- */

void job_turn_keep_text(struct job *job) {
    if (job->text.len == 0 && job->tokens.len == 0) {
        return;
    }
    struct journal_batch *batch = job_batch(job);
    if (batch != NULL) {
        journal_add_turn_text(batch, job->id, job->turn, job->text.data != NULL ? job->text.data : "",
                              job->text.len, (const int32_t *)(const void *)job->tokens.data,
                              job->tokens.len / sizeof(int32_t));
        buf_clear(&job->text);
        buf_clear(&job->tokens);
    }
}

static void on_text(struct job *job, const struct engine_event *event) {
    if (event->len == 0 && event->n_tokens == 0) {
        return;
    }
    if ((event->len > 0 && buf_append(&job->text, event->text, event->len) != 0) ||
        (event->n_tokens > 0 &&
         buf_append(&job->tokens, event->tokens, (size_t)event->n_tokens * sizeof(int32_t)) != 0)) {
        job_abandon(job, "memory is out");
        return;
    }
    job->turn_output_tokens += event->n_tokens;
    job->part_began_ns = job->part_began_ns != 0 ? job->part_began_ns : clock_mono_ns();
    if (agent_feed_text(job->agent, event->text != NULL ? event->text : "", event->len, event->n_tokens) !=
        0) {
        job_fail(job, "internal_error", "memory is out");
    }
    job_take_agent_events(job, false);
}

static const char *finish_name(enum engine_finish finish) {
    static const char *const names[] = {
        [ENGINE_FINISH_STOP] = "stop",
        [ENGINE_FINISH_LENGTH] = "length",
        [ENGINE_FINISH_CONTEXT_FULL] = "context_full",
        [ENGINE_FINISH_CANCELLED] = "cancelled",
    };
    return names[finish];
}

static enum agent_finish agent_finish_of(enum engine_finish finish) {
    static const enum agent_finish finishes[] = {
        [ENGINE_FINISH_STOP] = AGENT_FINISH_STOP,
        [ENGINE_FINISH_LENGTH] = AGENT_FINISH_LENGTH,
        [ENGINE_FINISH_CONTEXT_FULL] = AGENT_FINISH_CONTEXT,
        [ENGINE_FINISH_CANCELLED] = AGENT_FINISH_CANCELLED,
    };
    return finishes[finish];
}

static void tell_turn(struct job *job, const struct journal_turn *turn) {
    struct job_event e;
    job_event_begin(&e, job, "turn.completed", true);
    json_key(&e.w, "turn");
    json_int(&e.w, turn->turn);
    json_key(&e.w, "finish_reason");
    json_string(&e.w, turn->finish);
    json_key(&e.w, "usage");
    json_object_begin(&e.w);
    json_key(&e.w, "input_tokens");
    json_int(&e.w, turn->input_tokens);
    json_key(&e.w, "output_tokens");
    json_int(&e.w, turn->output_tokens);
    json_key(&e.w, "cached_tokens");
    json_int(&e.w, turn->cached_tokens);
    json_key(&e.w, "forced_tokens");
    json_int(&e.w, turn->forced_tokens);
    json_key(&e.w, "drafted_tokens");
    json_int(&e.w, turn->drafted_tokens);
    json_key(&e.w, "accepted_tokens");
    json_int(&e.w, turn->accepted_tokens);
    json_key(&e.w, "ahead_tokens");
    json_int(&e.w, turn->ahead_tokens);
    json_key(&e.w, "prefix_miss_tokens");
    json_int(&e.w, turn->prefix_miss_tokens);
    job_object_misses(&e.w, turn->prefix_misses_json);
    json_object_end(&e.w);
    json_key(&e.w, "timings");
    json_object_begin(&e.w);
    json_key(&e.w, "queue_ms");
    json_number(&e.w, turn->queue_ms);
    json_key(&e.w, "prefill_ms");
    json_number(&e.w, turn->prompt_ms);
    json_key(&e.w, "first_token_ms");
    json_number(&e.w, turn->first_token_ms);
    json_key(&e.w, "decode_ms");
    json_number(&e.w, turn->decode_ms);
    json_object_end(&e.w);
    job_event_end(&e);
}

/* What was computed again, by reason, as JSON: {"evicted": 12}. Returns the sum. */
static int64_t sum_misses(struct jobs_counters *counters, const struct engine_event *event, char *json,
                          size_t len) {
    int64_t sum = 0;
    size_t at = (size_t)snprintf(json, len, "{");
    for (int i = 0; i < ENGINE_MISS_REASONS; i++) {
        int n = event->missed_tokens[i];
        if (n > 0 && at < len) {
            at += (size_t)snprintf(json + at, len - at, "%s\"%s\":%d", sum > 0 ? "," : "",
                                   engine_miss_name((enum engine_miss)i), n);
        }
        sum += n;
        counters->missed_tokens[i] += (uint64_t)n;
    }
    if (at + 1 < len) {
        memcpy(json + at, "}", 2);
    }
    return sum;
}

/* A turn that is over, with or without its last words. */
static void close_turn(struct job *job, const struct engine_event *event, const char *finish) {
    char misses[ENGINE_MISS_REASONS * 32];
    struct jobs_counters *counters = &job->jobs->counters;
    struct journal_turn turn = {
        .job_id = job->id,
        .turn = job->turn,
        .finish = finish,
        .input_tokens = event->prompt_tokens,
        .output_tokens = job->turn_output_tokens,
        .cached_tokens = event->cached_tokens,
        .forced_tokens = event->forced_tokens,
        .drafted_tokens = event->drafted_tokens,
        .accepted_tokens = event->accepted_tokens,
        .ahead_tokens = event->ahead_tokens,
        .prefix_miss_tokens = sum_misses(counters, event, misses, sizeof misses),
        .prefix_misses_json = misses,
        .reasoning_tokens = job->turn_reasoning_tokens,
        .queue_ms = event->queue_ms,
        .prompt_ms = event->prefill_ms,
        .first_token_ms = event->first_token_ms,
        .decode_ms = event->decode_ms,
    };
    job->row.turns++;
    job->row.input_tokens += turn.input_tokens;
    job->row.output_tokens += turn.output_tokens;
    job->row.cached_tokens += turn.cached_tokens;
    job->row.reasoning_tokens += turn.reasoning_tokens;
    job->row.prefix_miss_tokens += turn.prefix_miss_tokens;
    counters->input_tokens += (uint64_t)turn.input_tokens;
    counters->output_tokens += (uint64_t)turn.output_tokens;
    counters->cached_tokens += (uint64_t)turn.cached_tokens;
    counters->drafted_tokens += (uint64_t)turn.drafted_tokens;
    counters->accepted_tokens += (uint64_t)turn.accepted_tokens;
    counters->ahead_tokens += (uint64_t)turn.ahead_tokens;
    job_turn_keep_text(job);
    struct journal_batch *batch = job_batch(job);
    if (batch != NULL) {
        journal_add_turn_finished(batch, &turn);
        tell_turn(job, &turn);
    }
}

static void on_done(struct job *job, const struct engine_event *event) {
    job->generating = false;
    on_text(job, event);
    if (job->phase != JOB_WORKING) {
        return;
    }
    if (agent_feed_end(job->agent, agent_finish_of(event->finish)) != 0) {
        job_fail(job, "internal_error", "memory is out");
    }
    job_take_agent_events(job, false);
    if (job->phase == JOB_WORKING) {
        close_turn(job, event, finish_name(event->finish));
    }
}

void job_turn_event(struct job *job, const struct engine_event *event) {
    if (job->phase != JOB_WORKING || job->suspended) {
        job->generating = job->generating && event->type == ENGINE_EVENT_TEXT;
        return;
    }
    switch (event->type) {
    case ENGINE_EVENT_TEXT:
        on_text(job, event);
        break;
    case ENGINE_EVENT_DONE:
        on_done(job, event);
        break;
    case ENGINE_EVENT_FAILED:
        job->generating = false;
        close_turn(job, event, "failed");
        job_fail(job, "engine_failed", event->text != NULL ? event->text : "the engine failed");
        break;
    }
}
