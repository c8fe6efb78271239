/* Watches what kernels read and write: code built with -fsanitize=thread calls the functions below, which
 * stand in the place of that sanitizer's library.
 *
 * Shared memory, by byte: the last thread that wrote it and the threads that read it since. A further use by
 * another thread, one of the two writing, needs a barrier of the block between, or one of the warp where both
 * are in it. Shuffles and other collectives order no memory (PTX ISA, "Memory Consistency Model").
 *
 * Device memory, by 2 bytes and launch: the last block that wrote it, and one that read it. Another block may
 * read it only when the writer has made a fence and an atomic step after it, and itself an atomic step and a
 * fence before; it may never write it. Within a block, device memory is not watched.
 *
 * None of this depends on the order in which the emulator runs threads: what was not ordered is found even
 * where the result came out right. */
#include "tests/emulator/block.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- shared memory ---- */

struct moment { /* when and by whom */
    uint32_t barrier, warp_barrier;
    uint16_t warp;
    bool used;
    uint32_t lanes;
};

struct shared_byte {
    uint32_t serial; /* of the block; of another one: nobody used it yet */
    struct moment write, reads[2];
};

static struct shared_byte *seen_of(struct arena *a, const char *p) {
    if (a->seen == NULL) {
        a->seen = calloc((size_t)(a->end - a->map), sizeof(struct shared_byte));
        if (a->seen == NULL)
            abort();
    }
    return (struct shared_byte *)a->seen + (p - a->map);
}

static bool is_ordered(const struct moment *m, uint16_t warp) {
    const struct block *b = emu_block;
    return !m->used || m->barrier < b->barriers ||
           (m->warp == warp && m->warp_barrier < b->warp_barriers[warp]);
}

/* Another thread than lane `lane` of `warp` is among those of the moment, and nothing lies between. */
static bool conflicts(const struct moment *m, uint16_t warp, uint32_t lane) {
    return !is_ordered(m, warp) && (m->warp != warp || (m->lanes & ~lane) != 0);
}

static void note(struct moment *m, uint16_t warp, uint32_t lane) {
    const struct block *b = emu_block;
    bool same =
        m->used && m->warp == warp && m->barrier == b->barriers && m->warp_barrier == b->warp_barriers[warp];
    *m = (struct moment){.barrier = b->barriers,
                         .warp_barrier = b->warp_barriers[warp],
                         .warp = warp,
                         .used = true,
                         .lanes = lane | (same ? m->lanes : 0)};
}

static void note_read(struct shared_byte *s, uint16_t warp, uint32_t lane) {
    for (int i = 0; i < 2; i++)
        if (!s->reads[i].used || s->reads[i].warp == warp || s->reads[i].barrier < emu_block->barriers) {
            note(&s->reads[i], warp, lane);
            return;
        }
}

static void use_shared(struct arena *a, const char *p, size_t n, bool write) {
    uint16_t warp = (uint16_t)(emu_lane->index / EMU_WARP);
    uint32_t lane = 1u << emu_lane->index % EMU_WARP;
    struct shared_byte *s = seen_of(a, p);
    for (size_t i = 0; i < n; i++, s++) {
        if (s->serial != emu_block->serial)
            *s = (struct shared_byte){.serial = emu_block->serial};
        bool bad = conflicts(&s->write, warp, lane);
        for (int k = 0; k < 2 && write; k++)
            bad = bad || conflicts(&s->reads[k], warp, lane);
        if (bad)
            emu_die(
                "byte %zd of shared memory is %s here and was used by warp %u, lanes %08x, with no barrier "
                "between",
                p + i - a->at, write ? "written" : "read", (unsigned)s->write.warp, s->write.lanes);
        if (!write) {
            note_read(s, warp, lane);
            continue;
        }
        s->write.used = false;
        note(&s->write, warp, lane);
        s->reads[0].used = s->reads[1].used = false;
    }
}

/* ---- device memory ---- */

struct device_word {
    uint32_t launch;
    uint32_t writer, reader; /* serials of blocks; 0: none */
    uint32_t fences;         /* of the writer before it wrote */
};

/* Blocks of the running launch, by serial: what they have made known with an atomic step. */
#define MAX_BLOCKS 65536
static struct { uint32_t serial, fences; } published[MAX_BLOCKS];

/* A table over all addresses of an allocation, made when it is first used. */
struct table {
    const char *at;
    size_t bytes;
    struct device_word *words;
};
static struct table *tables;
static size_t n_tables;

static struct device_word *word_of(const char *p) {
    for (size_t i = 0; i < n_tables; i++)
        if (p >= tables[i].at && p < tables[i].at + tables[i].bytes)
            return tables[i].words + (p - tables[i].at) / 2;
    const char *at = NULL;
    size_t bytes = 0;
    if (!memory_find(p, &at, &bytes))
        return NULL;
    struct table *grown = realloc(tables, (n_tables + 1) * sizeof *tables);
    void *words = mmap(NULL, (bytes / 2 + 1) * sizeof(struct device_word), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (grown == NULL || words == MAP_FAILED)
        abort();
    tables = grown;
    tables[n_tables++] = (struct table){.at = at, .bytes = bytes, .words = words};
    return words == NULL ? NULL : tables[n_tables - 1].words + (p - at) / 2;
}

static void publish(void) {
    struct block *b = emu_block;
    if (b->atomics == 0)
        return;
    published[b->serial % MAX_BLOCKS].serial = b->serial;
    published[b->serial % MAX_BLOCKS].fences = b->fences_at_atomic;
}

static bool may_read(const struct device_word *w) {
    const struct block *b = emu_block;
    bool known = published[w->writer % MAX_BLOCKS].serial == w->writer &&
                 published[w->writer % MAX_BLOCKS].fences > w->fences;
    return known && b->atomics > 0 && b->fences > b->fences_at_atomic;
}

static void use_device(const char *p, size_t n, bool write) {
    struct block *b = emu_block;
    publish();
    struct device_word *w = word_of(p);
    for (size_t i = 0; w != NULL && i < n; i += 2, w++) {
        if (w->launch != b->launch_serial)
            *w = (struct device_word){.launch = b->launch_serial};
        if (w->writer != 0 && w->writer != b->serial && (write || !may_read(w)))
            emu_die("device memory is %s here that another block of the kernel has written, with no fence "
                    "between",
                    write ? "written" : "read");
        if (write && w->reader != 0 && w->reader != b->serial)
            emu_die("device memory is written here that another block of the kernel has read");
        if (write) {
            w->writer = b->serial;
            w->fences = b->fences;
        } else {
            w->reader = b->serial;
        }
    }
}

/* ---- what the compiler calls ---- */

static bool on_stack(const char *p) {
    const struct fiber *f = &emu_lane->fiber;
    return p >= f->stack && p < f->stack + f->stack_bytes;
}

static struct arena *arena_of(const char *p) {
    struct arena *arenas[] = {&emu_block->fixed, &emu_block->dynamic};
    for (int i = 0; i < 2; i++)
        if (arenas[i]->at != NULL && p >= arenas[i]->map && p < arenas[i]->end)
            return arenas[i];
    return NULL;
}

static void watch(const void *at, size_t n, bool write) {
    const char *p = at;
    if (emu_block == NULL || emu_lane == NULL || emu_lane->atomic || on_stack(p))
        return;
    struct arena *a = arena_of(p);
    if (a != NULL)
        use_shared(a, p, n, write);
    else
        use_device(p, n, write);
}

__attribute__((constructor)) static void begin(void) {
    emu_watch = watch;
}

#define READ_WRITE(size)                                                                                     \
    void __tsan_read##size(const void *p);                                                                   \
    void __tsan_write##size(const void *p);                                                                  \
    void __tsan_unaligned_read##size(const void *p);                                                         \
    void __tsan_unaligned_write##size(const void *p);                                                        \
    void __tsan_read##size(const void *p) {                                                                  \
        watch(p, size, false);                                                                               \
    }                                                                                                        \
    void __tsan_write##size(const void *p) {                                                                 \
        watch(p, size, true);                                                                                \
    }                                                                                                        \
    void __tsan_unaligned_read##size(const void *p) {                                                        \
        watch(p, size, false);                                                                               \
    }                                                                                                        \
    void __tsan_unaligned_write##size(const void *p) {                                                       \
        watch(p, size, true);                                                                                \
    }
READ_WRITE(1)
READ_WRITE(2)
READ_WRITE(4)
READ_WRITE(8)
READ_WRITE(16)

void __tsan_read_range(const void *p, size_t n);
void __tsan_write_range(const void *p, size_t n);
void __tsan_init(void);
void __tsan_func_entry(void *at);
void __tsan_func_exit(void);
void __tsan_read_range(const void *p, size_t n) {
    watch(p, n, false);
}
void __tsan_write_range(const void *p, size_t n) {
    watch(p, n, true);
}
void __tsan_init(void) {}
void __tsan_func_entry(void *at) {
    (void)at;
}
void __tsan_func_exit(void) {}
