/* Decimal numbers of up to 2,000 significant digits: sums, differences and products are exact, quotients and
 * roots are rounded half to even to a stated number of significant digits. Thousands of digits are rare here
 * and milliseconds are plenty, so one digit is one byte and the algorithms are those of paper and pencil. All
 * functions are [any-thread]; a result may be the same object as an argument. */
#ifndef PLUGINS_CALCULATOR_DECIMAL_H
#define PLUGINS_CALCULATOR_DECIMAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DECIMAL_DIGITS    2000  /* significant digits a number may have */
#define DECIMAL_EXPONENT  10000 /* largest magnitude of the exponent of ten */
#define DECIMAL_PRECISION 34    /* of quotients and roots, as IEEE 754 decimal128 has */
#define DECIMAL_TEXT      (DECIMAL_DIGITS + 80)

/* (-1)^negative * sum(digit[i] * 10^(exponent + i)). Always normal: neither the first nor the last of the
 * `count` digits is 0; zero has no digits, exponent 0 and is not negative. */
struct decimal {
    int exponent;
    int count;
    bool negative;
    uint8_t digit[DECIMAL_DIGITS];
};

enum decimal_rounding { DECIMAL_HALF_EVEN, DECIMAL_HALF_AWAY, DECIMAL_FLOOR, DECIMAL_CEIL };

/* All fallible functions return 0, -ERANGE (too many digits, or an exponent out of range) or -EDOM (division
 * by zero, root of a negative number), -EINVAL (not a number; only decimal_parse), and leave *out untouched
 * then. */
void decimal_from_int(struct decimal *out, long value);
/* digits [. digits] [e [+-] digits], or . digits; the whole of text[0..len). */
int decimal_parse(struct decimal *out, const char *text, size_t len);
/* Plain notation while it needs at most 40 zeros of padding, else d.ddde+n. `out` has room for DECIMAL_TEXT
 * bytes. */
void decimal_format(const struct decimal *value, char *out);

int decimal_add(struct decimal *out, const struct decimal *a, const struct decimal *b);
int decimal_subtract(struct decimal *out, const struct decimal *a, const struct decimal *b);
int decimal_multiply(struct decimal *out, const struct decimal *a, const struct decimal *b);
/* Rounded half to even to `precision` significant digits (1..100). */
int decimal_divide(struct decimal *out, const struct decimal *a, const struct decimal *b, int precision);
/* a - b * floor(a / b), exact: the sign is the divisor's. */
int decimal_modulo(struct decimal *out, const struct decimal *a, const struct decimal *b);
/* Precision 34. */
int decimal_sqrt(struct decimal *out, const struct decimal *a);
/* base^n; precision 0 = exact, else every step is rounded to that many significant digits. */
int decimal_power(struct decimal *out, const struct decimal *base, unsigned long n, int precision);

void decimal_negate(struct decimal *value);
int decimal_compare(const struct decimal *a, const struct decimal *b); /* < 0, 0, > 0 */
bool decimal_is_integer(const struct decimal *value);
/* The value if it is an integer of magnitude below 10^9. */
bool decimal_to_long(const struct decimal *value, long *out);
/* Rounds to `precision` significant digits. */
void decimal_round_significant(struct decimal *value, int precision);
/* Rounds to `places` digits after the point (negative: before it). */
int decimal_round_places(struct decimal *value, int places, enum decimal_rounding rounding);

/* Nearest long double (infinite when out of its range) and back, rounded to `precision` significant digits;
 * -ERANGE when not finite. */
long double decimal_to_float(const struct decimal *value);
int decimal_from_float(struct decimal *out, long double value, int precision);

#endif
