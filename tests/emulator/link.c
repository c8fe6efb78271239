/* kernels/cuda/link.h in plain loops. Stands in for NCCL, and ends the process for what NCCL leaves undefined
 * or waits for without end: ranks that give other counts, come twice or not at all, or bring memory or queues
 * of other GPUs. Sums are taken in the order of ranks, or from a random one on. */
#include "kernels/cuda/link.h"

#include "tests/emulator/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct part {
    float *values;
    size_t n;
    bool largest; /* is wanted, not the sum */
};

struct gpu_link {
    struct gpus gpus;
    struct queue_team team;
    struct part parts[GPUS_MAX]; /* of the open group; no values: the rank has not come */
    bool open;
};

#define REMOTE_ERROR 6 /* ncclRemoteError */

static bool there = true, broken;
static int asked; /* since it is broken */
static uint64_t sums;

void emu_set_link(bool installed) {
    there = installed;
}

void emu_set_link_broken(bool is_broken) {
    broken = is_broken;
    asked = 0;
}

bool link_broken(void) {
    return broken;
}

uint64_t emu_link_sums(void) {
    return sums;
}

static void add_up(const void *const *args, int n) {
    const struct part *first = args[0];
    size_t bytes = first->n * sizeof(float);
    float *sum = malloc(bytes), *values = malloc(bytes);
    struct order_pass pass = order_pass();
    if (sum == NULL || values == NULL)
        abort();
    for (int i = 0; i < n; i++) {
        const struct part *p = args[order_turn(&pass, (unsigned)i, (unsigned)n)];
        if (p->n != first->n || p->largest != first->largest) /* of graphs that do not belong together */
            emu_die("a rank adds %zu numbers to a sum of %zu", p->n, first->n);
        memory_write(i == 0 ? sum : values, p->values, 0, bytes);
        for (size_t k = 0; k < first->n && i > 0; k++)
            sum[k] = !p->largest ? sum[k] + values[k] : values[k] > sum[k] ? values[k] : sum[k];
    }
    for (int i = 0; i < n; i++)
        memory_write(((const struct part *)args[i])->values, sum, 0, bytes);
    free(sum);
    free(values);
}

int gpu_link_open(const struct gpus *gpus, struct gpu_link **out, char *err, size_t errlen) {
    struct gpu_link *l = there ? calloc(1, sizeof *l) : NULL;
    if (l == NULL)
        return err_set(err, errlen, -ENODEV, "Several GPUs need NCCL, which the emulator was told to lack.");
    l->gpus = *gpus;
    l->team = (struct queue_team){.n = gpus->n, .call = add_up};
    *out = l;
    return 0;
}

void gpu_link_close(struct gpu_link *l) {
    free(l);
}

int gpu_link_begin(struct gpu_link *l) {
    if (l->open)
        emu_die("a sum begins within another");
    l->open = true;
    memset(l->parts, 0, sizeof l->parts);
    return gpu_failure()[0] != '\0' ? -EIO : 0;
}

static int come(struct gpu_link *l, int rank, struct gpu_stream *s, struct part part) {
    if (!l->open)
        emu_die("rank %d adds to a sum that nobody began: it would wait for the others for ever", rank);
    if (rank < 0 || rank >= l->team.n || l->parts[rank].values != NULL)
        emu_die("rank %d adds twice to a sum, or is none of %d", rank, l->team.n);
    int gpu = l->gpus.ids[rank];
    if (queue_gpu(s) != gpu || memory_in_use() != gpu)
        emu_die("rank %d of GPU %d uses a queue of GPU %d, and GPU %d is in use", rank, gpu, queue_gpu(s),
                memory_in_use());
    memory_check_gpu(part.values, part.n * sizeof *part.values, gpu, "a sum");
    l->parts[rank] = part;
    l->team.streams[rank] = s;
    return gpu_failure()[0] != '\0' ? -EIO : 0;
}

int gpu_link_sum(struct gpu_link *l, int rank, struct gpu_stream *s, float *values, size_t n) {
    return come(l, rank, s, (struct part){values, n, false});
}

int gpu_link_largest(struct gpu_link *l, int rank, struct gpu_stream *s, float *values, size_t n) {
    return come(l, rank, s, (struct part){values, n, true});
}

int gpu_link_end(struct gpu_link *l) {
    const void *args[GPUS_MAX];
    for (int i = 0; i < l->team.n; i++) {
        if (l->parts[i].values == NULL)
            emu_die("rank %d takes no part in a sum: the others would wait for it for ever", i);
        if (l->parts[i].largest != l->parts[0].largest)
            emu_die("rank %d wants the sum and others the largest, or the other way round", i);
        if (l->parts[i].n != l->parts[0].n)
            emu_die("rank %d adds %zu numbers to a sum of %zu", i, l->parts[i].n, l->parts[0].n);
        args[i] = &l->parts[i];
    }
    l->open = false;
    sums++;
    return queue_together(&l->team, args, sizeof l->parts[0]);
}

int gpu_link_check(struct gpu_link *l) {
    (void)l;
    if (broken && ++asked >= 3)
        return gpu_fail("remote process exited or there was a network error", REMOTE_ERROR);
    return gpu_failure()[0] != '\0' ? -EIO : 0;
}
