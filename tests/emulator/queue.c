/* Streams, events, graphs and launches. Queued work runs when somebody waits for it; in a random order, at
 * some point before; backward, that of the newest of a GPU's several streams at once. */
#include "tests/emulator/block.h"

#include "kernels/cuda/host.h"
#include "kernels/cuda/wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum work_kind {
    WORK_LAUNCH,
    WORK_COPY,
    WORK_FILL,
    WORK_FORGET,
    WORK_RECORD,
    WORK_WAIT,
    WORK_HOST,
    WORK_MEET
};

/* Blocks of a kernel that start before the kernel before it has run. */
#define EARLY_BLOCKS 2

struct work {
    enum work_kind kind;
    struct work *next;
    struct emu_launch launch;
    struct block *early[EARLY_BLOCKS]; /* started already; their numbers */
    uint64_t early_index[EARLY_BLOCKS];
    int n_early;
    uint32_t serial; /* of the launch; 0: none of its blocks has begun */
    void *to;
    const void *from;
    size_t bytes;
    int byte;
    void (*call)(const void *arg);
    char arg[QUEUE_ARGUMENT];
    struct gpu_event *event;
    uint64_t ticket; /* of the record that is made, or waited for */
    struct queue_team *team;
};

struct gpu_stream {
    int gpu;
    struct work *first, **last;
    struct gpu_graph *recording;
    struct gpu_stream *next; /* of all */
};

struct gpu_event {
    struct gpu_stream *stream; /* of the last record */
    uint64_t recorded, done;   /* tickets */
};

struct gpu_graph {
    struct work *first, **last;
};

static struct gpu_stream *streams;
static uint64_t graphs_recorded, graphs_run, event_waits, wait_left_out;
static struct block *spare[64]; /* blocks are large: used again */
static int n_spare, n_gpus;

bool emu_present(void) {
    return true;
}

uint64_t emu_graphs_recorded(void) {
    return graphs_recorded;
}

uint64_t emu_graphs_run(void) {
    return graphs_run;
}

uint64_t emu_event_waits(void) {
    return event_waits;
}

void emu_leave_out_wait(uint64_t number) {
    wait_left_out = number;
}

static int gpus(void) {
    if (n_gpus == 0) {
        const char *text = getenv("EMULATOR_GPUS");
        emu_set_gpus(text != NULL ? (int)strtol(text, NULL, 10) : 1);
    }
    return n_gpus;
}

void emu_set_gpus(int n) {
    n_gpus = n < 1 ? 1 : n > GPUS_MAX ? GPUS_MAX : n;
}

int gpu_open(int gpu, char *describe, size_t describe_len, char *err, size_t errlen) {
    if (health_now() < 0)
        return err_set(err, errlen, -ENODEV, "The emulated GPU has failed: %s.", gpu_failure());
    if (gpu < 0 || gpu >= gpus())
        return err_set(err, errlen, -ENODEV, "There is no GPU %d; the emulator has %d, from 0 on.", gpu,
                       gpus());
    memory_use(gpu);
    health_look_for_stall();
    (void)snprintf(describe, describe_len, "cuda (emulated)");
    return 0;
}

int gpu_use(int gpu) {
    if (gpu < 0 || gpu >= gpus())
        emu_die("GPU %d is used, of %d", gpu, gpus());
    memory_use(gpu);
    return health_now();
}

/* A kernel or an event on a queue of a GPU that is not in use is an error of CUDA. */
static void check_in_use(const struct gpu_stream *s, const char *what) {
    if (s->gpu != memory_in_use())
        emu_die("%s on a queue of GPU %d while GPU %d is in use", what, s->gpu, memory_in_use());
}

/* Few, so that a block gets more than one turn. */
int gpu_multiprocessors(void) {
    return 2;
}

/* ---- blocks ---- */

static struct block *take_block(void) {
    struct block *b = n_spare > 0 ? spare[--n_spare] : calloc(1, sizeof *b);
    if (b == NULL)
        abort();
    return b;
}

static void give_block(struct block *b) {
    if (n_spare == (int)(sizeof spare / sizeof spare[0]))
        abort();
    spare[n_spare++] = b;
}

static uint64_t n_blocks(const struct emu_launch *l) {
    return (uint64_t)l->grid_x * l->grid_y;
}

static void start(struct block *b, struct work *w, uint64_t index) {
    static uint32_t serial;
    const struct emu_launch *l = &w->launch;
    w->serial = w->serial != 0 ? w->serial : ++serial;
    b->launch_serial = w->serial;
    block_start(b, l, (unsigned)(index % l->grid_x), (unsigned)(index / l->grid_x));
}

/* Runs the beginnings of a few blocks of a kernel whose predecessor has not run yet. */
static void start_early(struct work *w) {
    uint64_t n = n_blocks(&w->launch);
    if (w->n_early > 0 || n > UINT32_MAX)
        return;
    struct order_pass pass = order_pass();
    for (unsigned i = 0; i < EARLY_BLOCKS && i < n; i++) {
        uint64_t index = order_turn(&pass, i, (unsigned)n);
        struct block *b = take_block();
        b->early = true;
        start(b, w, index);
        if (block_run(b)) /* it never waited: finish() has died, unless it was let off */
            emu_die("a block of %s ended before the kernel before it began", w->launch.kernel);
        w->early[w->n_early] = b;
        w->early_index[w->n_early++] = index;
    }
}

static struct block *early_block(struct work *w, uint64_t index) {
    for (int i = 0; i < w->n_early; i++)
        if (w->early[i] != NULL && w->early_index[i] == index) {
            struct block *b = w->early[i];
            w->early[i] = NULL;
            return b;
        }
    return NULL;
}

static void run_launch(struct work *w) {
    uint64_t n = n_blocks(&w->launch);
    if (w->next != NULL && w->next->kind == WORK_LAUNCH && w->next->launch.early)
        start_early(w->next);
    struct order_pass pass = order_pass();
    unsigned turns = (unsigned)n;
    for (unsigned i = 0; i < turns; i++) {
        uint64_t index = order_turn(&pass, i, turns);
        struct block *b = early_block(w, index);
        if (b == NULL) {
            b = take_block();
            b->early = false;
            start(b, w, index);
        }
        b->early = false;
        (void)block_run(b);
        give_block(b);
    }
    health_count_launch();
}

/* ---- running work ---- */

static bool advance(struct gpu_stream *s, bool all);
static void pop(struct gpu_stream *s);

/* Its next work is a sum that never ends, or the GPU stalls. */
static bool is_stuck(const struct gpu_stream *s) {
    return s->first != NULL && health_now() == 0 &&
           (health_stalls() || (s->first->kind == WORK_MEET && link_broken()));
}

bool queue_is_stuck(void) {
    const struct gpu_stream *s = streams;
    while (s != NULL && !is_stuck(s))
        s = s->next;
    return s != NULL;
}

_Noreturn static void waits_for_ever(const struct gpu_stream *s) {
    emu_die("the queue of GPU %d is waited for, and its sum never ends: nobody asks the library", s->gpu);
}

/* Between two looks at a queue that stands still: a stall may end, a sum that nobody asks about will not. */
static int look_again(const struct gpu_stream *s, const struct wait *wait) {
    if (!health_stalls())
        waits_for_ever(s);
    health_looked();
    return wait_more(wait);
}

/* False: it is not over. */
static bool wait_for(const struct work *w) {
    while (w->event->done < w->ticket && w->event->stream != NULL && w->event->stream->first != NULL) {
        if (!health_stalls() && is_stuck(w->event->stream))
            waits_for_ever(w->event->stream);
        if (!advance(w->event->stream, false))
            return false;
    }
    if (w->event->done < w->ticket)
        emu_die("a stream waits for an event that will never be recorded");
    return true;
}

/* The stream's next work is a meeting of the team. */
static bool has_come(const struct gpu_stream *s, const struct queue_team *team) {
    return s->first != NULL && s->first->kind == WORK_MEET && s->first->team == team;
}

/* False: one of them stalls before. */
static bool meet(const struct gpu_stream *own, struct queue_team *team) {
    const void *args[GPUS_MAX];
    for (int i = 0; i < team->n; i++) {
        struct gpu_stream *s = team->streams[i];
        while (s->first != NULL && !has_come(s, team))
            if (!advance(s, false))
                return false;
        if (s->first == NULL)
            emu_die("the queue of GPU %d never comes to the sum that GPU %d waits for", s->gpu, own->gpu);
        args[i] = s->first->arg;
    }
    team->call(args, team->n);
    for (int i = 0; i < team->n; i++)
        if (team->streams[i] != own)
            pop(team->streams[i]);
    return true;
}

/* False while its next work waits for others that have not been queued yet. */
static bool can_advance(const struct gpu_stream *s) {
    const struct work *first = s->first;
    if (is_stuck(s) || (first->kind == WORK_WAIT && first->event->done < first->ticket &&
                        first->event->stream != NULL && is_stuck(first->event->stream)))
        return false;
    for (int i = 0; first->kind == WORK_MEET && i < first->team->n; i++) {
        const struct work *w = first->team->streams[i]->first;
        while (w != NULL && !(w->kind == WORK_MEET && w->team == first->team))
            w = w->next;
        if (w == NULL)
            return false;
    }
    return true;
}

/* False: it is not over, as something else that it waits for. */
static bool run(const struct gpu_stream *s, struct work *w) {
    switch (w->kind) {
    case WORK_LAUNCH:
        memory_expose(s->gpu);
        run_launch(w);
        break;
    case WORK_COPY:
    case WORK_FILL:
        memory_write(w->to, w->from, w->byte, w->bytes);
        break;
    case WORK_FORGET:
        memory_expose(s->gpu);
        memory_forget(s->gpu);
        break;
    case WORK_HOST:
        memory_expose(s->gpu);
        w->call(w->arg);
        break;
    case WORK_MEET:
        return meet(s, w->team);
    case WORK_RECORD:
        w->event->done = w->ticket;
        break;
    case WORK_WAIT:
        return wait_for(w);
    }
    return true;
}

static void free_work(struct work *w) {
    for (int i = 0; i < w->n_early; i++) /* of a kernel that never ran, because the GPU failed before */
        if (w->early[i] != NULL)
            give_block(w->early[i]);
    if (w->kind == WORK_LAUNCH && --w->launch.arguments->uses == 0)
        w->launch.arguments->destroy(w->launch.arguments);
    free(w);
}

static void pop(struct gpu_stream *s) {
    struct work *w = s->first;
    s->first = w->next;
    if (s->first == NULL)
        s->last = &s->first;
    free_work(w);
}

/* Runs the stream's next piece of work, or all of it; false at one that never ends. */
static bool advance(struct gpu_stream *s, bool all) {
    while (s->first != NULL) {
        if (is_stuck(s))
            return false;
        if (health_now() == 0 && !run(s, s->first)) /* still in the list: the next one can start early */
            return false;
        pop(s);
        if (!all)
            break;
    }
    return true;
}

/* ---- queueing ---- */

static int append(struct gpu_stream *s, const struct work *what) {
    if (health_now() < 0) {
        if (what->kind == WORK_LAUNCH && --what->launch.arguments->uses == 0)
            what->launch.arguments->destroy(what->launch.arguments);
        return -EIO;
    }
    struct work *w = malloc(sizeof *w);
    if (w == NULL)
        abort();
    *w = *what;
    w->next = NULL;
    if (s->recording != NULL) {
        if (w->kind == WORK_RECORD || w->kind == WORK_WAIT)
            emu_die("an event is used while a graph is recorded");
        *s->recording->last = w;
        s->recording->last = &w->next;
        return 0;
    }
    *s->last = w;
    s->last = &w->next;
    return 0;
}

/* Of several streams of its GPU. */
static bool is_newest(const struct gpu_stream *s) {
    const struct gpu_stream *o = streams;
    while (o->gpu != s->gpu)
        o = o->next;
    const struct gpu_stream *older = s->next;
    while (older != NULL && older->gpu != s->gpu)
        older = older->next;
    return o == s && older != NULL;
}

/* Backward, the newest of several streams of a GPU runs as soon as it can. In a random order, something that
 * waits may run at once; of a stream with one piece of work there is no next one to start early, so keep that
 * one. */
static void run_some(void) {
    for (struct gpu_stream *o = streams; o != NULL; o = o->next) {
        while (order_is_backward() && is_newest(o) && o->first != NULL && can_advance(o))
            (void)advance(o, false);
        if (o->first != NULL && o->first->next != NULL && can_advance(o) && order_draw(20, false))
            (void)advance(o, false);
    }
    memory_expose(MEMORY_CLOSED);
}

static int add(struct gpu_stream *s, const struct work *what) {
    int rc = append(s, what);
    if (rc == 0 && s->recording == NULL)
        run_some();
    return rc;
}

int gpu_stream_create(struct gpu_stream **out) {
    struct gpu_stream *s = health_now() < 0 ? NULL : calloc(1, sizeof *s);
    if (s == NULL)
        return health_now() < 0 ? -EIO : -ENOMEM;
    s->gpu = memory_in_use();
    s->last = &s->first;
    s->next = streams;
    streams = s;
    *out = s;
    return 0;
}

void gpu_stream_destroy(struct gpu_stream *s) {
    if (s == NULL)
        return;
    struct wait wait = wait_begin();
    while (!advance(s, true))
        (void)look_again(s, &wait); /* after a failure it is emptied */
    memory_expose(MEMORY_CLOSED);
    for (struct gpu_stream **link = &streams; *link != NULL; link = &(*link)->next)
        if (*link == s) {
            *link = s->next;
            break;
        }
    free(s);
}

int emu_queue_launch(struct gpu_stream *s, const struct emu_launch *l) {
    if (l->threads == 0 || l->threads > EMU_MAX_THREADS || l->grid_x == 0 || l->grid_y == 0 ||
        l->grid_y > 65535 || l->shared > gpu_block_shared() || n_blocks(l) > UINT32_MAX)
        emu_die("kernel %s is launched with %u x %u blocks of %u threads and %zu bytes", l->kernel, l->grid_x,
                l->grid_y, l->threads, l->shared);
    check_in_use(s, "a kernel is launched");
    return add(s, &(struct work){.kind = WORK_LAUNCH, .launch = *l});
}

int gpu_upload(struct gpu_stream *s, void *device, const void *host, size_t bytes) {
    memory_check_gpu(device, bytes, s->gpu, "a copy");
    memory_check_host(host, bytes, "a queued copy");
    return add(s, &(struct work){.kind = WORK_COPY, .to = device, .from = host, .bytes = bytes});
}

int gpu_download(struct gpu_stream *s, void *host, const void *device, size_t bytes) {
    memory_check_gpu(device, bytes, s->gpu, "a copy");
    memory_check_host(host, bytes, "a queued copy");
    return add(s, &(struct work){.kind = WORK_COPY, .to = host, .from = device, .bytes = bytes});
}

int gpu_copy(struct gpu_stream *s, void *to, const void *from, size_t bytes) {
    memory_check_gpu(from, bytes, s->gpu, "a copy");
    memory_check_gpu(to, bytes, s->gpu, "a copy");
    return add(s, &(struct work){.kind = WORK_COPY, .to = to, .from = from, .bytes = bytes});
}

int gpu_fill(struct gpu_stream *s, void *device, int byte, size_t bytes) {
    memory_check_gpu(device, bytes, s->gpu, "a fill");
    return add(s, &(struct work){.kind = WORK_FILL, .to = device, .byte = byte, .bytes = bytes});
}

int queue_host(struct gpu_stream *s, void (*call)(const void *arg), const void *arg, size_t bytes) {
    struct work w = {.kind = WORK_HOST, .call = call};
    if (bytes > sizeof w.arg)
        emu_die("a call of the host has %zu bytes of arguments", bytes);
    check_in_use(s, "a library works");
    memcpy(w.arg, arg, bytes);
    return add(s, &w);
}

int queue_gpu(const struct gpu_stream *s) {
    return s->gpu;
}

/* All of them before any can run: none waits for what is about to be queued. */
int queue_together(struct queue_team *team, const void *const *args, size_t bytes) {
    int rc = 0, recording = 0;
    for (int i = 0; i < team->n; i++)
        recording += team->streams[i]->recording != NULL;
    if (bytes > QUEUE_ARGUMENT || (recording != 0 && recording != team->n))
        emu_die("%d of %d queues of a sum are recorded", recording, team->n);
    for (int i = 0; i < team->n && rc == 0; i++) {
        struct work w = {.kind = WORK_MEET, .team = team};
        memcpy(w.arg, args[i], bytes);
        rc = append(team->streams[i], &w);
    }
    if (rc == 0 && recording == 0)
        run_some();
    return rc;
}

int gpu_forget(struct gpu_stream *s) {
    return add(s, &(struct work){.kind = WORK_FORGET});
}

int gpu_sync(struct gpu_stream *s) {
    if (s->recording != NULL)
        emu_die("a queue is waited for while a graph is recorded");
    if (health_now() < 0)
        return -EIO;
    struct wait wait = wait_begin();
    int rc = 0;
    while (rc == 0 && !advance(s, true))
        rc = look_again(s, &wait);
    memory_expose(MEMORY_CLOSED);
    return rc ? rc : health_now();
}

int gpu_sync_all(struct gpu_stream *const *s, int n, int (*lost)(void *arg), void *arg) {
    struct wait wait = wait_begin();
    int rc = health_now();
    for (int i = 0; i < n && rc == 0; i++) {
        if (s[i]->recording != NULL)
            emu_die("a queue is waited for while a graph is recorded");
        while (rc == 0 && !advance(s[i], true)) {
            rc = lost != NULL ? lost(arg) : 0;
            if (rc == 0 && (lost == NULL || health_stalls()))
                rc = look_again(s[i], &wait);
        }
    }
    memory_expose(MEMORY_CLOSED);
    return rc ? rc : health_now();
}

int gpu_event_create(struct gpu_event **out) {
    *out = calloc(1, sizeof **out);
    return *out == NULL ? -ENOMEM : 0;
}

void gpu_event_destroy(struct gpu_event *e) {
    free(e);
}

int gpu_event_record(struct gpu_event *e, struct gpu_stream *s) {
    check_in_use(s, "an event is recorded");
    e->stream = s;
    return add(s, &(struct work){.kind = WORK_RECORD, .event = e, .ticket = ++e->recorded});
}

int gpu_event_wait(struct gpu_event *e, struct gpu_stream *s) {
    if (++event_waits == wait_left_out)
        return health_now();
    return add(s, &(struct work){.kind = WORK_WAIT, .event = e, .ticket = e->recorded});
}

int gpu_event_finish(struct gpu_event *e) {
    if (++event_waits == wait_left_out || health_now() < 0)
        return health_now();
    struct wait wait = wait_begin();
    while (e->done < e->recorded && e->stream->first != NULL && health_now() == 0)
        if (!advance(e->stream, false))
            (void)look_again(e->stream, &wait);
    memory_expose(MEMORY_CLOSED);
    return health_now();
}

/* ---- graphs ---- */

int gpu_graph_begin(struct gpu_stream *s) {
    struct gpu_graph *g = health_now() < 0 ? NULL : calloc(1, sizeof *g);
    if (g == NULL)
        return health_now() < 0 ? -EIO : -ENOMEM;
    g->last = &g->first;
    s->recording = g;
    return 0;
}

int gpu_graph_end(struct gpu_stream *s, struct gpu_graph **out) {
    *out = s->recording;
    s->recording = NULL;
    graphs_recorded++;
    return health_now();
}

/* Transient memory is spoiled first: what a recorded kernel reads, the graph must have written. */
int gpu_graph_launch(struct gpu_graph *g, struct gpu_stream *s) {
    int rc = gpu_forget(s);
    graphs_run++;
    for (const struct work *w = g->first; w != NULL && rc == 0; w = w->next) {
        if (w->kind == WORK_LAUNCH)
            w->launch.arguments->uses++;
        rc = add(s, w);
    }
    return rc;
}

void gpu_graph_destroy(struct gpu_graph *g) {
    while (g != NULL && g->first != NULL) {
        struct work *w = g->first;
        g->first = w->next;
        free_work(w);
    }
    free(g);
}
