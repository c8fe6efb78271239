/* A job's schemas and its grammar: made on libuv's thread pool, while the job waits and the loop goes on.
 *
 *   asked (WAITING) → a place is free: on its way through the pool (RUNNING) → back on the loop: taken
 *
 * At most RUNNING_MAX at a time, and fewer of those with a schema of a client's, so that many slow ones do
 * not keep jobs waiting that have tools only; and those of the user with the fewest go first. The order
 * (daemon/job_compile.h) owns all that it needs; while it runs it is the pool thread's. A job that nothing is
 * to come of any more takes back what has not begun, and stays until the pool is done with the rest. Only
 * when the daemon ends a job may go first: then the order frees itself. */
#include "base/log.h"
#include "daemon/job.h"
#include "daemon/job_compile.h"
#include "daemon/jobs_inner.h"
#include "engine/grammar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RUNNING_MAX      3 /* libuv has four threads */
#define RUNNING_JSON_MAX 2
#define COMPILE_NICE     10 /* as the engine's threads: answers to clients go first */

enum job_order_for { FOR_CHECK, FOR_START, FOR_TURN };

struct job_order {
    uv_work_t work;
    struct job *job; /* NULL: gone */
    enum job_order_for purpose;
    bool running;
    char *ingredients;      /* owned; START: what the grammar is made of, NULL: none is wanted */
    struct grammar *cached; /* a reference; START: it was made before */
    struct job_compile compile;
};

static void order_free(struct job_order *order) {
    job_compile_finish(&order->compile);
    grammar_unref(order->cached);
    free(order->ingredients);
    free(order);
}

/* ---- the queue ---- */

static void run(uv_work_t *work) {
    struct job_order *order = work->data;
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), COMPILE_NICE);
    job_compile_run(&order->compile);
}

static bool same_ingredients(const struct job_order *a, const struct job_order *b) {
    return a->ingredients != NULL && b->ingredients != NULL && strcmp(a->ingredients, b->ingredients) == 0;
}

/* How many of this job's user are running; -1 when it has to wait whoever's they are. */
static int running_beside(const struct jobs *jobs, const struct job *job) {
    int all = 0, json = 0, own = 0;
    for (const struct job *other = jobs->first; other != NULL; other = other->next) {
        if (other->order != NULL && other->order->running) {
            all++;
            json += other->request.format.json;
            own += other->row.client_uid == job->row.client_uid;
            if (same_ingredients(other->order, job->order)) {
                return -1; /* it will be there in a moment */
            }
        }
    }
    return all < RUNNING_MAX && (!job->request.format.json || json < RUNNING_JSON_MAX) ? own : -1;
}

static struct job *next_waiting(const struct jobs *jobs) {
    struct job *best = NULL;
    int best_running = 0;
    for (struct job *job = jobs->first; job != NULL; job = job->next) {
        int running =
            job->order != NULL && !job->order->running && !job->suspended ? running_beside(jobs, job) : -1;
        if (running >= 0 && (best == NULL || running < best_running)) {
            best = job;
            best_running = running;
        }
    }
    return best;
}

/* Another job may have had the same grammar made: most have the same tools, and then the states and masks
 * that were built are of use to all of them. */
static void look_in_cache(const struct jobs *jobs, struct job_order *order) {
    if (order->cached == NULL && jobs->grammar != NULL && order->ingredients != NULL &&
        strcmp(jobs->grammar_tools, order->ingredients) == 0) {
        order->cached = grammar_ref(jobs->grammar);
        order->compile.wants_grammar = false;
    }
}

static void on_done(uv_work_t *work, int status);

static void send_waiting(struct jobs *jobs) {
    struct job *job = NULL;
    while (!jobs->suspended && (job = next_waiting(jobs)) != NULL) {
        struct job_order *order = job->order;
        look_in_cache(jobs, order);
        order->running = true;
        order->work.data = order;
        /* Fails only without a function to run. */
        (void)uv_queue_work(jobs->config.loop, &order->work, run, on_done);
    }
}

/* ---- back on the loop ---- */

/* The grammar of a job that begins. */
static void take_grammar(struct job *job, struct job_order *order) {
    struct jobs *jobs = job->jobs;
    struct job_compile *made = &order->compile;
    if (made->grammar_status != 0) {
        log_warn("job is not constrained id=%s: %s", job->id,
                 made->grammar_status == -ENOMEM ? "memory is out" : made->grammar_why);
    } else if (order->cached != NULL) {
        job->grammar = grammar_ref(order->cached);
    } else if (made->grammar != NULL) {
        job->grammar = grammar_ref(made->grammar);
        grammar_unref(jobs->grammar);
        free(jobs->grammar_tools);
        jobs->grammar = made->grammar;
        jobs->grammar_tools = order->ingredients;
        made->grammar = NULL;
        order->ingredients = NULL;
    }
}

static void take_start(struct job *job, struct job_order *order) {
    job->answer_schema = order->compile.answer;
    order->compile.answer = NULL;
    job->made = true;
    if (order->compile.status != 0) {
        job_fail(job, "internal_error",
                 order->compile.status == -ENOMEM ? "memory is out" : order->compile.problem.message);
    } else {
        take_grammar(job, order);
    }
    job_constrained(job);
}

static void take_turn(struct job *job, struct job_order *order) {
    struct job_compile *made = &order->compile;
    int rc = made->status != 0 ? made->status : made->grammar_status;
    if (rc == 0) {
        grammar_unref(job->grammar);
        free(job->left_out);
        job->grammar = made->grammar;
        job->left_out = made->left_out;
        job->n_forbidden = made->n_forbidden;
        made->grammar = NULL;
        made->left_out = NULL;
    } else {
        /* It is refused when it comes all the same. */
        log_warn("a call is not forbidden by the grammar id=%s: %s", job->id,
                 rc == -ENOMEM ? "memory is out" : made->grammar_why);
    }
    job_turn_constrained(job);
}

static void take(struct job *job, struct job_order *order) {
    if (order->compile.grammar_status == 0 && order->compile.grammar_why[0] != '\0') {
        log_debug("a grammar lets more pass than its schema, which is checked afterwards: %s",
                  order->compile.grammar_why);
    }
    if (job->phase == JOB_CHECKING) {
        jobs_checked(job, order->compile.status, &order->compile.problem);
    } else if (job->phase != JOB_WORKING || job->suspended || job->end_status != NULL) {
        jobs_reap_later(job->jobs); /* it may be what it waited for */
    } else if (order->purpose == FOR_START) {
        take_start(job, order);
    } else {
        take_turn(job, order);
    }
}

static void on_done(uv_work_t *work, int status) {
    struct job_order *order = work->data;
    struct job *job = order->job;
    if (job != NULL) {
        struct jobs *jobs = job->jobs;
        job->order = NULL;
        if (status == 0) {
            take(job, order);
        } else {
            jobs_reap_later(jobs); /* taken back by job_constrain_stop() */
        }
        send_waiting(jobs);
    }
    order_free(order);
}

void job_constrain_stop(struct job *job) {
    if (job->order == NULL) {
        return;
    }
    if (!job->order->running) {
        order_free(job->order);
        job->order = NULL;
    } else {
        (void)uv_cancel((uv_req_t *)&job->order->work); /* where no thread has taken it yet */
    }
}

void job_constrain_leave(struct job *job) {
    job_constrain_stop(job);
    if (job->order != NULL) {
        job->order->job = NULL;
        job->order = NULL;
    }
}

/* ---- orders ---- */

static struct job_order *order_create(struct job *job, enum job_order_for purpose) {
    struct job_order *order = calloc(1, sizeof *order);
    if (order == NULL) {
        return NULL;
    }
    order->job = job;
    order->purpose = purpose;
    if (job_compile_init(&order->compile, purpose == FOR_CHECK ? JOB_COMPILE_CHECK : JOB_COMPILE_TURN,
                         &job->request.format) != 0) {
        order_free(order);
        return NULL;
    }
    return order;
}

static void ask_for(struct job *job, struct job_order *order) {
    job->order = order;
    send_waiting(job->jobs);
}

int job_constrain_check(struct job *job) {
    struct job_order *order = order_create(job, FOR_CHECK);
    if (order == NULL) {
        return -ENOMEM;
    }
    order->compile.wants_grammar = job->request.constrained;
    ask_for(job, order);
    return 0;
}

/* What the grammar is made of: NULL when memory is out. */
static char *ingredients(const struct job *job) {
    const struct job_format *format = &job->request.format;
    const char *section = job->request.open_section != NULL ? job->request.open_section : "";
    const char *tags = job->request.reasoning_tags != NULL ? job->request.reasoning_tags : "";
    struct buf text;
    int rc = 0;
    buf_init(&text, SIZE_MAX / 2);
    if (format->json) {
        rc = buf_printf(&text, "%s\n%s\n%s\n", section, tags, format->schema != NULL ? format->schema : "");
    }
    rc = rc == 0 ? buf_puts(&text, job->tools_json) : rc;
    char *all = rc == 0 ? buf_take(&text, NULL) : NULL;
    buf_finish(&text);
    return all;
}

static int add_tools(struct job_compile *c, const struct job *job) {
    c->wants_grammar = true;
    c->tools_json = strdup(job->tools_json);
    if (job->request.open_section != NULL) {
        c->open_section = strdup(job->request.open_section);
    }
    if (job->request.reasoning_tags != NULL) {
        c->reasoning_tags = strdup(job->request.reasoning_tags);
    }
    bool all = c->tools_json != NULL && (c->open_section != NULL) == (job->request.open_section != NULL) &&
               (c->reasoning_tags != NULL) == (job->request.reasoning_tags != NULL);
    return all ? 0 : -ENOMEM;
}

bool job_constrain(struct job *job) {
    bool json = job->request.format.json;
    bool wants = job->request.constrained && (json || job->tools.n > 0);
    if (job->made || (!wants && !json)) {
        return true;
    }
    struct job_order *order = order_create(job, FOR_START);
    bool whole = order != NULL;
    if (whole && wants) {
        order->ingredients = ingredients(job);
        whole = order->ingredients != NULL && add_tools(&order->compile, job) == 0;
    }
    if (!whole) {
        if (order != NULL) {
            order_free(order);
        }
        job_fail(job, "internal_error", "memory is out");
        return true;
    }
    look_in_cache(job->jobs, order);
    if (!json && order->cached != NULL) {
        take_grammar(job, order);
        job->made = true;
        order_free(order);
        return true;
    }
    ask_for(job, order);
    return false;
}

static int add_forbidden(struct job_compile *c, const struct agent_step *step) {
    c->forbidden = calloc(step->n_forbidden + 1, sizeof *c->forbidden);
    for (size_t i = 0; c->forbidden != NULL && i < step->n_forbidden; i++) {
        struct job_compile_call *call = &c->forbidden[i];
        c->n_forbidden++;
        call->name = strdup(step->forbidden[i].name);
        call->arguments = strdup(step->forbidden[i].arguments);
        if (call->name == NULL || call->arguments == NULL) {
            return -ENOMEM;
        }
    }
    return c->forbidden != NULL ? 0 : -ENOMEM;
}

bool job_constrain_turn(struct job *job, const struct agent_step *step) {
    if (job->grammar == NULL || step->n_forbidden == job->n_forbidden) {
        return true;
    }
    struct job_order *order = order_create(job, FOR_TURN);
    bool whole = order != NULL && add_tools(&order->compile, job) == 0;
    if (!whole || add_forbidden(&order->compile, step) != 0) {
        if (order != NULL) {
            order_free(order);
        }
        log_warn("a call is not forbidden by the grammar id=%s: memory is out", job->id);
        return true;
    }
    ask_for(job, order);
    return false;
}
