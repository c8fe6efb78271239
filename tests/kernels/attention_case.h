/* One case of the tensor cores' attention, at the kernels themselves: rows of one session whose keys and
 * values are given, as singles and as tiles. */
#ifndef TESTS_KERNELS_ATTENTION_CASE_H
#define TESTS_KERNELS_ATTENTION_CASE_H

#include <stdbool.h>

struct attention_case {
    int n_heads, n_kv_heads, head_dim;
    int first, n; /* positions of the rows: first … first + n - 1 */
    float sharp;  /* factor of the queries: scores spread about +-sharp */
};

struct attention_outcome {
    double error; /* worst of all rows and heads: root of the mean square difference from sums in double,
                     relative to the values summed up */
    bool alike;   /* the same bits as singles and as tiles */
    bool ready;   /* and where they are wanted as BF16, these rounded, both ways */
};

/* Keys, values and queries are drawn from `seed`; pages are scattered, and what no row may read is spoiled.
 * Not finite: error is infinite. */
void attention_case_run(const struct attention_case *c, unsigned seed, struct attention_outcome *out);

#endif
