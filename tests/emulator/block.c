/* The threads of one block: who runs, who waits, the barrier, shared memory, asynchronous copies. */
#include "tests/emulator/block.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)

struct block *emu_block;
struct lane *emu_lane;
void (*emu_watch)(const void *p, size_t n, bool write);

static const char *state_name(enum lane_state state) {
    static const char *const names[] = {"runs", "waits in its warp", "waits at the barrier",
                                        "waits for the kernel before", "has exited"};
    return names[state];
}

static bool alike(const struct lane *a, const struct lane *b) {
    return a->state == b->state && a->at.file == b->at.file && a->at.line == b->at.line &&
           a->at.mask == b->at.mask;
}

/* Threads in runs that wait alike. */
static void print_lanes(const struct block *b) {
    for (unsigned i = 0, end; i < b->n_threads; i = end) {
        const struct lane *l = &b->lanes[i];
        for (end = i + 1; end < b->n_threads && alike(l, &b->lanes[end]); end++)
            ;
        (void)fprintf(stderr, "  threads %u to %u: %s", i, end - 1, state_name(l->state));
        if ((l->state == LANE_IN_WARP || l->state == LANE_BARRIER) && l->at.file != NULL)
            (void)fprintf(stderr, " (%s:%d, mask %08x)", l->at.file, l->at.line, l->at.mask);
        (void)fprintf(stderr, "\n");
    }
}

_Noreturn void emu_die(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    (void)fprintf(stderr, "emulator: ");
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fprintf(stderr, "\n");
    if (emu_block != NULL) {
        (void)fprintf(stderr, "  in kernel %s, block %u,%u", emu_block->launch->kernel, emu_block->x,
                      emu_block->y);
        if (emu_lane != NULL)
            (void)fprintf(stderr, ", thread %u", emu_lane->index);
        (void)fprintf(stderr, "\n");
        print_lanes(emu_block);
    }
    (void)fflush(stderr);
    abort();
}

/* ---- shared memory ---- */

static size_t block_shared = EMU_MAX_SHARED;

void emu_set_block_shared(size_t bytes) {
    block_shared = bytes;
}

size_t gpu_block_shared(void) {
    return block_shared;
}

static void arena_map(struct arena *a) {
    size_t bytes = (EMU_MAX_SHARED + PAGE - 1) / PAGE * PAGE;
    char *map =
        mmap(NULL, bytes + 2 * EMU_GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED || mprotect(map + EMU_GUARD, bytes, PROT_READ | PROT_WRITE) != 0)
        abort();
    a->map = map + EMU_GUARD;
    a->end = a->map + bytes;
}

/* What lies between the page's start and the object, and between the object and the guard page. */
static void arena_slack(const struct arena *a, char **before, size_t *n_before, size_t *n_after) {
    uintptr_t page = (uintptr_t)a->at / PAGE * PAGE;
    *before = a->at - ((uintptr_t)a->at - page);
    *n_before = (uintptr_t)a->at - page;
    *n_after = (size_t)(a->end - a->at) - a->bytes;
}

static void *arena_take(struct arena *a, size_t bytes) {
    if (a->map == NULL)
        arena_map(a);
    a->at = a->end - (bytes + 15) / 16 * 16;
    a->bytes = bytes;
    char *before;
    size_t n_before, n_after;
    arena_slack(a, &before, &n_before, &n_after);
    memset(before, EMU_SPOILED, n_before + bytes + n_after);
    return a->at;
}

static void arena_check(const struct arena *a) {
    if (a->at == NULL)
        return;
    char *before;
    size_t n_before, n_after;
    arena_slack(a, &before, &n_before, &n_after);
    for (size_t i = 0; i < n_before; i++)
        if ((unsigned char)before[i] != EMU_SPOILED)
            emu_die("shared memory was written %zu bytes before its start", n_before - i);
    for (size_t i = 0; i < n_after; i++)
        if ((unsigned char)a->at[a->bytes + i] != EMU_SPOILED)
            emu_die("shared memory was written %zu bytes behind its end", i);
}

void *emu_shared(size_t bytes) {
    struct block *b = emu_block;
    if (b->fixed.at == NULL) {
        if (bytes > EMU_STATIC_SHARED || bytes + b->launch->shared > block_shared)
            emu_die("%zu bytes of static and %zu of dynamic shared memory are more than there is", bytes,
                    b->launch->shared);
        return arena_take(&b->fixed, bytes);
    }
    if (b->fixed.bytes != bytes)
        emu_die("a kernel has one static object of shared memory; here are two, of %zu and %zu bytes",
                b->fixed.bytes, bytes);
    return b->fixed.at;
}

void *emu_shared_dynamic(void) {
    if (emu_block->dynamic.at == NULL)
        emu_die("the kernel was launched without dynamic shared memory");
    return emu_block->dynamic.at;
}

/* ---- threads ---- */

/* Leaves the current thread: to another of its warp that can run, else to the scheduler. */
static void yield(bool for_ever) {
    struct block *b = emu_block;
    struct lane *l = emu_lane;
    uint32_t others = b->runnable[l->index / EMU_WARP];
    struct fiber *to = &b->scheduler;
    if (others != 0) {
        emu_lane = &b->lanes[l->index / EMU_WARP * EMU_WARP + order_lane(others)];
        to = &emu_lane->fiber;
    }
    if (for_ever)
        fiber_leave(&l->fiber, to);
    else
        fiber_switch(&l->fiber, to);
}

void block_pause(enum lane_state state) {
    struct lane *l = emu_lane;
    l->state = state;
    emu_block->runnable[l->index / EMU_WARP] &= ~(1u << l->index % EMU_WARP);
    yield(false);
}

void block_wake(struct lane *l) {
    l->state = LANE_RUNS;
    emu_block->runnable[l->index / EMU_WARP] |= 1u << l->index % EMU_WARP;
}

static void thread_main(void) {
    fiber_entered();
    struct block *b = emu_block;
    struct lane *l = emu_lane;
    b->launch->arguments->call(b->launch->arguments);
    if (l->n_copies > 0)
        emu_die("the thread exits while %d of its asynchronous copies are under way", l->n_copies);
    l->state = LANE_DONE;
    b->n_done++;
    b->n_waited += l->waited ? 1 : 0;
    b->runnable[l->index / EMU_WARP] &= ~(1u << l->index % EMU_WARP);
    yield(true);
}

void block_start(struct block *b, const struct emu_launch *launch, unsigned x, unsigned y) {
    b->launch = launch;
    b->n_threads = launch->threads;
    b->n_warps = (launch->threads + EMU_WARP - 1) / EMU_WARP;
    b->n_done = b->n_waited = 0;
    b->x = x;
    b->y = y;
    static uint32_t serial;
    b->serial = ++serial;
    b->barriers = b->fences = b->atomics = b->fences_at_atomic = 0;
    memset(b->warp_barriers, 0, sizeof b->warp_barriers);
    b->fixed.at = b->dynamic.at = NULL;
    if (launch->shared > 0)
        (void)arena_take(&b->dynamic, launch->shared);
    memset(b->runnable, 0, sizeof b->runnable);
    memset(b->meetings, 0, sizeof b->meetings);
    for (unsigned i = 0; i < b->n_threads; i++) {
        struct lane *l = &b->lanes[i];
        l->index = i;
        l->state = LANE_RUNS;
        l->waited = false;
        l->at = (struct emu_meeting){0};
        l->n_copies = l->n_groups = 0;
        fiber_prepare(&l->fiber, i, thread_main);
        b->runnable[i / EMU_WARP] |= 1u << i % EMU_WARP;
    }
}

/* Runs every warp that can run once, in the order of the pass. False when there was none. */
static bool run_warps(struct block *b) {
    bool any = false;
    struct order_pass pass = order_pass();
    for (unsigned i = 0; i < b->n_warps; i++) {
        unsigned w = order_turn(&pass, i, b->n_warps);
        if (b->runnable[w] == 0)
            continue;
        any = true;
        emu_lane = &b->lanes[w * EMU_WARP + order_lane(b->runnable[w])];
        fiber_switch(&b->scheduler, &emu_lane->fiber);
        emu_lane = NULL;
    }
    return any;
}

/* Nobody runs: opens the barrier when all are there. */
static bool open_barrier(struct block *b) {
    unsigned n = 0;
    const struct lane *first = NULL;
    for (unsigned i = 0; i < b->n_threads; i++)
        if (b->lanes[i].state == LANE_BARRIER) {
            first = first != NULL ? first : &b->lanes[i];
            n++;
        }
    if (first == NULL || n + b->n_done < b->n_threads)
        return false;
    if (b->n_done > 0)
        emu_die("a barrier is reached by %u threads of %u; the others have exited", n, b->n_threads);
    for (unsigned i = 0; i < b->n_threads; i++)
        if (!alike(first, &b->lanes[i]))
            emu_die("threads of one block wait at different barriers");
    b->barriers++;
    for (unsigned i = 0; i < b->n_threads; i++)
        block_wake(&b->lanes[i]);
    return true;
}

static bool waits_for_previous(const struct block *b) {
    for (unsigned i = 0; i < b->n_threads; i++)
        if (b->lanes[i].state == LANE_PREVIOUS)
            return true;
    return false;
}

static void finish(struct block *b) {
    arena_check(&b->fixed);
    arena_check(&b->dynamic);
    if (b->launch->early && b->n_waited == 0)
        emu_die("the kernel may start early, and no thread of the block waited for the kernel before");
}

bool block_run(struct block *b) {
    emu_block = b;
    fiber_adopt(&b->scheduler);
    for (unsigned i = 0; !b->early && i < b->n_threads; i++)
        if (b->lanes[i].state == LANE_PREVIOUS)
            block_wake(&b->lanes[i]);
    bool done = true;
    while (b->n_done < b->n_threads) {
        if (run_warps(b) || open_barrier(b))
            continue;
        if (b->early && waits_for_previous(b)) {
            done = false;
            break;
        }
        emu_die("no thread can go on: a lane that a mask names never came, or not all reached the barrier");
    }
    if (done)
        finish(b);
    emu_block = NULL;
    return done;
}

/* ---- from inside a kernel ---- */

static bool inside(const struct arena *a, const void *p, size_t n) {
    return a->at != NULL && (const char *)p >= a->at && (const char *)p + n <= a->at + a->bytes;
}

unsigned emu_thread(void) {
    return emu_lane->index;
}

unsigned emu_threads(void) {
    return emu_block->n_threads;
}

unsigned emu_block_x(void) {
    return emu_block->x;
}

unsigned emu_block_y(void) {
    return emu_block->y;
}

unsigned emu_blocks_x(void) {
    return emu_block->launch->grid_x;
}

unsigned emu_blocks_y(void) {
    return emu_block->launch->grid_y;
}

void emu_fence(void) {
    emu_block->fences++;
}

void emu_atomic(const void *p, bool begins) {
    emu_lane->atomic = begins;
    if (begins || inside(&emu_block->fixed, p, 1) || inside(&emu_block->dynamic, p, 1))
        return;
    emu_block->atomics++;
    emu_block->fences_at_atomic = emu_block->fences;
    if (emu_watch != NULL)
        emu_watch(p, 0, false);
}

void emu_barrier(const char *file, int line) {
    emu_lane->at = (struct emu_meeting){.file = file, .line = line};
    block_pause(LANE_BARRIER);
}

/* Copies under way may have been read before the kernel before wrote. */
static void take_copies(struct lane *l) {
    for (int i = 0; i < l->n_copies; i++) {
        struct copy *c = &l->copies[i];
        if (c->from != NULL && !c->taken)
            memcpy(c->bytes, c->from, sizeof c->bytes);
        c->taken = c->from != NULL;
    }
}

void emu_wait_previous(void) {
    emu_lane->waited = true;
    if (!emu_block->early)
        return;
    take_copies(emu_lane);
    block_pause(LANE_PREVIOUS);
}

/* When it runs does not matter here: the next kernel starts early whether it was let or not. */
void emu_let_next_start(void) {}

static uint64_t early_bytes;

uint64_t emu_early_bytes(void) {
    return early_bytes;
}

static void fetched(size_t bytes) {
    early_bytes += emu_block->early && !emu_lane->waited ? bytes : 0;
}

void emu_load16(const void *p, const char *file, int line) {
    if ((uintptr_t)p % 16 != 0)
        emu_die("%s:%d: an access of 16 bytes is not aligned", file, line);
    fetched(16);
}

/* ---- asynchronous copies ---- */

void emu_copy_async16(void *shared, const void *device) {
    struct lane *l = emu_lane;
    if ((uintptr_t)shared % 16 != 0 || (uintptr_t)device % 16 != 0)
        emu_die("an asynchronous copy is not aligned to 16 bytes");
    if (!inside(&emu_block->fixed, shared, 16) && !inside(&emu_block->dynamic, shared, 16))
        emu_die("an asynchronous copy goes to something else than shared memory");
    if (device != NULL) {
        memory_check_device(device, 16, "an asynchronous copy");
        fetched(16);
    }
    if (l->n_copies == LANE_MAX_COPIES)
        emu_die("a thread has more than %d asynchronous copies under way", LANE_MAX_COPIES);
    if (emu_watch != NULL)
        emu_watch(shared, 16, true);
    /* It may land at any time from now on, so what was there is gone. */
    memset(shared, EMU_SPOILED, 16);
    l->copies[l->n_copies++] = (struct copy){.to = shared, .from = device};
}

static int committed(const struct lane *l) {
    int n = 0;
    for (int i = 0; i < l->n_groups; i++)
        n += l->groups[i];
    return n;
}

void emu_copy_commit(void) {
    struct lane *l = emu_lane;
    if (l->n_groups == LANE_MAX_GROUPS)
        emu_die("a thread has more than %d groups of asynchronous copies under way", LANE_MAX_GROUPS);
    l->groups[l->n_groups] = l->n_copies - committed(l);
    l->n_groups++;
}

static void land(const struct copy *c) {
    if (c->from == NULL)
        memset(c->to, 0, 16);
    else
        memcpy(c->to, c->taken ? c->bytes : c->from, 16);
}

void emu_copy_wait(int groups_left) {
    struct lane *l = emu_lane;
    while (l->n_groups > groups_left) {
        int n = l->groups[0];
        for (int i = 0; i < n; i++)
            land(&l->copies[i]);
        l->n_copies -= n;
        memmove(l->copies, l->copies + n, (size_t)l->n_copies * sizeof l->copies[0]);
        l->n_groups--;
        memmove(l->groups, l->groups + 1, (size_t)l->n_groups * sizeof l->groups[0]);
    }
}
