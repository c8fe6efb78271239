/* Programs of the emulator that may end their process: each in a process of its own. */
#ifndef TESTS_EMULATOR_APART_H
#define TESTS_EMULATOR_APART_H

#include <stddef.h>

#define APART_ORDERS 5
#define APART_WRONG  9 /* exit code when the result is wrong */

/* The order of number i: forward, backward, then random ones. */
void apart_set_order(int i);

/* Runs run(arg), which returns 0 when its result is right, in a child with the given order. What it writes to
 * stderr and how it ended in `out`. The exit code, or -1 after a signal. Fails the running test when there is
 * no child. */
int apart_run(int (*run)(void *arg), void *arg, int order, char *out, size_t size);

/* A program with one fault: it must be caught in one order at least, with `says` in its words, or where that
 * is NULL by a wrong result; and it must not be caught otherwise. Fails the running test. */
void apart_must_be_caught(const char *name, int (*run)(void *arg), void *arg, const char *says);

#endif
