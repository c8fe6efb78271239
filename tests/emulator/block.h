/* Inside the emulator: a block of threads, and what its parts share. */
#ifndef TESTS_EMULATOR_BLOCK_H
#define TESTS_EMULATOR_BLOCK_H

#include "tests/emulator/emulator.h"
#include "kernels/gpus.h"
#include "tests/emulator/fiber.h"

#define EMU_WARP      32
#define EMU_MAX_WARPS (EMU_MAX_THREADS / EMU_WARP)
#define EMU_SPOILED   0xFF                /* NaN as F32, F16 and BF16 */
#define EMU_GUARD     ((size_t)64 * 1024) /* closed addresses before and behind memory */

enum lane_state {
    LANE_RUNS,
    LANE_IN_WARP,  /* at a collective */
    LANE_BARRIER,  /* at the block's barrier */
    LANE_PREVIOUS, /* started early, waits for the kernel before */
    LANE_DONE,
};

enum warp_op { WARP_BARRIER, WARP_SHUFFLE, WARP_BALLOT, WARP_SUM, WARP_MAX, WARP_MMA, WARP_LDMATRIX };

struct copy {
    void *to;
    const void *from; /* NULL: zeros */
    bool taken;       /* it was under way while the kernel before had not run: */
    char bytes[16];   /* what was there then */
};

#define LANE_MAX_COPIES 256
#define LANE_MAX_GROUPS 64

struct lane {
    struct fiber fiber;
    unsigned index; /* in the block */
    enum lane_state state;
    bool waited; /* has called emu_wait_previous() */

    /* where it waits, and what it brought there */
    struct emu_meeting at;
    enum warp_op op;
    int how; /* of the operation: enum emu_shuffle, enum emu_mma, matrices of ldmatrix */
    int argument;
    uint64_t value; /* in and out */
    uint32_t a[4], b[2], d[4];

    /* asynchronous copies: groups[i] of them belong to the i-th committed group, the rest to none yet */
    struct copy copies[LANE_MAX_COPIES];
    int n_copies;
    int groups[LANE_MAX_GROUPS];
    int n_groups;
    bool atomic; /* what it reads and writes now is one atomic step */
};

/* The last place that lanes of a warp came to, and which of them are there; 0: nobody waits. */
struct meeting {
    struct emu_meeting at;
    enum warp_op op;
    uint32_t here;
};

/* Shared memory of a block: `bytes` that end at a guard page, spoiled at the start. */
struct arena {
    char *map, *end;
    char *at; /* the object in use; NULL: none */
    size_t bytes;
    void *seen; /* race.c: who used it */
};

struct block {
    struct lane lanes[EMU_MAX_THREADS];
    uint32_t runnable[EMU_MAX_WARPS]; /* lanes of each warp that can go on */
    struct meeting meetings[EMU_MAX_WARPS];
    unsigned n_threads, n_warps, n_done, n_waited;
    unsigned x, y;
    const struct emu_launch *launch;
    struct arena fixed, dynamic;
    struct fiber scheduler;
    bool early; /* the kernel before this one has not run yet */

    /* What orders memory, for race.c */
    uint32_t serial;                       /* of the block, of all that ever ran */
    uint32_t launch_serial;                /* of its launch */
    uint32_t barriers;                     /* that it passed */
    uint32_t warp_barriers[EMU_MAX_WARPS]; /* that each warp passed */
    uint32_t fences;
    uint32_t atomics;          /* on device memory */
    uint32_t fences_at_atomic; /* fences before the last of them */
};

/* race.c, where it is linked: sees what kernels read and write. NULL: nobody looks. */
extern void (*emu_watch)(const void *p, size_t n, bool write);

/* The block and thread that run now; NULL outside of kernels. */
extern struct block *emu_block;
extern struct lane *emu_lane;

/* block.c */
/* Makes block (x, y) of the launch ready to run. */
void block_start(struct block *b, const struct emu_launch *launch, unsigned x, unsigned y);
/* Runs it until its threads have exited: true; or, while b->early, until none can go on without the kernel
 * before: false, and it goes on with the next call. */
bool block_run(struct block *b);
/* The current thread stops here until its state is LANE_RUNS again. */
void block_pause(enum lane_state state);
/* Lets a lane of the running block go on. */
void block_wake(struct lane *l);
/* Something is wrong that no program may do: prints the sentence with kernel, block and waiting threads, and
 * aborts. */
_Noreturn void emu_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* order.c */
/* Which of `n` comes at turn `i` of a pass over all. */
struct order_pass {
    unsigned first, stride;
};
struct order_pass order_pass(void);
unsigned order_turn(const struct order_pass *p, unsigned i, unsigned n);
/* One lane of a mask that is not 0. */
unsigned order_lane(uint32_t mask);
/* True for `odds` in 100 in a random order, `otherwise` in the others. */
bool order_is_backward(void);
bool order_draw(unsigned odds, bool otherwise);

/* memory.c */
void memory_spoil(void *p, size_t n);
/* The GPU in use: whose memory is allocated. */
void memory_use(int gpu);
int memory_in_use(void);
/* Opens the memory of one GPU to its kernels, and closes what was open before and looks at its guards. */
#define MEMORY_CLOSED (-1)
void memory_expose(int gpu);
/* Writes `bytes` of `from` to `to`, or `byte` where from is NULL; both may be device memory. */
void memory_write(void *to, const void *from, int byte, size_t bytes);
/* Spoils a GPU's transient memory. */
void memory_forget(int gpu);
/* The device allocation that holds p; false: none does. */
bool memory_find(const void *p, const char **at, size_t *bytes);
/* Dies when no allocation holds [p, p + n). */
void memory_check_device(const void *p, size_t n, const char *what);
/* Or when it is not memory of that GPU. */
void memory_check_gpu(const void *p, size_t n, int gpu, const char *what);
void memory_check_host(const void *p, size_t n, const char *what);

/* queue.c */
struct gpu_stream;
/* Queues a call of the host that works on device memory; `bytes` of arg are copied. 0 or -EIO. */
#define QUEUE_ARGUMENT 128
int queue_host(struct gpu_stream *s, void (*call)(const void *arg), const void *arg, size_t bytes);
/* Some queue has work that never ends, and nobody has noticed yet. */
bool queue_is_stuck(void);
/* The GPU that a queue belongs to. */
int queue_gpu(const struct gpu_stream *s);

/* health.c */
/* 0, or -EIO after a failure. */
int health_now(void);
/* Nothing that is queued gets on; somebody who waits has looked. */
bool health_stalls(void);
void health_looked(void);
/* Stalls for ever where there is the file of EMULATOR_STALL_FILE, and takes it away. */
void health_look_for_stall(void);
/* A kernel has run. */
void health_count_launch(void);

/* link.c: no sum ends any more. */
bool link_broken(void);

/* Work that several queues do together: each waits in its turn until all have come to it, then `call` gets
 * the argument that every one of them was given. */
struct queue_team {
    int n;
    struct gpu_stream *streams[GPUS_MAX];
    void (*call)(const void *const *args, int n);
};
/* Queues it on all of the team's streams; `bytes` of each argument are copied. 0 or -EIO. */
int queue_together(struct queue_team *team, const void *const *args, size_t bytes);

/* arithmetic of tensor cores, in numbers.c */
float numbers_bf16(uint16_t h);
float numbers_f16(uint16_t h);
/* One product of a warp: lanes' a, b, d. */
void numbers_mma(enum emu_mma type, struct lane *lanes);

#endif
