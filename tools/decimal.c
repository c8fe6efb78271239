#include "tools/decimal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* The exponent's digits at `text`; beyond the limit it only says so. */
static int read_exponent(const char *text, size_t len, long *out) {
    bool negative = len > 0 && text[0] == '-';
    size_t i = len > 0 && (text[0] == '-' || text[0] == '+');
    long value = 0;
    for (; i < len; i++) {
        value = value * 10 + (text[i] - '0');
        if (value > DECIMAL_EXPONENT_MAX)
            return -ERANGE;
    }
    *out = negative ? -value : value;
    return 0;
}

int decimal_read(const char *text, size_t len, char *digits, struct decimal *out) {
    struct decimal d = {.digits = digits};
    size_t i = 0, n = 0;
    long behind_point = 0;
    bool point = false;
    if (len > 0 && text[0] == '-') {
        d.negative = true;
        i = 1;
    }
    for (; i < len && (is_digit(text[i]) || text[i] == '.'); i++) {
        if (text[i] == '.') {
            point = true;
            continue;
        }
        behind_point += point;
        if (n > 0 || text[i] != '0')
            digits[n++] = text[i];
    }
    if (i < len) {
        int rc = read_exponent(text + i + 1, len - i - 1, &d.exponent);
        if (rc != 0)
            return rc;
    }
    d.exponent -= behind_point;
    for (; n > 0 && digits[n - 1] == '0'; n--)
        d.exponent++;
    d.n_digits = n;
    if (n == 0) {
        d.exponent = 0;
        d.negative = false;
    }
    *out = d;
    return 0;
}

/* The absolute values. */
static int compare_size(const struct decimal *a, const struct decimal *b) {
    if (a->n_digits == 0 || b->n_digits == 0)
        return (a->n_digits > 0) - (b->n_digits > 0);
    long a_top = (long)a->n_digits + a->exponent, b_top = (long)b->n_digits + b->exponent;
    if (a_top != b_top)
        return a_top < b_top ? -1 : 1;
    size_t common = a->n_digits < b->n_digits ? a->n_digits : b->n_digits;
    int order = memcmp(a->digits, b->digits, common);
    return order != 0 ? order : (a->n_digits > common) - (b->n_digits > common);
}

int decimal_compare(const struct decimal *a, const struct decimal *b) {
    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    return a->negative ? compare_size(b, a) : compare_size(a, b);
}

bool decimal_is_integer(const struct decimal *d) {
    return d->exponent >= 0;
}

/* x × y modulo m, without overflow. */
static uint64_t multiply(uint64_t x, uint64_t y, uint64_t m) {
    uint64_t sum = 0;
    for (x %= m; y > 0; y >>= 1) {
        if (y & 1)
            sum = (sum + x) % m;
        x = x * 2 % m;
    }
    return sum;
}

bool decimal_is_multiple(const struct decimal *a, const struct decimal *b) {
    uint64_t divisor = 0, rest = 0, power = 10;
    if (a->n_digits == 0)
        return true;
    /* A quotient would need more zeros at a's end than there are (none). */
    if (b->exponent > a->exponent || b->n_digits == 0 || b->n_digits > DECIMAL_DIVISOR_DIGITS)
        return false;
    for (size_t i = 0; i < b->n_digits; i++)
        divisor = divisor * 10 + (uint64_t)(b->digits[i] - '0');
    for (size_t i = 0; i < a->n_digits; i++)
        rest = (multiply(rest, 10, divisor) + (uint64_t)(a->digits[i] - '0')) % divisor;
    for (long zeros = a->exponent - b->exponent; zeros > 0; zeros >>= 1) {
        if (zeros & 1)
            rest = multiply(rest, power, divisor);
        power = multiply(power, power, divisor);
    }
    return rest == 0;
}

uint64_t decimal_hash(const struct decimal *d) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a, 64 bits */
    for (size_t i = 0; i < d->n_digits; i++)
        hash = (hash ^ (unsigned char)d->digits[i]) * 1099511628211u;
    hash = (hash ^ (uint64_t)d->exponent) * 1099511628211u;
    return (hash ^ d->negative) * 1099511628211u;
}

const char *decimal_text(const struct decimal *d, char *text, size_t size) {
    long top = (long)d->n_digits + d->exponent; /* digits before the point */
    int n = (int)(d->n_digits < 400 ? d->n_digits : 400);
    const char *sign = d->negative ? "-" : "";
    if (d->n_digits == 0)
        snprintf(text, size, "0");
    else if (d->exponent >= 0 && top <= 21)
        snprintf(text, size, "%s%.*s%.*s", sign, n, d->digits, (int)d->exponent, "000000000000000000000");
    else if (d->exponent < 0 && top > 0)
        snprintf(text, size, "%s%.*s.%.*s", sign, (int)top < n ? (int)top : n, d->digits,
                 (int)top < n ? n - (int)top : 0, d->digits + top);
    else if (d->exponent < 0 && top > -6)
        snprintf(text, size, "%s0.%.*s%.*s", sign, (int)-top, "000000", n, d->digits);
    else if (n == 1)
        snprintf(text, size, "%s%.1se%+ld", sign, d->digits, top - 1);
    else
        snprintf(text, size, "%s%.1s.%.*se%+ld", sign, d->digits, n - 1, d->digits + 1, top - 1);
    return text;
}
