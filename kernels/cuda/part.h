/* What one of several GPUs has of a model (tensor parallelism; Shoeybi and others, "Megatron-LM", 2019): the
 * matrices that make heads and the feed-forward's numbers are cut by rows, those that take them by columns,
 * so that the ranks add up their parts of x after each of these. The head is cut by rows; embeddings and
 * norms are whole on every rank. engine/split.h plans the same. Private to kernels/cuda/. */
#ifndef KERNELS_CUDA_PART_H
#define KERNELS_CUDA_PART_H

#include "kernels/kernels.h"

/* 0, or -ENOTSUP with the sentence that has the number which `n` ranks cannot share. */
HX_MUST_CHECK int part_check(const struct kernels_model *m, int n, char *err, size_t errlen);

/* Rows of the head of one rank: `first` and how many. The last rank has the rest. */
struct part_rows {
    int32_t first, n;
};
struct part_rows part_head(int n_vocab, int rank, int n);

/* The part of rank `rank` of `n`: numbers of heads and of the feed-forward, and tensors that point into the
 * whole ones. `layers`: n_layers of them, part->layers from then on. */
void part_of(const struct kernels_model *m, int rank, int n, struct kernels_layer *layers,
             struct kernels_model *part);

#endif
