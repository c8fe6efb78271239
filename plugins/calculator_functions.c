#include "plugins/calculator_functions.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FLOAT_DIGITS          15
#define FRACTION_POWER_DIGITS 100 /* a power of a number with a fraction stays exact up to here */

/* Digits of pi and e: https://oeis.org/A000796, https://oeis.org/A001113. */
static const char pi_34[] = "3.141592653589793238462643383279503";
static const char e_34[] = "2.718281828459045235360287471352662";
static const char half_pi_80[] =
    "1.5707963267948966192313216916397514420985846996875529104874722961539082031431045";

int calculator_explain(int status, char *err, size_t errlen) {
    if (status == 0)
        return 0;
    if (status == -EDOM)
        snprintf(err, errlen, "division by zero");
    else
        snprintf(err, errlen, "the result has more than %d digits", DECIMAL_DIGITS);
    return -1;
}

int calculator_constant(const char *name, size_t len, struct decimal *out) {
    if (len == 2 && memcmp(name, "pi", 2) == 0)
        return decimal_parse(out, pi_34, sizeof pi_34 - 1);
    if (len == 1 && name[0] == 'e')
        return decimal_parse(out, e_34, sizeof e_34 - 1);
    return -1;
}

static int apply_sqrt(struct decimal *args, int count, char *err, size_t errlen) {
    (void)count;
    if (args->negative) {
        snprintf(err, errlen, "sqrt of a negative number");
        return -1;
    }
    return calculator_explain(decimal_sqrt(args, args), err, errlen);
}

static int apply_abs(struct decimal *args, int count, char *err, size_t errlen) {
    (void)count, (void)err, (void)errlen;
    args->negative = false;
    return 0;
}

static int apply_floor(struct decimal *args, int count, char *err, size_t errlen) {
    (void)count;
    return calculator_explain(decimal_round_places(args, 0, DECIMAL_FLOOR), err, errlen);
}

static int apply_ceil(struct decimal *args, int count, char *err, size_t errlen) {
    (void)count;
    return calculator_explain(decimal_round_places(args, 0, DECIMAL_CEIL), err, errlen);
}

static int apply_round(struct decimal *args, int count, char *err, size_t errlen) {
    long places = 0;
    if (count == 2 &&
        (!decimal_to_long(&args[1], &places) || places < -DECIMAL_DIGITS || places > DECIMAL_DIGITS)) {
        snprintf(err, errlen, "round needs a whole number of digits from -%d to %d", DECIMAL_DIGITS,
                 DECIMAL_DIGITS);
        return -1;
    }
    return calculator_explain(decimal_round_places(args, (int)places, DECIMAL_HALF_AWAY), err, errlen);
}

static int apply_min(struct decimal *args, int count, char *err, size_t errlen) {
    (void)err, (void)errlen;
    for (int i = 1; i < count; i++)
        if (decimal_compare(&args[i], &args[0]) < 0)
            args[0] = args[i];
    return 0;
}

static int apply_max(struct decimal *args, int count, char *err, size_t errlen) {
    (void)err, (void)errlen;
    for (int i = 1; i < count; i++)
        if (decimal_compare(&args[i], &args[0]) > 0)
            args[0] = args[i];
    return 0;
}

static int apply_mod(struct decimal *args, int count, char *err, size_t errlen) {
    (void)count;
    return calculator_explain(decimal_modulo(&args[0], &args[0], &args[1]), err, errlen);
}

/* ln of a positive number, near 1 by way of the exact difference, far out by way of the exponent of ten. */
static long double natural_log(const struct decimal *value) {
    struct decimal one, rest;
    decimal_from_int(&one, 1);
    if (decimal_subtract(&rest, value, &one) == 0) {
        long double x = decimal_to_float(&rest);
        if (fabsl(x) < 0.25L)
            return log1pl(x);
    }
    int top = value->exponent + value->count - 1;
    if (top > -4000 && top < 4000)
        return logl(decimal_to_float(value));
    rest = *value;
    rest.exponent -= top;
    return logl(decimal_to_float(&rest)) + (long double)top * logl(10.0L);
}

static int need_positive(const struct decimal *value, const char *name, char *err, size_t errlen) {
    if (value->count > 0 && !value->negative)
        return 0;
    snprintf(err, errlen, "%s needs a number above 0", name);
    return -1;
}

static int apply_ln(struct decimal *args, int count, char *err, size_t errlen) {
    (void)count;
    if (need_positive(args, "ln", err, errlen) != 0)
        return -1;
    return calculator_explain(decimal_from_float(args, natural_log(args), FLOAT_DIGITS), err, errlen);
}

static int apply_log10(struct decimal *args, int count, char *err, size_t errlen) {
    (void)count;
    if (need_positive(args, "log10", err, errlen) != 0)
        return -1;
    if (args->count == 1 && args->digit[0] == 1) { /* a power of ten: exact */
        decimal_from_int(args, args->exponent);
        return 0;
    }
    return calculator_explain(decimal_from_float(args, natural_log(args) / logl(10.0L), FLOAT_DIGITS), err,
                              errlen);
}

static int apply_exp(struct decimal *args, int count, char *err, size_t errlen) {
    (void)count;
    long double x = decimal_to_float(args);
    if (!(fabsl(x) <= 10000.0L)) {
        snprintf(err, errlen, "exp needs a number from -10000 to 10000");
        return -1;
    }
    return calculator_explain(decimal_from_float(args, expl(x), FLOAT_DIGITS), err, errlen);
}

/* angle = quadrant * pi/2 + *rest with |rest| <= pi/4. Reduced in decimal, so that large angles and those
 * next to a zero of a function keep their digits. */
static int reduce_angle(const struct decimal *angle, long double *rest, long *quadrant, char *err,
                        size_t errlen) {
    struct decimal half_pi, turns, four, product;
    if (angle->exponent + angle->count > 30) {
        snprintf(err, errlen, "the angle is too large, use one below 10^30");
        return -1;
    }
    decimal_from_int(&four, 4);
    int status = decimal_parse(&half_pi, half_pi_80, sizeof half_pi_80 - 1);
    if (status == 0)
        status = decimal_divide(&turns, angle, &half_pi, 60);
    if (status == 0)
        status = decimal_round_places(&turns, 0, DECIMAL_HALF_EVEN);
    if (status == 0)
        status = decimal_multiply(&product, &turns, &half_pi);
    if (status == 0)
        status = decimal_subtract(&product, angle, &product);
    if (status == 0)
        status = decimal_modulo(&turns, &turns, &four);
    if (status != 0)
        return calculator_explain(status, err, errlen);
    *rest = decimal_to_float(&product);
    (void)decimal_to_long(&turns, quadrant);
    return 0;
}

/* 15 significant digits, and nothing below 10^-30: sin(pi) is 0. */
static int store_ratio(struct decimal *out, long double value, char *err, size_t errlen) {
    int status = decimal_from_float(out, value, FLOAT_DIGITS);
    if (status == 0)
        status = decimal_round_places(out, 30, DECIMAL_HALF_EVEN);
    return calculator_explain(status, err, errlen);
}

static int apply_sin(struct decimal *args, int count, char *err, size_t errlen) {
    (void)count;
    long double x;
    long quadrant = 0;
    if (reduce_angle(args, &x, &quadrant, err, errlen) != 0)
        return -1;
    long double value = (quadrant & 1) != 0 ? cosl(x) : sinl(x);
    return store_ratio(args, quadrant >= 2 ? -value : value, err, errlen);
}

static int apply_cos(struct decimal *args, int count, char *err, size_t errlen) {
    (void)count;
    long double x;
    long quadrant = 0;
    if (reduce_angle(args, &x, &quadrant, err, errlen) != 0)
        return -1;
    long double value = (quadrant & 1) != 0 ? sinl(x) : cosl(x);
    return store_ratio(args, quadrant == 1 || quadrant == 2 ? -value : value, err, errlen);
}

static int apply_tan(struct decimal *args, int count, char *err, size_t errlen) {
    (void)count;
    long double x;
    long quadrant = 0;
    if (reduce_angle(args, &x, &quadrant, err, errlen) != 0)
        return -1;
    if ((quadrant & 1) == 0)
        return store_ratio(args, tanl(x), err, errlen);
    if (fabsl(x) < 1e-30L) {
        snprintf(err, errlen, "tan is not defined at this angle");
        return -1;
    }
    return store_ratio(args, -1.0L / tanl(x), err, errlen);
}

static const struct calculator_function functions[] = {
    {"sqrt", 1, 1, apply_sqrt},   {"abs", 1, 1, apply_abs},     {"floor", 1, 1, apply_floor},
    {"ceil", 1, 1, apply_ceil},   {"round", 1, 2, apply_round}, {"min", 1, 64, apply_min},
    {"max", 1, 64, apply_max},    {"mod", 2, 2, apply_mod},     {"ln", 1, 1, apply_ln},
    {"log10", 1, 1, apply_log10}, {"exp", 1, 1, apply_exp},     {"sin", 1, 1, apply_sin},
    {"cos", 1, 1, apply_cos},     {"tan", 1, 1, apply_tan},
};

const struct calculator_function *calculator_find_function(const char *name, size_t len) {
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        if (strlen(functions[i].name) == len && memcmp(functions[i].name, name, len) == 0)
            return &functions[i];
    return NULL;
}

static int raise_to_integer(struct decimal *base, const struct decimal *exponent, char *err, size_t errlen) {
    struct decimal one, power;
    long n;
    decimal_from_int(&one, 1);
    bool unit = base->count == 1 && base->digit[0] == 1 && base->exponent == 0;
    if (base->count == 0 && exponent->negative)
        return calculator_explain(-EDOM, err, errlen);
    if (base->count == 0 || unit) { /* 0, 1 and -1 have every power */
        struct decimal two, parity;
        decimal_from_int(&two, 2);
        if (decimal_modulo(&parity, exponent, &two) != 0)
            decimal_from_int(&parity, 0); /* more than 2,000 digits: ends in zeros */
        if (exponent->count == 0)
            *base = one;
        else if (parity.count == 0)
            base->negative = false;
        return 0;
    }
    if (!decimal_to_long(exponent, &n))
        return calculator_explain(-ERANGE, err, errlen);
    unsigned long times = n < 0 ? 0UL - (unsigned long)n : (unsigned long)n;
    int status = decimal_power(&power, base, times, 0);
    if (base->exponent < 0 && (status != 0 || power.count > FRACTION_POWER_DIGITS)) {
        status = decimal_power(&power, base, times, 2 * DECIMAL_PRECISION);
        if (status == 0)
            decimal_round_significant(&power, DECIMAL_PRECISION);
    }
    if (status == 0 && n < 0)
        status = decimal_divide(&power, &one, &power, DECIMAL_PRECISION);
    if (status == 0)
        *base = power;
    return calculator_explain(status, err, errlen);
}

int calculator_raise(struct decimal *base, const struct decimal *exponent, char *err, size_t errlen) {
    if (decimal_is_integer(exponent))
        return raise_to_integer(base, exponent, err, errlen);
    if (base->negative) {
        snprintf(err, errlen, "a negative number has no real power with a fraction");
        return -1;
    }
    if (base->count == 0)
        return exponent->negative ? calculator_explain(-EDOM, err, errlen) : 0;
    if (exponent->count == 1 && exponent->digit[0] == 5 && exponent->exponent == -1) {
        if (exponent->negative) {
            struct decimal one;
            decimal_from_int(&one, 1);
            int status = decimal_divide(base, &one, base, 2 * DECIMAL_PRECISION);
            if (status != 0)
                return calculator_explain(status, err, errlen);
        }
        return calculator_explain(decimal_sqrt(base, base), err, errlen);
    }
    long double value = expl(decimal_to_float(exponent) * natural_log(base));
    return calculator_explain(decimal_from_float(base, value, FLOAT_DIGITS), err, errlen);
}
