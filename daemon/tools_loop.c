#include "daemon/tools_loop.h"

#include <stdlib.h>

/* libuv frees nothing itself: each handle lives until its close callback. */

struct watched {
    uv_poll_t poll;
    void (*ready)(void *arg, bool readable, bool writable);
    void *arg;
};

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void on_ready(uv_poll_t *poll, int status, int events) {
    struct watched *w = poll->data;
    /* An error or a hang-up is reported as readable: the read that follows says what it was. */
    bool readable = status != 0 || (events & (UV_READABLE | UV_DISCONNECT)) != 0;
    w->ready(w->arg, readable, status == 0 && (events & UV_WRITABLE) != 0);
}

static int events_for(bool want_write) {
    return UV_READABLE | (want_write ? UV_WRITABLE : 0);
}

static void *watch(void *ctx, int fd, bool want_write, void (*ready)(void *, bool, bool), void *arg) {
    struct watched *w = calloc(1, sizeof *w);
    if (w == NULL || uv_poll_init(ctx, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    w->ready = ready;
    w->arg = arg;
    if (uv_poll_start(&w->poll, events_for(want_write), on_ready) != 0) {
        uv_close((uv_handle_t *)&w->poll, on_closed);
        return NULL;
    }
    return w;
}

static void rewatch(void *ctx, void *handle, bool want_write) {
    (void)ctx;
    struct watched *w = handle;
    (void)!uv_poll_start(&w->poll, events_for(want_write), on_ready);
}

static void unwatch(void *ctx, void *handle) {
    (void)ctx;
    struct watched *w = handle;
    /* The caller may close the descriptor at once: nothing may be polled after this. */
    uv_poll_stop(&w->poll);
    uv_close((uv_handle_t *)&w->poll, on_closed);
}

struct timed {
    uv_timer_t timer;
    void (*fired)(void *arg);
    void *arg;
};

static void on_timer(uv_timer_t *timer) {
    struct timed *t = timer->data;
    /* It fires once and is gone; stopping it from inside `fired` still finds it. */
    uv_close((uv_handle_t *)timer, on_closed);
    t->fired(t->arg);
}

static void *timer_start(void *ctx, uint64_t delay_ms, void (*fired)(void *), void *arg) {
    struct timed *t = calloc(1, sizeof *t);
    if (t == NULL || uv_timer_init(ctx, &t->timer) != 0) {
        free(t);
        return NULL;
    }
    t->timer.data = t;
    t->fired = fired;
    t->arg = arg;
    /* The loop's idea of now is as old as its turn. */
    uv_update_time(ctx);
    uv_timer_start(&t->timer, on_timer, delay_ms, 0);
    return t;
}

static void timer_stop(void *ctx, void *handle) {
    (void)ctx;
    struct timed *t = handle;
    if (!uv_is_closing((uv_handle_t *)&t->timer)) {
        uv_close((uv_handle_t *)&t->timer, on_closed);
    }
}

void tools_loop_init(struct tools_loop *table, uv_loop_t *loop) {
    *table = (struct tools_loop){
        .ctx = loop,
        .watch = watch,
        .rewatch = rewatch,
        .unwatch = unwatch,
        .timer = timer_start,
        .untimer = timer_stop,
    };
}
