/* The execution model of a GPU on the CPU, for tests: the same .cu files that nvcc compiles run here, built
 * by g++ against tests/emulator/gpu_emulated.h.
 *
 * A thread is a fiber. Whatever a program may not rely on is decided against it: threads, warps and blocks
 * run in several orders, memory starts spoiled and ends at guards, asynchronous copies land as late as they
 * may, queued work runs as late as it may, the first part of the next kernel runs before this one. What no
 * program may do at all ends the process with a sentence that names kernel, block, threads and place:
 *
 *   - a barrier that not all threads of the block reach, or at different places;
 *   - a warp's collective with lanes missing, at other places, with another mask, or without the lane itself;
 *   - memory outside of an allocation, freed, of the device from the host, of another GPU, or misaligned for
 *     its access;
 *   - a kernel on a queue of another GPU than the one in use;
 *   - a sum over several GPUs (kernels/cuda/link.h) that one of them does not take part in, or with another
 *     count, or that can never end and is waited for all the same;
 *   - an exit with asynchronous copies under way;
 *   - a kernel that may start early and never waits for the one before it.
 *
 * Programs built with -fsanitize=thread and linked with race.c in place of that sanitizer's library are also
 * watched: two threads that use the same memory, one of them writing, with no barrier of the block or the
 * warp between them, or two blocks with no fence.
 *
 * It cannot see bank conflicts, the rounding inside tensor cores, or speed.
 * Blocks run one after the other, so one that waits for another never ends.
 *
 * One thread at a time uses it. x86-64. */
#ifndef TESTS_EMULATOR_EMULATOR_H
#define TESTS_EMULATOR_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EMU_MAX_THREADS   1024         /* of a block */
#define EMU_MAX_SHARED    (227 * 1024) /* bytes of shared memory of a block (sm_90) */
#define EMU_STATIC_SHARED (48 * 1024)  /* of these without asking: what nvcc allows */

/* ---- for tests ---- */

enum emu_order {
    EMU_FORWARD,  /* threads, warps and blocks ascending */
    EMU_BACKWARD, /* descending; and of several queues the newest runs ahead, not behind */
    EMU_RANDOM,   /* drawn from a seed */
};
/* False where the same tests run on a real GPU (tests/gpu/real_device.c): the rest of this list does nothing
 * there. */
bool emu_present(void);
/* The order from now on; EMULATOR_ORDER (forward, backward, or a number: the seed) sets the first one. */
void emu_set_order(enum emu_order order, uint64_t seed);
/* Kernels launched so far. */
uint64_t emu_launches(void);
/* Bytes that kernels have fetched so far, by gpu_load16() or asynchronous copies, while the kernel before
 * them had not run: before they waited for it. */
uint64_t emu_early_bytes(void);
/* Calls of gpu_alloc() and gpu_alloc_host() so far. */
uint64_t emu_allocations(void);
/* Graphs recorded and run so far. */
uint64_t emu_graphs_recorded(void);
uint64_t emu_graphs_run(void);
/* GPUs of the machine from now on; EMULATOR_GPUS in the environment sets the first number, else it is 1. */
void emu_set_gpus(int n);
/* Device memory in use, bytes, of all GPUs and of one; what gpu_alloc() may hand out of each (default 16
 * GiB). */
size_t emu_memory_used(void);
size_t emu_memory_used_of(int gpu);
void emu_set_memory(size_t bytes);
/* What a block may have of shared memory from now on; at first EMU_MAX_SHARED. */
void emu_set_block_shared(size_t bytes);
/* Whether cuBLAS is installed (it is at first); products it was asked for. */
void emu_set_blas(bool installed);
uint64_t emu_blas_products(void);
/* Waits for an event that were queued so far. For proofs that each is needed: the one with this number (the
 * first is 1) is left out; 0: none. */
uint64_t emu_event_waits(void);
void emu_leave_out_wait(uint64_t number);
/* Which cuBLASLt there is, on which GPU: of all, or of one; products it was asked for, and those with scales
 * of rows. */
enum emu_lt {
    EMU_LT_VECTORS, /* FP8, with scales of rows: 12.9 or later, on sm_90; so at first */
    EMU_LT_SCALARS, /* FP8, and no kernels for scales of rows */
    EMU_LT_OLD,     /* FP8, and modes of scales are unknown: before 12.8 */
    EMU_LT_NO_F8,   /* no kernels for FP8: sm_80 */
    EMU_LT_ABSENT
};
void emu_set_lt(enum emu_lt installed);
void emu_set_lt_of(int gpu, enum emu_lt installed);
uint64_t emu_lt_products(void);
uint64_t emu_lt_vector_products(void);
/* Whether the library of kernels/cuda/link.h is installed (it is at first); sums it was asked for. */
void emu_set_link(bool installed);
uint64_t emu_link_sums(void);
/* From now on what connects the GPUs is broken: sums that were not taken yet never end, and the library says
 * so when it is asked for the third time. Who waits without asking would wait for ever: that ends the
 * process. */
void emu_set_link_broken(bool broken);
/* From now on the GPU has failed, as after an error of a kernel; NULL: it works again. */
void emu_set_failure(const char *what);
/* From now on no GPU does anything of what is queued, for so many looks of somebody who waits (UINT_MAX: for
 * ever), and exit() does not come back meanwhile. 0: they go on. */
void emu_set_stalled(unsigned looks);
/* EMULATOR_FAIL_AFTER in the environment: it fails after that many kernels; EMULATOR_FAIL_FILE: with the
 * first one that ends while there is a file of that name; EMULATOR_STALL_FILE: then it stalls, or when
 * it is opened, and the file is taken away. */

/* ---- for gpu_emulated.h: launches ---- */

struct gpu_stream;

/* Arguments of a launch, shared by its repetitions. */
struct emu_arguments {
    int uses;
    void (*call)(struct emu_arguments *self); /* runs the kernel's body for the current thread */
    void (*destroy)(struct emu_arguments *self);
};

struct emu_launch {
    const char *kernel; /* its name, borrowed for ever */
    unsigned grid_x, grid_y, threads;
    size_t shared; /* dynamic shared memory, bytes */
    bool early;    /* may start before the kernel before it is done */
    struct emu_arguments *arguments;
};
/* Queues it; takes over one use of the arguments. */
int emu_queue_launch(struct gpu_stream *s, const struct emu_launch *launch);

/* ---- for gpu_emulated.h: inside a kernel ---- */

unsigned emu_thread(void);  /* in the block */
unsigned emu_threads(void); /* of the block */
unsigned emu_block_x(void);
unsigned emu_block_y(void);
unsigned emu_blocks_x(void);
unsigned emu_blocks_y(void);

/* The block's one static object of shared memory, and the dynamic memory of the launch. */
void *emu_shared(size_t bytes);
void *emu_shared_dynamic(void);

void emu_barrier(const char *file, int line);
void emu_fence(void);
/* Around the parts of an atomic operation on p. */
void emu_atomic(const void *p, bool begins);

/* A place where lanes of a warp meet. */
struct emu_meeting {
    const char *file;
    int line;
    uint32_t mask;
};
enum emu_shuffle { EMU_SHUFFLE_LANE, EMU_SHUFFLE_XOR, EMU_SHUFFLE_UP, EMU_SHUFFLE_DOWN };
void emu_warp_barrier(struct emu_meeting at);
uint64_t emu_shuffle(struct emu_meeting at, enum emu_shuffle how, uint64_t value, int argument);
uint32_t emu_ballot(struct emu_meeting at, bool predicate);
/* The same bits as the loop `for (o = 16; o > 0; o /= 2) v += shuffle_xor(v, o)`; all lanes. */
float emu_warp_sum(struct emu_meeting at, float v);
float emu_warp_max(struct emu_meeting at, float v);

enum emu_mma { EMU_MMA_BF16, EMU_MMA_F16, EMU_MMA_S8 };
/* d += a * b with the fragments of PTX ISA "Matrix multiply-accumulate operation using mma instruction":
 * m16n8k16 (bf16, f16; d in F32) and m16n8k32 (s8; d in S32). */
void emu_mma(struct emu_meeting at, enum emu_mma type, uint32_t d[4], const uint32_t a[4],
             const uint32_t b[2]);
/* n = 1, 2 or 4 matrices of 8 rows of 16 bytes; lane i has the address of row i. PTX ISA "ldmatrix". */
void emu_ldmatrix(struct emu_meeting at, int n, bool transposed, uint32_t *out, const void *row);

/* 16 bytes from device to shared memory, or zeros where device is NULL; there when the wait is over and not
 * before. */
void emu_copy_async16(void *shared, const void *device);
void emu_copy_commit(void);
void emu_copy_wait(int groups_left);

void emu_wait_previous(void);
void emu_let_next_start(void);

/* 16 bytes are read at p, which must be aligned. */
void emu_load16(const void *p, const char *file, int line);

#ifdef __cplusplus
}
#endif

#endif
