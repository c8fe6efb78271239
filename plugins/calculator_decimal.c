#include "plugins/calculator_decimal.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for a sum of two aligned numbers or a product. */
#define WIDE (2 * DECIMAL_DIGITS + 8)

/* Drops zeros at both ends of the `count` digits at `digits` and stores them; the only way a number comes to
 * be. */
static int decimal_store(struct decimal *out, bool negative, const uint8_t *digits, int count, int exponent) {
    while (count > 0 && digits[count - 1] == 0)
        count--;
    int skip = 0;
    while (skip < count && digits[skip] == 0)
        skip++;
    if (count - skip == 0) {
        out->count = 0;
        out->exponent = 0;
        out->negative = false;
        return 0;
    }
    int lowest = exponent + skip, highest = exponent + count - 1;
    if (count - skip > DECIMAL_DIGITS || lowest < -DECIMAL_EXPONENT || highest > DECIMAL_EXPONENT)
        return -ERANGE;
    memmove(out->digit, digits + skip, (size_t)(count - skip));
    out->count = count - skip;
    out->exponent = lowest;
    out->negative = negative;
    return 0;
}

void decimal_from_int(struct decimal *out, long value) {
    uint8_t digits[24];
    int count = 0;
    unsigned long rest = value < 0 ? 0UL - (unsigned long)value : (unsigned long)value;
    for (; rest > 0; rest /= 10)
        digits[count++] = (uint8_t)(rest % 10);
    (void)decimal_store(out, value < 0, digits, count, 0);
}

int decimal_parse(struct decimal *out, const char *text, size_t len) {
    uint8_t digits[DECIMAL_DIGITS];
    int count = 0, exponent = 0;
    bool point = false, any = false;
    size_t i = 0;
    for (; i < len; i++) {
        if (text[i] == '.' && !point) {
            point = true;
            continue;
        }
        if (text[i] < '0' || text[i] > '9')
            break;
        any = true;
        if (point)
            exponent--;
        if (count == 0 && text[i] == '0')
            continue;
        if (count == DECIMAL_DIGITS)
            return -ERANGE;
        digits[count++] = (uint8_t)(text[i] - '0');
    }
    if (!any)
        return -EINVAL;
    if (i < len && (text[i] == 'e' || text[i] == 'E')) {
        bool minus = ++i < len && text[i] == '-';
        if (i < len && (text[i] == '-' || text[i] == '+'))
            i++;
        if (i == len)
            return -EINVAL;
        int power = 0;
        for (; i < len && text[i] >= '0' && text[i] <= '9'; i++)
            if (power < 10 * DECIMAL_EXPONENT)
                power = power * 10 + (text[i] - '0');
        exponent += minus ? -power : power;
    }
    if (i != len)
        return -EINVAL;
    for (int lo = 0, hi = count - 1; lo < hi; lo++, hi--) {
        uint8_t swap = digits[lo];
        digits[lo] = digits[hi];
        digits[hi] = swap;
    }
    return decimal_store(out, false, digits, count, exponent);
}

static char *decimal_format_zeros(char *out, int n) {
    for (int i = 0; i < n; i++)
        *out++ = '0';
    return out;
}

void decimal_format(const struct decimal *value, char *out) {
    const int padding_max = 40;
    int top = value->exponent + value->count - 1; /* exponent of the first digit */
    if (value->count == 0) {
        memcpy(out, "0", 2);
        return;
    }
    if (value->negative)
        *out++ = '-';
    bool plain = value->exponent <= padding_max && top >= -padding_max;
    if (plain && top < 0) {
        *out++ = '0';
        *out++ = '.';
        out = decimal_format_zeros(out, -top - 1);
    }
    for (int i = value->count - 1; i >= 0; i--) {
        *out++ = (char)('0' + value->digit[i]);
        bool point = plain ? top >= 0 && value->exponent + i == 0 : i == value->count - 1;
        if (point && i > 0)
            *out++ = '.';
    }
    if (plain)
        out = decimal_format_zeros(out, value->exponent > 0 ? value->exponent : 0);
    else
        out += snprintf(out, 16, "e%+d", top); /* at most "e-10000" */
    *out = '\0';
}

static int decimal_digit_at(const struct decimal *value, int exponent) {
    int i = exponent - value->exponent;
    return i >= 0 && i < value->count ? value->digit[i] : 0;
}

static int decimal_compare_magnitude(const struct decimal *a, const struct decimal *b) {
    if (a->count == 0 || b->count == 0)
        return (a->count > 0) - (b->count > 0);
    int top_a = a->exponent + a->count, top_b = b->exponent + b->count;
    if (top_a != top_b)
        return top_a < top_b ? -1 : 1;
    int low = a->exponent < b->exponent ? a->exponent : b->exponent;
    for (int at = top_a - 1; at >= low; at--) {
        int diff = decimal_digit_at(a, at) - decimal_digit_at(b, at);
        if (diff != 0)
            return diff;
    }
    return 0;
}

int decimal_compare(const struct decimal *a, const struct decimal *b) {
    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    int magnitude = decimal_compare_magnitude(a, b);
    return a->negative ? -magnitude : magnitude;
}

void decimal_negate(struct decimal *value) {
    value->negative = value->count > 0 && !value->negative;
}

/* Signed sum with b's sign given apart. */
static int decimal_sum(struct decimal *out, const struct decimal *a, const struct decimal *b,
                       bool b_negative) {
    if (b->count == 0 || a->count == 0) {
        bool negative = b->count == 0 ? a->negative : b_negative;
        const struct decimal *from = b->count == 0 ? a : b;
        return decimal_store(out, negative, from->digit, from->count, from->exponent);
    }
    int low = a->exponent < b->exponent ? a->exponent : b->exponent;
    int top_a = a->exponent + a->count, top_b = b->exponent + b->count;
    int count = (top_a > top_b ? top_a : top_b) - low + 1;
    if (count > WIDE)
        return -ERANGE;
    uint8_t digits[WIDE];
    bool negative = a->negative;
    if (a->negative == b_negative) {
        int carry = 0;
        for (int i = 0; i < count; i++) {
            int sum = decimal_digit_at(a, low + i) + decimal_digit_at(b, low + i) + carry;
            carry = sum > 9;
            digits[i] = (uint8_t)(sum - 10 * carry);
        }
    } else {
        if (decimal_compare_magnitude(a, b) < 0) {
            const struct decimal *swap = a;
            a = b;
            b = swap;
            negative = b_negative;
        }
        int borrow = 0;
        for (int i = 0; i < count; i++) {
            int diff = decimal_digit_at(a, low + i) - decimal_digit_at(b, low + i) - borrow;
            borrow = diff < 0;
            digits[i] = (uint8_t)(diff + 10 * borrow);
        }
    }
    return decimal_store(out, negative, digits, count, low);
}

int decimal_add(struct decimal *out, const struct decimal *a, const struct decimal *b) {
    return decimal_sum(out, a, b, b->negative);
}

int decimal_subtract(struct decimal *out, const struct decimal *a, const struct decimal *b) {
    return decimal_sum(out, a, b, !b->negative);
}

/* The product before its digits are counted: `digits` has room for WIDE. */
static int decimal_product(const struct decimal *a, const struct decimal *b, uint8_t *digits) {
    int count = a->count + b->count;
    memset(digits, 0, (size_t)count + 1);
    for (int i = 0; i < a->count; i++) {
        int carry = 0;
        for (int j = 0; j < b->count; j++) {
            int sum = digits[i + j] + a->digit[i] * b->digit[j] + carry;
            carry = sum / 10;
            digits[i + j] = (uint8_t)(sum % 10);
        }
        digits[i + b->count] = (uint8_t)carry;
    }
    return count;
}

int decimal_multiply(struct decimal *out, const struct decimal *a, const struct decimal *b) {
    uint8_t digits[WIDE];
    int count = decimal_product(a, b, digits);
    return decimal_store(out, a->negative != b->negative, digits, count, a->exponent + b->exponent);
}

/* rest[0..count) >= b's digits, both from the top digit down; rest is one digit longer at the top. */
static bool decimal_rest_holds(const uint8_t *rest, const struct decimal *b) {
    if (rest[b->count] != 0)
        return true;
    for (int i = b->count - 1; i >= 0; i--)
        if (rest[i] != b->digit[i])
            return rest[i] > b->digit[i];
    return true;
}

static void decimal_rest_subtract(uint8_t *rest, const struct decimal *b) {
    int borrow = 0;
    for (int i = 0; i <= b->count; i++) {
        int diff = rest[i] - (i < b->count ? b->digit[i] : 0) - borrow;
        borrow = diff < 0;
        rest[i] = (uint8_t)(diff + 10 * borrow);
    }
}

/* Long division of magnitudes: the quotient's digits from 10^top down to 10^bottom, written to
 * quotient[0..top-bottom] with the lowest first; returns whether something is left over. `top` is at or above
 * the exponent of the true quotient's first digit. */
static bool decimal_long_division(const struct decimal *a, const struct decimal *b, int top, int bottom,
                                  uint8_t *quotient) {
    /* The window holds the current remainder in units of 10^(b->exponent + place). */
    uint8_t rest[DECIMAL_DIGITS + 2];
    memset(rest, 0, (size_t)b->count + 1);
    for (int i = b->count - 1; i > 0; i--)
        rest[i - 1] = (uint8_t)decimal_digit_at(a, b->exponent + top + i);
    for (int place = top; place >= bottom; place--) {
        memmove(rest + 1, rest, (size_t)b->count);
        rest[0] = (uint8_t)decimal_digit_at(a, b->exponent + place);
        uint8_t digit = 0;
        for (; decimal_rest_holds(rest, b); digit++)
            decimal_rest_subtract(rest, b);
        quotient[place - bottom] = digit;
    }
    for (int i = 0; i <= b->count; i++)
        if (rest[i] != 0)
            return true;
    return a->exponent < b->exponent + bottom;
}

/* Adds one unit to digits[0..count); there is room for one more digit. */
static int decimal_increment(uint8_t *digits, int count) {
    for (int i = 0; i < count; i++) {
        if (digits[i] < 9) {
            digits[i]++;
            return count;
        }
        digits[i] = 0;
    }
    digits[count] = 1;
    return count + 1;
}

int decimal_divide(struct decimal *out, const struct decimal *a, const struct decimal *b, int precision) {
    if (b->count == 0)
        return -EDOM;
    if (a->count == 0)
        return decimal_store(out, false, a->digit, 0, 0);
    int top = a->exponent + a->count - b->exponent - b->count;
    /* The first digit may turn out 0, and one guard digit decides the rounding: at most 102 digits. */
    uint8_t quotient[104];
    int bottom = top - precision - 1;
    bool sticky = decimal_long_division(a, b, top, bottom, quotient);
    int count = top - bottom + 1, cut = quotient[count - 1] == 0 ? 1 : 2;
    int half = cut == 2 ? quotient[1] * 10 + quotient[0] : quotient[0] * 10;
    int odd = quotient[cut] & 1;
    count -= cut;
    memmove(quotient, quotient + cut, (size_t)count);
    if (half > 50 || (half == 50 && (sticky || odd)))
        count = decimal_increment(quotient, count);
    return decimal_store(out, a->negative != b->negative, quotient, count, bottom + cut);
}

int decimal_modulo(struct decimal *out, const struct decimal *a, const struct decimal *b) {
    if (b->count == 0)
        return -EDOM;
    int top = a->exponent + a->count - b->exponent - b->count;
    if (top > DECIMAL_DIGITS)
        return -ERANGE;
    struct decimal floored;
    uint8_t quotient[DECIMAL_DIGITS + 2];
    int count = 0;
    bool left = a->count > 0;
    if (top >= 0 && a->count > 0) {
        left = decimal_long_division(a, b, top, 0, quotient);
        count = top + 1;
    }
    bool negative = a->negative != b->negative;
    if (negative && left)
        count = decimal_increment(quotient, count);
    int status = decimal_store(&floored, negative, quotient, count, 0);
    if (status == 0)
        status = decimal_multiply(&floored, &floored, b);
    return status != 0 ? status : decimal_subtract(out, a, &floored);
}

void decimal_round_significant(struct decimal *value, int precision) {
    if (value->count > precision)
        (void)decimal_round_places(value, -(value->exponent + value->count - precision), DECIMAL_HALF_EVEN);
}

static bool decimal_rounds_up(const struct decimal *value, int cut, enum decimal_rounding rounding) {
    if (rounding == DECIMAL_FLOOR || rounding == DECIMAL_CEIL)
        return value->negative == (rounding == DECIMAL_FLOOR);
    int first = cut <= value->count ? value->digit[cut - 1] : 0;
    if (first != 5)
        return first > 5;
    if (rounding == DECIMAL_HALF_AWAY || cut > 1) /* the lowest digit is never 0: more follows the 5 */
        return true;
    return cut < value->count && (value->digit[cut] & 1) != 0;
}

int decimal_round_places(struct decimal *value, int places, enum decimal_rounding rounding) {
    int cut = -places - value->exponent; /* digits that go */
    if (value->count == 0 || cut <= 0)
        return 0;
    uint8_t digits[DECIMAL_DIGITS + 1];
    int count = cut < value->count ? value->count - cut : 0;
    memcpy(digits, value->digit + (value->count - count), (size_t)count);
    if (decimal_rounds_up(value, cut, rounding))
        count = decimal_increment(digits, count);
    return decimal_store(value, value->negative, digits, count, -places);
}

int decimal_power(struct decimal *out, const struct decimal *base, unsigned long n, int precision) {
    struct decimal result, square = *base;
    decimal_from_int(&result, 1);
    for (; n > 0; n >>= 1) {
        if ((n & 1) != 0) {
            int status = decimal_multiply(&result, &result, &square);
            if (status != 0)
                return status;
            if (precision > 0)
                decimal_round_significant(&result, precision);
        }
        if (n == 1)
            break;
        int status = decimal_multiply(&square, &square, &square);
        if (status != 0)
            return status;
        if (precision > 0)
            decimal_round_significant(&square, precision);
    }
    *out = result;
    return 0;
}

int decimal_sqrt(struct decimal *out, const struct decimal *a) {
    if (a->negative)
        return -EDOM;
    if (a->count == 0)
        return decimal_store(out, false, a->digit, 0, 0);
    /* a = m * 100^k with 1 <= m < 100, so that a float can hold the first guess; Newton doubles its 18 digits
     * twice. */
    const int working = 80;
    struct decimal m = *a, x, quotient, half;
    int top = a->exponent + a->count - 1, k = top >= 0 ? top / 2 : -((1 - top) / 2);
    m.exponent -= 2 * k;
    decimal_round_significant(&m, working);
    (void)decimal_from_float(&x, sqrtl(decimal_to_float(&m)), 19);
    (void)decimal_parse(&half, "0.5", 3);
    for (int i = 0; i < 3; i++) {
        int status = decimal_divide(&quotient, &m, &x, working);
        if (status == 0)
            status = decimal_add(&x, &x, &quotient);
        if (status == 0)
            status = decimal_multiply(&x, &x, &half);
        if (status != 0)
            return status;
        decimal_round_significant(&x, working);
    }
    decimal_round_significant(&x, working - 4); /* an exact root becomes exact again */
    decimal_round_significant(&x, DECIMAL_PRECISION);
    return decimal_store(out, false, x.digit, x.count, x.exponent + k);
}

bool decimal_is_integer(const struct decimal *value) {
    return value->exponent >= 0;
}

bool decimal_to_long(const struct decimal *value, long *out) {
    if (!decimal_is_integer(value) || value->exponent + value->count > 9)
        return false;
    long result = 0;
    for (int at = value->exponent + value->count - 1; at >= 0; at--)
        result = result * 10 + decimal_digit_at(value, at);
    *out = value->negative ? -result : result;
    return true;
}

long double decimal_to_float(const struct decimal *value) {
    char text[64];
    int count = value->count > 40 ? 40 : value->count;
    size_t n = 0;
    text[n++] = value->negative ? '-' : '+';
    text[n++] = '0';
    for (int i = 0; i < count; i++)
        text[n++] = (char)('0' + value->digit[value->count - 1 - i]);
    snprintf(text + n, sizeof text - n, "e%d", value->exponent + value->count - count);
    return strtold(text, NULL);
}

int decimal_from_float(struct decimal *out, long double value, int precision) {
    if (!isfinite(value))
        return -ERANGE;
    char text[64];
    int len = snprintf(text, sizeof text, "%.*Le", precision - 1, fabsl(value));
    struct decimal parsed;
    int status = decimal_parse(&parsed, text, (size_t)len);
    if (status != 0)
        return status;
    if (value < 0)
        decimal_negate(&parsed);
    *out = parsed;
    return 0;
}
