#include "tools/worker_serve.h"

#include "base/clock.h"
#include "tools/worker_load.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define NOTE_MAX       4096u /* bytes of a progress note or a log line that are sent */
#define LAST_MOMENT_MS 200   /* what a plugin's fini gets when the daemon is gone */

struct server {
    const hermes_plugin *plugin;
    void *state; /* the plugin's */
    struct worker_link *link;
    hermes_host host;
    atomic_bool cancelled; /* the daemon wants no more; never taken back */
    int cancel_fd;
    pthread_mutex_t lock;        /* guards the two below */
    struct hermes_call *current; /* NULL between calls */
    struct hermes_call *ended;   /* calls of start(): kept, as the plugin may still hold them */
    pthread_t canceller;
    bool cancelling;
};

struct hermes_call {
    struct server *server;
    struct hermes_call *next;
    const hermes_tool *tool;
    uint64_t id;
    uint64_t deadline_ns, entered_ns;
    char *key;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t finish;
    struct buf result;
    bool cut;      /* something did not fit */
    bool finished; /* finish() came, or the function returned */
    int status;
};

/* The interface's log() may come without a call, so the one server of the process is reachable from here. */
static struct server *the_server;

/* ---- what the plugin may ask of its host ---- */

static int host_write(hermes_call *call, const void *bytes, size_t n) {
    int status = HERMES_OK;
    pthread_mutex_lock(&call->lock);
    if (call->finished) {
        status = HERMES_E_INTERNAL;
    } else if (call->cut || buf_append(&call->result, bytes, n) != 0) {
        call->cut = true;
        status = HERMES_E_LIMIT;
    }
    pthread_mutex_unlock(&call->lock);
    return status;
}

static int host_cancelled(const hermes_call *call) {
    return atomic_load(&call->server->cancelled);
}

static int host_cancel_fd(const hermes_call *call) {
    return call->server->cancel_fd;
}

static int64_t host_remaining_ms(const hermes_call *call) {
    return ((int64_t)call->deadline_ns - (int64_t)clock_mono_ns()) / 1000000;
}

static const char *host_key(const hermes_call *call) {
    return call->key;
}

static void send_note(uint64_t id, enum frame_type type, uint64_t number, hermes_str text) {
    struct buf out;
    struct frame_writer w;
    buf_init(&out, NOTE_MAX + 64);
    frame_begin(&w, &out, type, id);
    if (type == FRAME_PROGRESS)
        frame_u64(&w, number);
    else
        frame_u32(&w, (uint32_t)number);
    frame_text(&w, text.p, text.p == NULL ? 0 : text.n < NOTE_MAX ? text.n : NOTE_MAX);
    if (frame_end(&w) == 0)
        worker_link_send(the_server->link, &out);
    buf_finish(&out);
}

static void host_progress(hermes_call *call, double fraction, hermes_str note) {
    uint64_t bits;
    memcpy(&bits, &fraction, sizeof bits);
    send_note(call->id, FRAME_PROGRESS, bits, note);
}

static void host_log(const hermes_call *call, int level, hermes_str message) {
    uint32_t known = level < HERMES_LOG_DEBUG || level > HERMES_LOG_ERROR ? HERMES_LOG_INFO : (uint32_t)level;
    send_note(call != NULL ? call->id : 0, FRAME_LOG, known, message);
}

static void host_finish(hermes_call *call, int status) {
    pthread_mutex_lock(&call->lock);
    bool again = call->finished || call->tool->start == NULL;
    if (!again) {
        call->finished = true;
        call->status = status;
        pthread_cond_signal(&call->finish);
    }
    pthread_mutex_unlock(&call->lock);
    if (again)
        host_log(call, HERMES_LOG_WARN,
                 hermes_str_of("finish() for a call that has ended, or that invoke() ends"));
}

static const void *host_extension(const char *id) {
    (void)id;
    return NULL;
}

/* ---- the second thread ---- */

static void *call_cancel(void *arg) {
    struct hermes_call *call = arg;
    call->tool->cancel(call->server->state, call);
    return NULL;
}

/* The daemon shut its direction. The call, if there is one, is kept for ever from here on. */
static void tell_cancelled(struct server *s) {
    uint64_t one = 1;
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->cancelled, true);
    if (write(s->cancel_fd, &one, sizeof one) < 0)
        _exit(WORKER_EXIT_LINK);
    if (s->current != NULL && s->current->tool->cancel != NULL)
        s->cancelling = pthread_create(&s->canceller, NULL, call_cancel, s->current) == 0;
    pthread_mutex_unlock(&s->lock);
}

/* POLLRDHUP and POLLHUP only: frames that arrive do not wake it. */
static void *watch(void *arg) {
    struct server *s = arg;
    struct pollfd fd = {.fd = s->link->fd, .events = POLLRDHUP};
    for (;;) {
        int n = poll(&fd, 1, -1);
        if (n < 0)
            continue;
        if (fd.revents & (POLLHUP | POLLERR | POLLNVAL)) {
            pthread_mutex_lock(&s->lock);
            bool busy = s->current != NULL;
            pthread_mutex_unlock(&s->lock);
            poll(NULL, 0, busy ? 0 : LAST_MOMENT_MS);
            _exit(fd.revents & POLLHUP ? 0 : WORKER_EXIT_LINK);
        }
        if (fd.revents & POLLRDHUP) {
            fd.events = 0;
            tell_cancelled(s);
        }
    }
    return NULL;
}

static int start_watch(struct server *s) {
    pthread_t thread;
    pthread_attr_t small;
    sigset_t all, before;
    int rc = pthread_attr_init(&small);
    if (rc != 0)
        return -rc;
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    pthread_attr_setstacksize(&small, 128u * 1024);
#endif
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* a plugin's signals are for the plugin's threads */
    rc = pthread_create(&thread, &small, watch, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&small);
    return -rc;
}

/* ---- one call ---- */

/* The only line that enters a tool. */
static int enter(const hermes_tool *tool, void *state, hermes_call *call, hermes_str args) {
    return tool->invoke != NULL ? tool->invoke(state, call, args) : tool->start(state, call, args);
}

static void call_free(struct hermes_call *call) {
    buf_finish(&call->result);
    pthread_mutex_destroy(&call->lock);
    pthread_cond_destroy(&call->finish);
    free(call->key);
    free(call);
}

/* A call as the frame has it; *args is borrowed from the frame. NULL: nothing to go on with. */
static struct hermes_call *call_create(struct server *s, const struct frame *frame, hermes_str *args) {
    struct frame_reader r;
    frame_read(&r, frame);
    uint32_t tool = frame_read_u32(&r), max_result_bytes = frame_read_u32(&r);
    uint64_t deadline_ns = frame_read_u64(&r);
    size_t key_len;
    const char *key = frame_read_text(&r, &key_len);
    args->p = frame_read_text(&r, &args->n);
    struct hermes_call *call = frame_done(&r) == 0 ? calloc(1, sizeof *call) : NULL;
    if (call == NULL)
        return NULL;
    *call = (struct hermes_call){.server = s,
                                 .tool = worker_load_tool(s->plugin, tool),
                                 .id = frame->call,
                                 .deadline_ns = deadline_ns,
                                 .key = strndup(key, key_len)};
    buf_init(&call->result, max_result_bytes);
    pthread_mutex_init(&call->lock, NULL);
    pthread_cond_init(&call->finish, NULL);
    if (call->tool == NULL || call->key == NULL) {
        call_free(call);
        return NULL;
    }
    return call;
}

static uint64_t cpu_us(const struct rusage *use) {
    return (uint64_t)(use->ru_utime.tv_sec + use->ru_stime.tv_sec) * 1000000u +
           (uint64_t)(use->ru_utime.tv_usec + use->ru_stime.tv_usec);
}

/* Enters the tool, unless it was cancelled before, and waits for the end of the call. */
static void call_run(struct server *s, struct hermes_call *call, hermes_str args) {
    pthread_mutex_lock(&s->lock);
    s->current = call;
    bool cancelled = atomic_load(&s->cancelled);
    pthread_mutex_unlock(&s->lock);
    call->entered_ns = clock_mono_ns();
    int status = cancelled ? HERMES_E_CANCELLED : enter(call->tool, s->state, call, args);
    pthread_mutex_lock(&call->lock);
    if (call->tool->start != NULL && status == HERMES_OK) {
        while (!call->finished)
            pthread_cond_wait(&call->finish, &call->lock);
    } else {
        call->finished = true;
        call->status = status;
    }
    pthread_mutex_unlock(&call->lock);
    pthread_mutex_lock(&s->lock);
    s->current = NULL;
    pthread_mutex_unlock(&s->lock);
}

static void call_answer(struct server *s, struct hermes_call *call, const struct rusage *before) {
    struct rusage after;
    struct buf out;
    struct frame_writer w;
    getrusage(RUSAGE_SELF, &after);
    buf_init(&out, call->result.len + 256);
    frame_begin(&w, &out, FRAME_END, call->id);
    frame_u32(&w, (uint32_t)call->status);
    frame_u32(&w, call->cut);
    frame_u64(&w, call->entered_ns);
    frame_u64(&w, cpu_us(&after) - cpu_us(before));
    frame_u64(&w, (uint64_t)after.ru_maxrss);
    frame_text(&w, call->result.data, call->result.len);
    if (frame_end(&w) != 0)
        _exit(WORKER_EXIT_LINK); /* no memory to answer with */
    worker_link_send(s->link, &out);
    buf_finish(&out);
}

static int serve_call(struct server *s, const struct frame *frame) {
    struct rusage before;
    hermes_str args;
    struct hermes_call *call = call_create(s, frame, &args);
    if (call == NULL)
        return -EPROTO;
    getrusage(RUSAGE_SELF, &before);
    call_run(s, call, args);
    call_answer(s, call, &before);
    buf_finish(&call->result);
    if (call->tool->start != NULL || atomic_load(&s->cancelled)) {
        call->next = s->ended;
        s->ended = call;
    } else {
        call_free(call);
    }
    return 0;
}

/* ---- beginning and end ---- */

int worker_serve_refuse(struct worker_link *link, const char *sentence) {
    struct buf out;
    struct frame_writer w;
    buf_init(&out, 16u * 1024);
    frame_begin(&w, &out, FRAME_REFUSED, 0);
    frame_text(&w, sentence, strnlen(sentence, 8192));
    if (frame_end(&w) == 0)
        worker_link_send(link, &out);
    buf_finish(&out);
    return WORKER_EXIT_REFUSED;
}

static void say_ready(struct server *s) {
    struct buf out;
    struct frame_writer w;
    buf_init(&out, 64);
    frame_begin(&w, &out, FRAME_READY, 0);
    if (frame_end(&w) == 0)
        worker_link_send(s->link, &out);
    buf_finish(&out);
}

/* 0, or the exit code. */
static int init_plugin(struct server *s) {
    struct frame frame;
    struct frame_reader r;
    hermes_str config;
    int rc = worker_link_next(s->link, &frame);
    if (rc == 0)
        _exit(0); /* the list was all that was wanted */
    if (rc < 0 || frame.type != FRAME_INIT)
        return WORKER_EXIT_LINK;
    frame_read(&r, &frame);
    config.p = frame_read_text(&r, &config.n);
    if (frame_done(&r) != 0)
        return WORKER_EXIT_LINK;
    int status = s->plugin->init != NULL ? s->plugin->init(&s->host, config, &s->state) : HERMES_OK;
    if (status == HERMES_OK)
        return 0;
    char sentence[80];
    snprintf(sentence, sizeof sentence, "its init failed with status %d", status);
    return worker_serve_refuse(s->link, sentence);
}

static void server_init(struct server *s, const hermes_plugin *plugin, struct worker_link *link) {
    *s = (struct server){.plugin = plugin, .link = link, .cancel_fd = eventfd(0, EFD_CLOEXEC)};
    s->host = (hermes_host){
        .size = (uint32_t)sizeof s->host,
        .abi_major = HERMES_TOOL_ABI_MAJOR,
        .abi_minor = HERMES_TOOL_ABI_MINOR,
        .write = host_write,
        .cancelled = host_cancelled,
        .cancel_fd = host_cancel_fd,
        .remaining_ms = host_remaining_ms,
        .idempotency_key = host_key,
        .progress = host_progress,
        .log = host_log,
        .finish = host_finish,
        .extension = host_extension,
    };
    pthread_mutex_init(&s->lock, NULL);
    the_server = s;
}

int worker_serve(const hermes_plugin *plugin, struct worker_link *link) {
    static struct server s; /* the plugin's threads may hold it until the process is gone */
    struct frame frame;
    server_init(&s, plugin, link);
    if (s.cancel_fd < 0 || start_watch(&s) != 0)
        return worker_serve_refuse(link, "the worker could not start its second thread");
    int rc = init_plugin(&s);
    if (rc != 0)
        return rc;
    say_ready(&s);
    while ((rc = worker_link_next(link, &frame)) > 0) {
        if (frame.type != FRAME_CALL || serve_call(&s, &frame) != 0)
            return WORKER_EXIT_LINK;
    }
    if (s.cancelling)
        pthread_join(s.canceller, NULL);
    if (plugin->fini != NULL)
        plugin->fini(s.state);
    return rc == 0 ? 0 : WORKER_EXIT_LINK;
}
