/* Device and host memory of the emulated GPU: every allocation ends at a guard page, starts spoiled, and is
 * closed to the host while no kernel runs. */
#include "tests/emulator/block.h"

#include "kernels/cuda/host.h"
#include "kernels/gpus.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE ((size_t)4096)

struct allocation {
    char *map; /* pages, guards not counted in */
    size_t map_bytes;
    char *at;
    size_t bytes;
    int gpu;
    bool host, transient, freed;
};

static struct allocation *all;
static size_t n_all, cap_all;
static size_t used[GPUS_MAX], limit = (size_t)16 << 30;
static int in_use, exposed = MEMORY_CLOSED;
static struct sigaction earlier;

void memory_spoil(void *p, size_t n) {
    memset(p, EMU_SPOILED, n);
}

void memory_use(int gpu) {
    in_use = gpu;
}

int memory_in_use(void) {
    return in_use;
}

static uint64_t allocations;

uint64_t emu_allocations(void) {
    return allocations;
}

size_t emu_memory_used(void) {
    size_t bytes = 0;
    for (int i = 0; i < GPUS_MAX; i++)
        bytes += used[i];
    return bytes;
}

size_t emu_memory_used_of(int gpu) {
    return used[gpu];
}

void emu_set_memory(size_t bytes) {
    limit = bytes;
}

int gpu_memory_left(size_t *left, size_t *total) {
    *left = used[in_use] < limit ? limit - used[in_use] : 0;
    *total = limit;
    return 0;
}

static struct allocation *add(size_t bytes, bool host) {
    allocations++;
    if (bytes == 0 || (!host && (bytes > limit || used[in_use] + bytes > limit)))
        return NULL;
    if (n_all == cap_all) {
        size_t cap = cap_all * 2 + 64;
        struct allocation *grown = realloc(all, cap * sizeof *grown);
        if (grown == NULL)
            return NULL;
        all = grown;
        cap_all = cap;
    }
    size_t pages = (bytes + PAGE - 1) / PAGE * PAGE;
    char *map =
        mmap(NULL, pages + 2 * EMU_GUARD, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    struct allocation *a = &all[n_all];
    *a = (struct allocation){
        .map = map + EMU_GUARD, .map_bytes = pages, .bytes = bytes, .gpu = in_use, .host = host};
    a->at = a->map + pages - (bytes + 15) / 16 * 16;
    if (mprotect(a->map, pages, PROT_READ | PROT_WRITE) != 0) {
        (void)munmap(map, pages + 2 * EMU_GUARD);
        return NULL;
    }
    memory_spoil(a->map, pages);
    n_all++;
    used[in_use] += host ? 0 : bytes;
    return a;
}

static void set_open(const struct allocation *a, bool open) {
    if (mprotect(a->map, a->map_bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE) != 0)
        emu_die("cannot change the protection of an allocation");
}

void *gpu_alloc(size_t bytes, enum gpu_memory kind) {
    struct allocation *a = add(bytes, false);
    if (a == NULL)
        return NULL;
    a->transient = kind == GPU_TRANSIENT;
    set_open(a, false);
    return a->at;
}

void *gpu_alloc_host(size_t bytes) {
    struct allocation *a = add(bytes, true);
    return a == NULL ? NULL : memset(a->at, 0, bytes);
}

static void check_guards(const struct allocation *a) {
    for (const char *p = a->map; p < a->at; p++)
        if ((unsigned char)*p != EMU_SPOILED)
            emu_die("%s memory of %zu bytes was written %zu bytes before its start",
                    a->host ? "host" : "device", a->bytes, (size_t)(a->at - p));
    for (const char *p = a->at + a->bytes; p < a->map + a->map_bytes; p++)
        if ((unsigned char)*p != EMU_SPOILED)
            emu_die("%s memory of %zu bytes was written %zu bytes behind its end",
                    a->host ? "host" : "device", a->bytes, (size_t)(p - a->at) - a->bytes);
}

/* A freed allocation keeps its addresses closed, so that a stale pointer is seen. */
static void drop(const void *p, bool host) {
    if (p == NULL)
        return;
    for (size_t i = 0; i < n_all; i++) {
        struct allocation *a = &all[i];
        if (a->at != p || a->freed)
            continue;
        if (a->host != host)
            emu_die("host memory is freed as device memory, or the other way round");
        set_open(a, true);
        check_guards(a);
        (void)madvise(a->map, a->map_bytes, MADV_DONTNEED);
        set_open(a, false);
        a->freed = true;
        used[a->gpu] -= host ? 0 : a->bytes;
        return;
    }
    emu_die("memory is freed that was never allocated, or twice");
}

/* Freeing waits for all that runs (CUDA Runtime API, "cudaFree()" and "cudaFreeHost()"). */
static void check_ends(void) {
    if (queue_is_stuck())
        emu_die("memory is freed while the GPU stalls: that would never come back");
}

void gpu_free(void *device) {
    check_ends();
    drop(device, false);
}

void gpu_free_host(void *host) {
    check_ends();
    drop(host, true);
}

void memory_forget(int gpu) {
    for (size_t i = 0; i < n_all; i++)
        if (all[i].transient && !all[i].freed && all[i].gpu == gpu)
            memory_spoil(all[i].at, all[i].bytes);
}

static bool holds(const struct allocation *a, const char *at) {
    return at >= a->map - EMU_GUARD && at < a->map + a->map_bytes + EMU_GUARD;
}

/* Those found last are looked at first: asynchronous copies take a few in turns. */
static const struct allocation *find(const void *p) {
    static size_t recent[8];
    static unsigned next;
    for (unsigned k = 0; k < 8; k++)
        if (recent[k] < n_all && holds(&all[recent[k]], p))
            return &all[recent[k]];
    for (size_t i = 0; i < n_all; i++)
        if (holds(&all[i], p)) {
            recent[next++ % 8] = i;
            return &all[i];
        }
    return NULL;
}

bool memory_find(const void *p, const char **at, size_t *bytes) {
    const struct allocation *a = find(p);
    if (a == NULL || a->host || a->freed)
        return false;
    *at = a->at;
    *bytes = a->bytes;
    return true;
}

static void check(const void *p, size_t n, bool host, const char *what) {
    const struct allocation *a = find(p);
    const char *at = p;
    const char *kind = host ? "host memory of gpu_alloc_host()" : "device memory";
    if (a == NULL || a->host != host)
        emu_die("%s uses memory that is not %s", what, kind);
    if (a->freed)
        emu_die("%s uses %s that was freed", what, kind);
    if (at < a->at || n > a->bytes || at - a->at > (long)(a->bytes - n))
        emu_die("%s of %zu bytes goes beyond an allocation of %zu bytes", what, n, a->bytes);
}

void memory_check_device(const void *p, size_t n, const char *what) {
    check(p, n, false, what);
}

void memory_check_gpu(const void *p, size_t n, int gpu, const char *what) {
    check(p, n, false, what);
    if (find(p)->gpu != gpu)
        emu_die("%s of GPU %d uses memory of GPU %d", what, gpu, find(p)->gpu);
}

void memory_check_host(const void *p, size_t n, const char *what) {
    check(p, n, true, what);
}

/* ---- faults ---- */

static bool in_arena(const struct arena *a, const char *p) {
    return a->map != NULL && p >= a->map - EMU_GUARD && p < a->end + EMU_GUARD;
}

static void on_fault(int signal, siginfo_t *info, void *context) {
    (void)signal;
    (void)context;
    const char *p = info->si_addr;
    const struct allocation *a = find(p);
    if (emu_block != NULL && (in_arena(&emu_block->fixed, p) || in_arena(&emu_block->dynamic, p)))
        emu_die("shared memory was used outside of its bounds");
    if (a != NULL && a->freed)
        emu_die("device memory was used that has been freed");
    if (a != NULL && p >= a->at && p < a->at + a->bytes && a->gpu != exposed)
        emu_die("a kernel of GPU %d uses memory of GPU %d", exposed, a->gpu);
    if (a != NULL && p >= a->at + a->bytes)
        emu_die("memory of %zu bytes was used %ld bytes behind its end", a->bytes,
                (long)(p - a->at - (long)a->bytes));
    if (a != NULL)
        emu_die("memory of %zu bytes was used %ld bytes before its start", a->bytes, (long)(a->at - p));
    emu_die("a bad address was used: %p", (const void *)p);
}

static void catch_faults(bool on) {
    static char stack[64 * 1024];
    static stack_t previous; /* the thread's own, which it may want to free: it gets it back */
    const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    (void)sigaltstack(on ? &alternative : &previous, on ? &previous : NULL);
    struct sigaction ours = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    (void)sigaction(SIGSEGV, on ? &ours : &earlier, on ? &earlier : NULL);
}

void memory_expose(int gpu) {
    int before = exposed;
    if (before == gpu)
        return;
    exposed = gpu;
    for (size_t i = 0; i < n_all; i++) {
        const struct allocation *a = &all[i];
        if (a->freed)
            continue;
        if (before != MEMORY_CLOSED && (a->host || a->gpu == before))
            check_guards(a);
        if (!a->host && (a->gpu == before || a->gpu == gpu))
            set_open(a, a->gpu == gpu);
    }
    if (before == MEMORY_CLOSED || gpu == MEMORY_CLOSED)
        catch_faults(gpu != MEMORY_CLOSED);
}

void memory_write(void *to, const void *from, int byte, size_t bytes) {
    const struct allocation *ends[] = {find(to), from != NULL ? find(from) : NULL};
    for (int i = 0; i < 2; i++) {
        if (ends[i] == NULL || ends[i]->host || ends[i]->freed || ends[i]->gpu == exposed)
            ends[i] = NULL;
        else
            set_open(ends[i], true);
    }
    if (from != NULL)
        memcpy(to, from, bytes);
    else
        memset(to, byte, bytes);
    for (int i = 0; i < 2; i++)
        if (ends[i] != NULL)
            set_open(ends[i], false);
}

int gpu_download_now(void *host, const void *device, size_t bytes) {
    memory_check_device(device, bytes, "a copy");
    if (gpu_failure()[0] != '\0')
        return -EIO;
    memory_write(host, device, 0, bytes);
    return 0;
}

int gpu_upload_now(void *device, const void *host, size_t bytes) {
    memory_check_device(device, bytes, "a copy");
    if (gpu_failure()[0] != '\0')
        return -EIO;
    memory_write(device, host, 0, bytes);
    return 0;
}
