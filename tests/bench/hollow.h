/* What bench_step asks of its module hollow.c. */
#ifndef TESTS_BENCH_HOLLOW_H
#define TESTS_BENCH_HOLLOW_H

#define HOLLOW_NS    300000 /* that a step takes */
#define HOLLOW_STEPS 100000 /* noted at most */

/* Microseconds without work before each step since the last call, `most` at most; how many. Between runs. */
int hollow_idle(double *out, int most);

#endif
