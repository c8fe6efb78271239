/* Numbers as JSON writes them, exact: what a double would round is kept. [any-thread] */
#ifndef TOOLS_DECIMAL_H
#define TOOLS_DECIMAL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* digits × 10^exponent. The digits have no zero at either end; the number 0 has none and is not negative. Two
 * equal numbers have equal members, however they were written. */
struct decimal {
    const char *digits; /* not terminated; borrowed from where the number lies */
    size_t n_digits;
    long exponent;
    bool negative;
};

/* Exponents beyond this are refused. */
#define DECIMAL_EXPONENT_MAX 999999999L

/* Reads a valid JSON number. The digits without point go to `digits` (room for `len` bytes), which *out
 * borrows. -ERANGE for an exponent beyond DECIMAL_EXPONENT_MAX. */
HX_MUST_CHECK int decimal_read(const char *text, size_t len, char *digits, struct decimal *out);

/* < 0, 0, > 0 as a is below, equal to, above b. */
int decimal_compare(const struct decimal *a, const struct decimal *b);
bool decimal_is_integer(const struct decimal *d);
/* Whether a is an integer times b. b is above 0 and has at most DECIMAL_DIVISOR_DIGITS digits. */
#define DECIMAL_DIVISOR_DIGITS 18
bool decimal_is_multiple(const struct decimal *a, const struct decimal *b);
/* Equal numbers have equal hashes. */
uint64_t decimal_hash(const struct decimal *d);
/* The plain way to write it (cut at `size`, terminated): 1.5, 20, 1e+300. Returns `text`. */
const char *decimal_text(const struct decimal *d, char *text, size_t size);

#endif
