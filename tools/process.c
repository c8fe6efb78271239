#include "tools/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES    (64u * 1024)
#define READS_AT_ONCE 4            /* then the loop has its turn */
#define OUT_MAX       (64u << 20)  /* requests; their sender limits each */
#define EXIT_MS       500          /* between a closed socket and the end of the process */
#define LINE_MAX      1024u        /* of printed text, per line */
#define PRINTED_MAX   (64u * 1024) /* bytes of printed text per process; then nobody listens any more */

static void on_link(void *arg, bool readable, bool writable);
static void kill_now(void *arg);

int process_create(const char *worker_path, const char *plugin_path, size_t max_payload,
                   const struct process_owner *owner, struct process **out, char *err, size_t errlen) {
    struct process *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_set(err, errlen, -ENOMEM, "no memory for a worker");
    p->owner = *owner;
    p->max_payload = max_payload;
    buf_init(&p->in, max_payload + FRAME_HEADER_BYTES + READ_BYTES);
    buf_init(&p->out, OUT_MAX);
    buf_init(&p->line, LINE_MAX);
    int rc = spawn_start(worker_path, plugin_path, &p->spawn, err, errlen);
    if (rc != 0) {
        free(p);
        return rc;
    }
    p->pid = p->spawn.pid;
    *out = p;
    return 0;
}

static void unwatch(struct process *p, void **watch) {
    if (*watch != NULL)
        p->loop->unwatch(p->loop->ctx, *watch);
    *watch = NULL;
}

static void untimer(struct process *p) {
    if (p->kill_timer != NULL)
        p->loop->untimer(p->loop->ctx, p->kill_timer);
    p->kill_timer = NULL;
}

/* ---- frames in ---- */

static void break_off(struct process *p, const char *why) {
    if (p->broke == NULL)
        p->broke = why;
    process_kill(p);
}

static int hand_over(struct process *p) {
    size_t used = 0;
    struct frame frame;
    int rc = 0;
    while (rc == 0) {
        long size = frame_parse(p->in.data + used, p->in.len - used, p->max_payload, &frame);
        if (size == 0)
            break;
        rc = size < 0 ? (int)size : p->owner.frame(p->owner.arg, &frame);
        used += size > 0 ? (size_t)size : 0;
    }
    if (used > 0)
        buf_consume(&p->in, used);
    return rc;
}

/* 1 while there may be more, 0 when nothing is left for now, -1 at the end. */
static int read_some(struct process *p) {
    char *at;
    if (buf_reserve(&p->in, READ_BYTES, &at) != 0) {
        break_off(p, "no memory for what it sends");
        return -1;
    }
    ssize_t n = recv(p->spawn.link_fd, at, READ_BYTES, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN ? 0 : errno == EINTR ? 1 : -1;
    if (n == 0)
        return -1;
    buf_commit(&p->in, (size_t)n);
    if (hand_over(p) != 0) {
        break_off(p, "it sent what makes no sense");
        return -1;
    }
    return (size_t)n == READ_BYTES;
}

/* Its end of the socket is closed: it ends, and its exit code is worth a moment's wait, or it has lost the
 * way to answer. */
static void await_end(struct process *p) {
    p->ending = true;
    if (p->broke == NULL && p->kill_timer == NULL && p->loop != NULL)
        p->kill_timer = p->loop->timer(p->loop->ctx, EXIT_MS, kill_now, p);
    if (p->broke != NULL || p->kill_timer == NULL)
        process_kill(p);
}

void process_on_link(struct process *p) {
    int more = 1;
    for (int i = 0; i < READS_AT_ONCE && more > 0 && p->broke == NULL; i++)
        more = read_some(p);
    if (p->in.len == 0)
        buf_finish(&p->in); /* workers that wait cost no buffer */
    if (more < 0) {
        unwatch(p, &p->link_watch);
        await_end(p);
    }
}

/* ---- frames out ---- */

static int flush(struct process *p) {
    size_t sent = 0;
    int rc = 0;
    while (sent < p->out.len && rc == 0) {
        ssize_t n =
            send(p->spawn.link_fd, p->out.data + sent, p->out.len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0)
            sent += (size_t)n;
        else if (errno != EINTR)
            rc = -errno;
    }
    if (sent > 0)
        buf_consume(&p->out, sent);
    if (rc == -EAGAIN)
        rc = 0;
    if (p->link_watch != NULL && p->sending_watched != (p->out.len > 0)) {
        p->sending_watched = p->out.len > 0;
        p->loop->rewatch(p->loop->ctx, p->link_watch, p->sending_watched);
    }
    return rc;
}

int process_send(struct process *p, const struct buf *frames) {
    if (p->ending || p->closing)
        return -EPIPE;
    int rc = buf_append(&p->out, frames->data, frames->len);
    return rc != 0 ? rc : flush(p);
}

/* ---- what it prints ---- */

static void say_line(struct process *p) {
    if (p->line.len == 0)
        return;
    for (size_t i = 0; i < p->line.len; i++)
        if ((unsigned char)p->line.data[i] < 0x20)
            p->line.data[i] = ' ';
    p->owner.printed(p->owner.arg, p->line.data);
    buf_clear(&p->line);
}

static void close_output(struct process *p) {
    unwatch(p, &p->output_watch);
    if (p->spawn.output_fd >= 0)
        close(p->spawn.output_fd);
    p->spawn.output_fd = -1;
    say_line(p);
}

void process_on_output(struct process *p) {
    char bytes[4096];
    if (p->spawn.output_fd < 0)
        return;
    ssize_t n = read(p->spawn.output_fd, bytes, sizeof bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    for (ssize_t i = 0; i < n; i++)
        if (bytes[i] == '\n' || buf_putc(&p->line, bytes[i]) != 0)
            say_line(p);
    p->printed += n > 0 ? (size_t)n : 0;
    if (p->printed > PRINTED_MAX)
        p->owner.printed(p->owner.arg, "(prints too much: the rest is dropped)");
    if (n <= 0 || p->printed > PRINTED_MAX)
        close_output(p);
}

/* ---- its end ---- */

void process_on_exit(struct process *p) {
    p->ending = true;
    unwatch(p, &p->exit_watch);
    /* What it sent before. A child of the plugin may hold the socket: take what is there, do not wait for its
     * end. The amount is limited by what the socket holds, as nobody is left to write. */
    spawn_kill(&p->spawn);
    for (int i = 0; i < 64 && p->broke == NULL && read_some(p) > 0; i++) {
    }
    unwatch(p, &p->link_watch);
    untimer(p);
    spawn_reap(&p->spawn, &p->end);
    for (int i = 0; i < 16 && p->spawn.output_fd >= 0; i++)
        process_on_output(p);
    if (p->spawn.output_fd >= 0)
        close_output(p);
    p->owner.ended(p->owner.arg);
}

static void kill_now(void *arg) {
    struct process *p = arg;
    p->kill_timer = NULL;
    process_kill(p);
}

void process_stop(struct process *p, uint64_t grace_ms) {
    if (p->ending || p->closing)
        return;
    p->closing = true;
    shutdown(p->spawn.link_fd, SHUT_WR);
    if (p->loop != NULL)
        p->kill_timer = p->loop->timer(p->loop->ctx, grace_ms, kill_now, p);
    if (p->kill_timer == NULL)
        process_kill(p);
}

void process_kill(struct process *p) {
    p->ending = true;
    spawn_kill(&p->spawn);
}

/* ---- the loop ---- */

static void on_link(void *arg, bool readable, bool writable) {
    struct process *p = arg;
    if (writable && !p->ending && flush(p) != 0) {
        process_kill(p);
        return;
    }
    if (readable)
        process_on_link(p);
}

static void on_output(void *arg, bool readable, bool writable) {
    (void)readable, (void)writable;
    process_on_output(arg);
}

static void on_exit_ready(void *arg, bool readable, bool writable) {
    (void)readable, (void)writable;
    process_on_exit(arg);
}

int process_attach(struct process *p, const struct tools_loop *loop, char *err, size_t errlen) {
    p->loop = loop;
    p->link_watch = loop->watch(loop->ctx, p->spawn.link_fd, p->out.len > 0, on_link, p);
    p->sending_watched = p->out.len > 0;
    p->exit_watch = loop->watch(loop->ctx, p->spawn.pidfd, false, on_exit_ready, p);
    if (p->spawn.output_fd >= 0)
        p->output_watch = loop->watch(loop->ctx, p->spawn.output_fd, false, on_output, p);
    if (p->link_watch != NULL && p->exit_watch != NULL && (p->output_watch != NULL || p->spawn.output_fd < 0))
        return 0;
    unwatch(p, &p->link_watch);
    unwatch(p, &p->exit_watch);
    unwatch(p, &p->output_watch);
    p->loop = NULL;
    return err_set(err, errlen, -ENOMEM, "the loop cannot watch a worker");
}

void process_destroy(struct process *p) {
    if (p == NULL)
        return;
    spawn_kill(&p->spawn);
    spawn_reap(&p->spawn, &p->end);
    unwatch(p, &p->link_watch);
    unwatch(p, &p->exit_watch);
    unwatch(p, &p->output_watch);
    untimer(p);
    spawn_close(&p->spawn);
    buf_finish(&p->in);
    buf_finish(&p->out);
    buf_finish(&p->line);
    free(p);
}
