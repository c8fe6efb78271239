/* What an answer cites: rows of the journal, and the array that clients see in the result. */
#include "daemon/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define JSON_MAX ((size_t)4 << 20)

static void write_one(struct json_writer *w, const struct agent_citation *c) {
    char id[32];
    snprintf(id, sizeof id, "call_%d", c->call);
    json_object_begin(w);
    json_key(w, "id");
    json_string(w, c->id);
    json_key(w, "start");
    json_int(w, (int64_t)c->start);
    json_key(w, "end");
    json_int(w, (int64_t)c->end);
    json_key(w, "resolved");
    json_bool(w, c->resolved);
    json_key(w, "tool_call_id");
    json_string(w, c->call >= 0 ? id : NULL);
    json_object_end(w);
}

int job_citations_keep(struct job *job, struct journal_batch *batch) {
    struct buf out;
    struct json_writer w;
    size_t n = 0;
    const struct agent_citation *all = job->agent != NULL ? agent_citations(job->agent, &n) : NULL;
    if (n == 0) {
        return 0;
    }
    buf_init(&out, JSON_MAX);
    json_writer_begin(&w, &out);
    json_array_begin(&w);
    for (size_t i = 0; i < n; i++) {
        write_one(&w, &all[i]);
        journal_add_citation(batch, &(struct journal_citation){.job_id = job->id,
                                                               .position = (int)i,
                                                               .passage = all[i].id,
                                                               .start = all[i].start,
                                                               .end = all[i].end,
                                                               .resolved = all[i].resolved,
                                                               .call = all[i].call});
    }
    json_array_end(&w);
    int rc = json_writer_end(&w);
    if (rc == 0) {
        free(job->citations_json);
        job->citations_json = buf_take(&out, NULL);
        rc = job->citations_json != NULL ? 0 : -ENOMEM;
    }
    buf_finish(&out);
    return rc;
}
