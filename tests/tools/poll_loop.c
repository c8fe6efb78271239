#include "tests/tools/poll_loop.h"

#include "base/clock.h"

#include <poll.h>
#include <stdlib.h>

#define WATCHES_MAX 1024

struct watch {
    struct watch *next;
    int fd;
    bool want_write, dead;
    void (*ready)(void *arg, bool readable, bool writable);
    void *arg;
};

struct timer {
    struct timer *next;
    uint64_t due_ns;
    bool dead;
    void (*fired)(void *arg);
    void *arg;
};

struct poll_loop {
    struct tools_loop tools;
    struct watch *watches;
    struct timer *timers;
};

static void *loop_watch(void *ctx, int fd, bool want_write,
                        void (*ready)(void *arg, bool readable, bool writable), void *arg) {
    struct poll_loop *loop = ctx;
    struct watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    *w =
        (struct watch){.next = loop->watches, .fd = fd, .want_write = want_write, .ready = ready, .arg = arg};
    loop->watches = w;
    return w;
}

static void loop_rewatch(void *ctx, void *watch, bool want_write) {
    (void)ctx;
    ((struct watch *)watch)->want_write = want_write;
}

static void loop_unwatch(void *ctx, void *watch) {
    (void)ctx;
    ((struct watch *)watch)->dead = true;
}

static void *loop_timer(void *ctx, uint64_t delay_ms, void (*fired)(void *arg), void *arg) {
    struct poll_loop *loop = ctx;
    struct timer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    *t = (struct timer){
        .next = loop->timers, .due_ns = clock_mono_ns() + delay_ms * 1000000u, .fired = fired, .arg = arg};
    loop->timers = t;
    return t;
}

static void loop_untimer(void *ctx, void *timer) {
    (void)ctx;
    ((struct timer *)timer)->dead = true;
}

struct poll_loop *poll_loop_create(void) {
    struct poll_loop *loop = calloc(1, sizeof *loop);
    if (loop == NULL)
        abort();
    loop->tools = (struct tools_loop){.ctx = loop,
                                      .watch = loop_watch,
                                      .rewatch = loop_rewatch,
                                      .unwatch = loop_unwatch,
                                      .timer = loop_timer,
                                      .untimer = loop_untimer};
    return loop;
}

const struct tools_loop *poll_loop_tools(struct poll_loop *loop) {
    return &loop->tools;
}

static void sweep(struct poll_loop *loop) {
    for (struct watch **at = &loop->watches; *at != NULL;) {
        struct watch *w = *at;
        if (w->dead) {
            *at = w->next;
            free(w);
        } else {
            at = &w->next;
        }
    }
    for (struct timer **at = &loop->timers; *at != NULL;) {
        struct timer *t = *at;
        if (t->dead) {
            *at = t->next;
            free(t);
        } else {
            at = &t->next;
        }
    }
}

size_t poll_loop_destroy(struct poll_loop *loop) {
    size_t left = 0;
    sweep(loop);
    for (struct watch *w = loop->watches; w != NULL; w = w->next, left++)
        w->dead = true;
    for (struct timer *t = loop->timers; t != NULL; t = t->next, left++)
        t->dead = true;
    sweep(loop);
    free(loop);
    return left;
}

static void fire_due(struct poll_loop *loop) {
    uint64_t now_ns = clock_mono_ns();
    for (struct timer *t = loop->timers; t != NULL; t = t->next) {
        if (t->dead || t->due_ns > now_ns)
            continue;
        t->dead = true;
        t->fired(t->arg);
    }
}

/* Until the next timer, at most timeout_ms. */
static int wait_ms(const struct poll_loop *loop, int timeout_ms) {
    uint64_t now_ns = clock_mono_ns();
    int wait = timeout_ms;
    for (const struct timer *t = loop->timers; t != NULL; t = t->next) {
        int due = t->due_ns <= now_ns ? 0 : (int)((t->due_ns - now_ns + 999999) / 1000000);
        if (!t->dead && due < wait)
            wait = due;
    }
    return wait;
}

void poll_loop_once(struct poll_loop *loop, int timeout_ms) {
    static struct pollfd fds[WATCHES_MAX];
    static struct watch *watch[WATCHES_MAX];
    nfds_t n = 0;
    sweep(loop);
    for (struct watch *w = loop->watches; w != NULL && n < WATCHES_MAX; w = w->next, n++) {
        fds[n] = (struct pollfd){.fd = w->fd, .events = (short)(POLLIN | (w->want_write ? POLLOUT : 0))};
        watch[n] = w;
    }
    poll(fds, n, wait_ms(loop, timeout_ms));
    for (nfds_t i = 0; i < n; i++)
        if (fds[i].revents != 0 && !watch[i]->dead)
            watch[i]->ready(watch[i]->arg, (fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0,
                            (fds[i].revents & POLLOUT) != 0);
    fire_due(loop);
    sweep(loop);
}

bool poll_loop_until(struct poll_loop *loop, const bool *flag, int timeout_ms) {
    uint64_t end_ns = clock_mono_ns() + (uint64_t)timeout_ms * 1000000u;
    while (!*flag && clock_mono_ns() < end_ns)
        poll_loop_once(loop, 100);
    return *flag;
}

void poll_loop_for(struct poll_loop *loop, int ms) {
    bool never = false;
    (void)poll_loop_until(loop, &never, ms);
}
