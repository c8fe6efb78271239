/* A device against the oracle, step by step: every state of every row. */
#ifndef TESTS_KERNELS_PARITY_H
#define TESTS_KERNELS_PARITY_H

#include "kernels/kernels.h"
#include "tests/kernels/random_model.h"

#define PARITY_MAX_ROWS 100
#define PARITY_PAGES    24 /* and this many of 64 positions */
#define PARITY_STRIDE   12

/* How far a state may be from the oracle's: root of the mean square difference, relative to that of the
 * oracle; four times as much for attention, whose softmax multiplies what scores differ by. */
struct parity {
    struct kernels_device *want, *got;
    const struct kernels_model *m;
    double bound;
    double worst; /* seen, as a part of the bound */
};

struct kernels_config parity_config(const struct kernels_model *m, enum dtype kv);
/* Root of the mean square difference of two vectors, relative to `want`; fails the running test for what is
 * not finite. */
double parity_difference(const float *got, const float *want, size_t n);
/* Runs all steps of a batch; fails the running test when the device does. */
void parity_steps(struct kernels_device *d, const struct kernels_batch *batch, int n_layers);
/* Runs a batch on both and compares after every step; fails the running test with step and row. */
void parity_run(struct parity *p, const struct kernels_batch *batch);
/* Two sessions whose pages are scattered: a prefill of 70 tokens beside one of 9, both decode, one goes on
 * with 61 more. Then `more` further tokens, at most 100 at a time. */
void parity_sessions(struct parity *p, int more);
/* copy_page(), read_page() and write_page() of a device with pages 0 to 7: what goes on from a copy gets the
 * same logits, bit by bit. */
void parity_pages(struct kernels_device *d, const struct kernels_model *m);

#endif
