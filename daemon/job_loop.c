/* Calls that lead nowhere, for whoever looks at a job: what was forbidden, from when on, and why. The rules
 * are the agent's (agent/loop.h). */
#include "daemon/job.h"

#include <stdio.h>
#include <string.h>

static void write_call(struct json_writer *w, const struct agent_forbidden *call) {
    size_t len = strlen(call->arguments);
    json_key(w, "name");
    json_string(w, call->name);
    json_key(w, "arguments");
    if (json_check(call->arguments, len, &json_limits_default, NULL, 0) == 0) {
        json_raw(w, call->arguments, len);
    } else {
        json_string(w, call->arguments);
    }
}

static void write_setting(struct json_writer *w, const char *name, float value) {
    char text[32];
    snprintf(text, sizeof text, "%g", (double)value);
    json_key(w, name);
    json_raw(w, text, strlen(text));
}

int job_loop_sampling(const struct job *job, const struct agent_step *step, struct buf *out) {
    const struct engine_sampling *how = &job->request.sampling;
    struct json_writer w;
    json_writer_begin(&w, out);
    json_object_begin(&w);
    write_setting(&w, "temperature", how->temperature);
    json_key(&w, "top_k");
    json_int(&w, how->top_k);
    write_setting(&w, "top_p", how->top_p);
    write_setting(&w, "min_p", how->min_p);
    write_setting(&w, "repeat_penalty", how->repeat_penalty);
    json_key(&w, "forbidden");
    json_array_begin(&w);
    for (size_t i = 0; i < step->n_forbidden; i++) {
        if (step->forbidden[i].since == step->turn) {
            json_object_begin(&w);
            write_call(&w, &step->forbidden[i]);
            json_object_end(&w);
        }
    }
    json_array_end(&w);
    json_object_end(&w);
    return json_writer_end(&w);
}

/* What the grammar lacks because of the call. */
static const char *removed(const struct job *job, const char *name) {
    for (size_t i = 0; job->left_out != NULL && i < job->tools.n; i++) {
        if (job->left_out[i] && strcmp(job->tools.items[i].name, name) == 0) {
            return "tool";
        }
    }
    return "arguments";
}

void job_loop_tell(struct job *job, const struct agent_step *step, bool constrained) {
    for (size_t i = 0; i < step->n_forbidden && job->phase == JOB_WORKING; i++) {
        const struct agent_forbidden *call = &step->forbidden[i];
        struct job_event e;
        if (call->since != step->turn) {
            continue;
        }
        job_event_begin(&e, job, "tool_call.forbidden", true);
        json_key(&e.w, "turn");
        json_int(&e.w, step->turn);
        write_call(&e.w, call);
        json_key(&e.w, "same_results");
        json_int(&e.w, job->request.limits.max_identical_calls);
        json_key(&e.w, "removed");
        json_string(&e.w,
                    constrained && job->n_forbidden == step->n_forbidden ? removed(job, call->name) : NULL);
        job_event_end(&e);
    }
}
