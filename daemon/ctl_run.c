/* run: submit a job and follow it to its end, over broken connections and restarts of the daemon. */
#include "daemon/ctl.h"

#include "base/clock.h"
#include "daemon/ctl_sse.h"
#include "daemon/ctl_view.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define PROMPT_MAX     ((size_t)7 << 20)
#define BODY_MAX       ((size_t)48 << 20)  /* a prompt whose every byte is escaped */
#define SCHEMA_MAX     ((size_t)256 << 10) /* the daemon takes less, and says so */
#define SUBMIT_WAIT_MS 60000
#define RETRY_FIRST_MS 100
#define RETRY_LAST_MS  2000
#define RETRY_NS       30000000000u /* without an event, until the daemon is given up */
#define STDIN_NOTE_MS  2000
#define TRY_AGAIN      (-1)

struct run {
    struct ctl *ctl;
    struct ctl_view view;
    struct ctl_sse sse;
    struct buf body;
    char key[256]; /* the idempotency key: a repeated submission names the same job */
    char id[CTL_ID_SIZE];
    char status[32]; /* at the end; "" before */
    int signal_fd, interrupts;
    bool cancel_asked, needs_input, shut_out, quiet_note, reached;
    uint64_t deadline_ns; /* 0 = none */
    uint64_t last_event_ns;
};

/* ---- the request ---- */

static bool stdin_is_piped(void) {
    struct stat st;
    return fstat(STDIN_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode));
}

static int take_stdin(struct ctl *ctl, struct buf *prompt) {
    struct pollfd fd = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&fd, 1, STDIN_NOTE_MS) == 0 && !ctl->options->quiet)
        ctl_term_printf(&ctl->err, CTL_DIM, "waiting for standard input to end\n");
    return ctl_read_stdin(prompt);
}

/* The words, then what was piped in. */
static int make_prompt(struct ctl *ctl, struct buf *prompt) {
    const struct ctl_options *o = ctl->options;
    bool only_stdin = o->n_words == 0 || (o->n_words == 1 && strcmp(o->words[0], "-") == 0);
    int rc = 0;
    if (!only_stdin) {
        for (int i = 0; rc == 0 && i < o->n_words; i++)
            rc = buf_printf(prompt, "%s%s", i > 0 ? " " : "", o->words[i]);
        if (rc == 0 && stdin_is_piped()) {
            size_t words = prompt->len;
            rc = buf_puts(prompt, "\n\n");
            if (rc == 0)
                rc = take_stdin(ctl, prompt);
            if (rc == 0 && prompt->len == words + 2) /* nothing came */
                prompt->data[prompt->len = words] = '\0';
        }
    } else if (o->n_words == 0 && !stdin_is_piped()) {
        return ctl_fail(ctl, CTL_USAGE, "There is no prompt: hermesctl run \"How much is 17 %% of 2,340?\"");
    } else {
        rc = take_stdin(ctl, prompt);
    }
    if (rc == -ENOBUFS || rc == -E2BIG)
        return ctl_fail(ctl, CTL_USAGE, "The prompt is larger than %zu MiB.", PROMPT_MAX >> 20);
    if (rc < 0)
        return ctl_fail(ctl, CTL_FAILED, "The prompt cannot be read: %s.", strerror(-rc));
    if (prompt->len == 0)
        return ctl_fail(ctl, CTL_USAGE, "The prompt is empty.");
    return CTL_OK;
}

static void write_text(struct json_writer *w, const char *key, const char *text) {
    if (text == NULL)
        return;
    json_key(w, key);
    json_string(w, text);
}

/* The schema's text, which must be JSON: the rest the daemon knows better. */
static int read_schema(struct ctl *ctl, const char *path, struct buf *text) {
    char err[200] = "";
    FILE *in = fopen(path, "rb");
    int rc = in == NULL ? -errno : buf_read_to_end(text, in);
    if (in != NULL)
        fclose(in);
    if (rc == -ENOBUFS)
        return ctl_fail(ctl, CTL_USAGE, "The schema %s is larger than %zu KiB.", path, SCHEMA_MAX >> 10);
    if (rc < 0)
        return ctl_fail(ctl, CTL_USAGE, "The schema %s cannot be read: %s.", path, strerror(-rc));
    if (json_check(text->data != NULL ? text->data : "", text->len, NULL, err, sizeof err) < 0)
        return ctl_fail(ctl, CTL_USAGE, "The schema %s is not JSON: %s", path, err);
    return CTL_OK;
}

/* What the answer must be, as `response_format`. */
static int write_format(struct ctl *ctl, struct json_writer *w) {
    const struct ctl_options *o = ctl->options;
    struct buf schema;
    if (!o->json_object && o->schema_path == NULL)
        return CTL_OK;
    buf_init(&schema, SCHEMA_MAX);
    int code = o->schema_path != NULL ? read_schema(ctl, o->schema_path, &schema) : CTL_OK;
    if (code == CTL_OK) {
        json_key(w, "response_format");
        json_object_begin(w);
        json_key(w, "type");
        json_string(w, o->schema_path != NULL ? "json_schema" : "json_object");
        if (o->schema_path != NULL) {
            json_key(w, "json_schema");
            json_object_begin(w);
            json_key(w, "name");
            json_string(w, "answer");
            json_key(w, "schema");
            json_raw(w, schema.data, schema.len);
            json_object_end(w);
        }
        json_object_end(w);
    }
    buf_finish(&schema);
    return code;
}

static int make_body(struct run *run) {
    const struct ctl_options *o = run->ctl->options;
    struct buf prompt;
    buf_init(&prompt, PROMPT_MAX);
    int code = make_prompt(run->ctl, &prompt);
    if (code != CTL_OK) {
        buf_finish(&prompt);
        return code;
    }
    struct json_writer w;
    json_writer_begin(&w, &run->body);
    json_object_begin(&w);
    json_key(&w, "input");
    json_string_n(&w, prompt.data, prompt.len);
    write_text(&w, "system", o->system);
    write_text(&w, "model", o->model);
    code = write_format(run->ctl, &w);
    if (o->n_tools > 0 || o->no_tools) {
        json_key(&w, "tools");
        json_array_begin(&w);
        for (int i = 0; i < o->n_tools; i++)
            json_string(&w, o->tools[i]);
        json_array_end(&w);
    }
    if (o->max_turns > 0) {
        json_key(&w, "max_turns");
        json_int(&w, o->max_turns);
    }
    if (o->temperature >= 0) {
        json_key(&w, "temperature");
        json_number(&w, o->temperature);
    }
    if (o->priority != 0) {
        json_key(&w, "priority");
        json_int(&w, o->priority);
    }
    if (o->seed >= 0) {
        json_key(&w, "seed");
        json_int(&w, o->seed);
    }
    json_object_end(&w);
    int rc = json_writer_end(&w);
    buf_finish(&prompt);
    if (code != CTL_OK)
        return code;
    return rc == 0 ? CTL_OK
                   : ctl_fail(run->ctl, CTL_FAILED, "The request cannot be written: %s.", strerror(-rc));
}

static int make_key(struct run *run) {
    unsigned char bytes[16];
    if (run->ctl->options->idempotency_key != NULL) {
        snprintf(run->key, sizeof run->key, "%s", run->ctl->options->idempotency_key);
        return CTL_OK;
    }
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return ctl_fail(run->ctl, CTL_FAILED, "No random numbers: %s.", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(run->key + 2 * i, 3, "%02x", bytes[i]);
    return CTL_OK;
}

/* Submits without a stream: the job, or that of the same key. */
static int submit(struct run *run, cJSON **job) {
    char err[512] = "";
    struct ctl_reply reply;
    struct ctl_request request = {.method = "POST",
                                  .path = "/v1/jobs",
                                  .body = run->body.data,
                                  .idempotency_key = run->key,
                                  .timeout_ms = SUBMIT_WAIT_MS};
    int rc = ctl_http_send(run->ctl->http, &request, &reply, err, sizeof err);
    int code = CTL_OK;
    if (rc < 0)
        code = ctl_fail_transport(run->ctl, rc, err);
    else if (reply.status >= 400)
        code = ctl_fail_reply(run->ctl, &reply);
    else if (json_parse(reply.body.data != NULL ? reply.body.data : "", reply.body.len, &json_limits_default,
                        job, err, sizeof err) < 0)
        code = ctl_fail(run->ctl, CTL_FAILED, "hermesd sent an answer that is not JSON: %s", err);
    ctl_reply_finish(&reply);
    const char *id = code == CTL_OK ? json_get_string(*job, "id") : NULL;
    if (id != NULL)
        snprintf(run->id, sizeof run->id, "%s", id);
    else if (code == CTL_OK)
        code = ctl_fail(run->ctl, CTL_FAILED, "hermesd accepted the job, but named no id.");
    return code;
}

static int learn_id(struct run *run) {
    cJSON *job = NULL;
    int code = submit(run, &job);
    cJSON_Delete(job);
    return code;
}

static int detach(struct run *run) {
    cJSON *job = NULL;
    int code = submit(run, &job);
    if (code == CTL_OK && run->ctl->options->json)
        code = ctl_print_json(run->ctl, job, false);
    else if (code == CTL_OK)
        fprintf(run->ctl->out.file, "%s\n", run->id);
    cJSON_Delete(job);
    return code;
}

/* ---- events ---- */

static bool ends(const char *type) {
    return strcmp(type, "job.completed") == 0 || strcmp(type, "job.failed") == 0 ||
           strcmp(type, "job.cancelled") == 0;
}

static int on_event(void *arg, const char *type, const char *data, size_t len) {
    static const struct json_limits limits = {
        .max_bytes = (size_t)64 << 20, .max_nodes = 10000000, .max_depth = 128};
    struct run *run = arg;
    cJSON *event = NULL;
    if (json_parse(data, len, &limits, &event, NULL, 0) < 0)
        return 0; /* of a daemon we do not understand */
    run->last_event_ns = clock_mono_ns();
    const char *id = json_get_string(event, "job_id");
    if (id != NULL && run->id[0] == '\0')
        snprintf(run->id, sizeof run->id, "%s", id);
    if (strcmp(type, "error") == 0) {
        run->shut_out = true; /* too slow: a new connection begins where this one ended */
    } else if (run->ctl->options->json) {
        fprintf(run->ctl->out.file, "%.*s\n", (int)len, data);
        fflush(run->ctl->out.file);
        run->shut_out = ferror(run->ctl->out.file) != 0;
    } else {
        ctl_view_event(&run->view, type, event);
    }
    if (strcmp(type, "input.required") == 0)
        run->needs_input = true;
    if (ends(type)) {
        const cJSON *job = cJSON_GetObjectItemCaseSensitive(event, "job");
        snprintf(run->status, sizeof run->status, "%s", type + strlen("job."));
        if (!run->ctl->options->json)
            ctl_view_end(&run->view, job);
    }
    cJSON_Delete(event);
    return run->status[0] != '\0' || run->needs_input || run->shut_out ? 1 : 0;
}

static int on_data(void *arg, const char *bytes, size_t len) {
    struct run *run = arg;
    return ctl_sse_feed(&run->sse, bytes, len);
}

static bool time_is_up(const struct run *run) {
    return run->deadline_ns != 0 && clock_mono_ns() >= run->deadline_ns;
}

static void count_signals(struct run *run) {
    struct signalfd_siginfo info;
    while (read(run->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        run->interrupts++;
}

static int on_tick(void *arg) {
    struct run *run = arg;
    count_signals(run);
    return time_is_up(run) || run->interrupts > (run->cancel_asked ? 1 : 0) ? 1 : 0;
}

/* ---- following ---- */

static int ask_to_cancel(struct run *run) {
    char path[CTL_ID_SIZE + 32], err[512] = "";
    struct ctl_reply reply;
    if (run->id[0] == '\0') {
        int code = learn_id(run);
        if (code != CTL_OK)
            return code;
    }
    if (!run->ctl->options->quiet) {
        ctl_term_fresh_line(&run->ctl->out);
        ctl_term_fresh_line(&run->ctl->err);
        ctl_term_printf(&run->ctl->err, CTL_YELLOW, "cancelling; Ctrl-C again leaves\n");
    }
    run->cancel_asked = true;
    snprintf(path, sizeof path, "/v1/jobs/%s/cancel", run->id);
    struct ctl_request request = {.method = "POST", .path = path, .timeout_ms = 10000};
    int rc = ctl_http_send(run->ctl->http, &request, &reply, err, sizeof err);
    int code = rc < 0                ? ctl_fail_transport(run->ctl, rc, err)
               : reply.status >= 400 ? ctl_fail_reply(run->ctl, &reply)
                                     : CTL_OK;
    ctl_reply_finish(&reply);
    return code;
}

/* One connection: the submission while the id is not known, then the events behind the last one seen. */
static int connect_once(struct run *run, struct ctl_reply *reply, char *err, size_t errlen) {
    char path[CTL_ID_SIZE + 32];
    struct ctl_request request = {.method = "POST",
                                  .path = "/v1/jobs",
                                  .body = run->body.data,
                                  .accept = "text/event-stream",
                                  .idempotency_key = run->key};
    struct ctl_stream stream = {.data = on_data, .tick = on_tick, .arg = run, .wake_fd = run->signal_fd};
    if (run->id[0] != '\0') {
        snprintf(path, sizeof path, "/v1/jobs/%s/events", run->id);
        request = (struct ctl_request){.method = "GET",
                                       .path = path,
                                       .accept = "text/event-stream",
                                       .last_event_id = run->sse.id[0] != '\0' ? run->sse.id : NULL};
    }
    run->shut_out = false;
    ctl_sse_restart(&run->sse);
    ctl_view_break(&run->view);
    return ctl_http_stream(run->ctl->http, &request, &stream, reply, err, errlen);
}

/* TRY_AGAIN, or the exit code. */
static int judge_failure(struct run *run, int rc, const struct ctl_reply *reply, const char *err) {
    bool busy = reply->status == 503 && run->id[0] != '\0'; /* it drains: the next one goes on with the job */
    if (rc == 0 && reply->status >= 400 && !busy)
        return ctl_fail_reply(run->ctl, reply);
    if (rc == 0 && !busy && run->id[0] == '\0') {
        int code =
            learn_id(run); /* the job of that key was there already: its events come from the beginning */
        return code == CTL_OK ? TRY_AGAIN : code;
    }
    /* A daemon that was never there is an error; one that went away in the middle is waited for. */
    run->reached = run->reached || rc == 0 || rc == -ECONNRESET || rc == -ECANCELED || run->id[0] != '\0';
    if (!run->reached)
        return ctl_fail_transport(run->ctl, rc, err);
    if (clock_mono_ns() - run->last_event_ns <= RETRY_NS)
        return TRY_AGAIN;
    return rc < 0 && rc != -ECANCELED ? ctl_fail_transport(run->ctl, rc, err)
                                      : ctl_fail(run->ctl, CTL_UNREACHABLE,
                                                 "hermesd ends the events of %s again and again.", run->id);
}

static void wait_a_little(struct run *run, int *wait_ms) {
    struct pollfd fd = {.fd = run->signal_fd, .events = POLLIN};
    if (!run->quiet_note && !run->ctl->options->quiet) {
        ctl_term_fresh_line(&run->ctl->out);
        ctl_term_fresh_line(&run->ctl->err);
        ctl_term_printf(&run->ctl->err, CTL_YELLOW, "the connection broke; trying again\n");
    }
    run->quiet_note = true;
    (void)poll(&fd, 1, *wait_ms);
    *wait_ms = *wait_ms * 2 > RETRY_LAST_MS ? RETRY_LAST_MS : *wait_ms * 2;
    count_signals(run);
}

static int finish(struct run *run) {
    if (strcmp(run->status, "completed") == 0)
        return CTL_OK;
    return run->cancel_asked && strcmp(run->status, "cancelled") == 0 ? CTL_INTERRUPTED : CTL_JOB_FAILED;
}

static int time_out(struct run *run) {
    if (run->id[0] == '\0')
        return ctl_fail(run->ctl, CTL_TIMEOUT,
                        "The time is up, and hermesd did not say whether it took the job.");
    return ctl_fail(run->ctl, CTL_TIMEOUT, "The time is up; job %s goes on.", run->id);
}

/* After a connection ended: TRY_AGAIN (now, or after `*wait`) or the exit code. */
static int judge(struct run *run, int rc, const struct ctl_reply *reply, const char *err, bool *wait) {
    *wait = false;
    if (run->status[0] != '\0')
        return finish(run);
    if (ferror(run->ctl->out.file) != 0)
        return CTL_PIPE;
    if (run->needs_input)
        return ctl_fail(run->ctl, CTL_NEEDS_INPUT, "Job %s needs input, and nobody can be asked here.",
                        run->id);
    if (run->interrupts > 1)
        return CTL_INTERRUPTED;
    if (time_is_up(run))
        return time_out(run);
    if (run->interrupts == 1 && !run->cancel_asked) {
        int code = ask_to_cancel(run);
        return code == CTL_OK ? TRY_AGAIN : code;
    }
    *wait = !run->shut_out && (rc != 0 || run->id[0] != '\0');
    return judge_failure(run, rc, reply, err);
}

static int follow(struct run *run) {
    int wait_ms = RETRY_FIRST_MS;
    run->last_event_ns = clock_mono_ns();
    for (;;) {
        char err[512] = "";
        struct ctl_reply reply;
        uint64_t before = run->last_event_ns;
        bool wait;
        int rc = connect_once(run, &reply, err, sizeof err);
        if (run->last_event_ns != before) {
            wait_ms = RETRY_FIRST_MS;
            run->quiet_note = false;
        }
        int code = judge(run, rc, &reply, err, &wait);
        ctl_reply_finish(&reply);
        if (code != TRY_AGAIN)
            return code;
        if (wait)
            wait_a_little(run, &wait_ms);
    }
}

/* SIGINT comes as bytes of a descriptor, so that it can be waited for. */
static int take_signals(struct run *run) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return run->signal_fd >= 0
               ? CTL_OK
               : ctl_fail(run->ctl, CTL_FAILED, "Signals cannot be watched: %s.", strerror(errno));
}

int ctl_run(struct ctl *ctl) {
    struct run run = {.ctl = ctl, .signal_fd = -1};
    buf_init(&run.body, BODY_MAX);
    ctl_view_init(&run.view, ctl);
    ctl_sse_init(&run.sse, on_event, &run);
    if (ctl->options->timeout_ms > 0)
        run.deadline_ns = clock_mono_ns() + (uint64_t)ctl->options->timeout_ms * 1000000u;
    int code = make_body(&run);
    if (code == CTL_OK)
        code = make_key(&run);
    if (code == CTL_OK && ctl->options->detach)
        code = detach(&run);
    else if (code == CTL_OK && (code = take_signals(&run)) == CTL_OK)
        code = follow(&run);
    if (run.signal_fd >= 0)
        close(run.signal_fd);
    ctl_sse_finish(&run.sse);
    ctl_view_finish(&run.view);
    buf_finish(&run.body);
    return code;
}
