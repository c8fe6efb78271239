/* Numbers in plain decimal spelling, between bounds: digit by digit beside the bounds' own digits. */
#include "agent/constrain_inner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX      100 /* of a bound before, and behind, the point */
#define DIGITS_WRITTEN  15  /* a model writes no more, so that every reader gets the number as it was meant */
#define NO_LIMIT        GRAMMAR_FOREVER
#define EXPONENT_DIGITS 2

/* A magnitude in plain digits. */
struct plain {
    unsigned char whole[DIGITS_MAX], part[DIGITS_MAX]; /* before and behind the point */
    int n_whole, n_part;                               /* whole: at least 1; part: no zero at its end */
    bool exclusive, none;
};

struct range {
    struct constrain *c;
    struct plain low, high;
    uint32_t max_part; /* digits behind the point; 0: integers */
    uint32_t max_whole;
    int length; /* digits before the point of what is being written */
};

static uint32_t digits(struct range *r, unsigned first, unsigned last) {
    return grammar_byte(r->c->b, (unsigned char)('0' + first), (unsigned char)('0' + last));
}

static uint32_t empty(struct constrain *c) {
    return grammar_literal(c->b, "", 0);
}

static uint32_t any_digits(struct range *r, uint32_t min, uint32_t max) {
    return grammar_repeat(r->c->b, digits(r, 0, 9), min, max);
}

static bool into_plain(const struct decimal *d, bool exclusive, struct plain *out) {
    *out = (struct plain){.exclusive = exclusive, .n_whole = 1};
    long n = (long)d->n_digits, point = n + d->exponent; /* digits before the point */
    if (n == 0)
        return true;
    if (point > DIGITS_MAX || n - point > DIGITS_MAX || n > DIGITS_MAX)
        return false;
    if (point > 0)
        out->n_whole = (int)point;
    for (long i = 0; i < n; i++) {
        unsigned char digit = (unsigned char)(d->digits[i] - '0');
        if (i < point)
            out->whole[i] = digit;
        else
            out->part[i - point] = digit;
    }
    out->n_part = n > point ? (int)(n - point) : 0;
    return true;
}

/* Behind `at` digits of the part; low and high say that all digits so far are those of the bound. */
static uint32_t part(struct range *r, int at, bool low, bool high);

static bool may_end(const struct range *r, int at, bool low, bool high) {
    if (low && (r->low.n_part > at || r->low.exclusive))
        return false;
    return !high || r->high.n_part > at || !r->high.exclusive;
}

/* All digits of the bounds are written. */
static uint32_t part_beyond(struct range *r, int at, bool low, bool high) {
    uint32_t left = r->max_part == NO_LIMIT ? NO_LIMIT : r->max_part - (uint32_t)at;
    uint32_t zeros = grammar_repeat(r->c->b, digits(r, 0, 0), 0, left);
    if (high) /* only as much as the bound itself */
        return may_end(r, at, low, high) ? zeros : constrain_nothing(r->c);
    if (!low || !r->low.exclusive)
        return any_digits(r, 0, left);
    if (left == 0)
        return constrain_nothing(r->c);
    if (left == NO_LIMIT)
        return constrain_three(r->c, zeros, digits(r, 1, 9), any_digits(r, 0, left));
    /* One digit at least is not zero: the zeros before it take from the digits behind it. */
    uint32_t ways[DIGITS_WRITTEN + 1];
    uint32_t n = 0;
    for (uint32_t z = 0; z < left && z <= DIGITS_WRITTEN; z++)
        ways[n++] = constrain_three(r->c, grammar_repeat(r->c->b, digits(r, 0, 0), z, z), digits(r, 1, 9),
                                    any_digits(r, 0, left - z - 1));
    return grammar_choice(r->c->b, ways, n);
}

static uint32_t part(struct range *r, int at, bool low, bool high) {
    uint32_t left = r->max_part == NO_LIMIT ? NO_LIMIT : r->max_part - (uint32_t)at;
    if (!low && !high)
        return any_digits(r, at == 0, left);
    bool end = at > 0 && may_end(r, at, low, high);
    if (left == 0)
        return end ? empty(r->c) : constrain_nothing(r->c);
    if (at >= r->low.n_part * low && at >= r->high.n_part * high && at > 0)
        return part_beyond(r, at, low, high);
    unsigned from = low && at < r->low.n_part ? r->low.part[at] : 0;
    unsigned to = !high ? 9 : at < r->high.n_part ? r->high.part[at] : 0;
    uint32_t ways[4];
    uint32_t n = 0;
    if (end)
        ways[n++] = empty(r->c);
    if (low && high && from == to) {
        ways[n++] = constrain_two(r->c, digits(r, from, to), part(r, at + 1, true, true));
    } else if (from <= to) {
        if (low)
            ways[n++] = constrain_two(r->c, digits(r, from, from), part(r, at + 1, true, false));
        if (high)
            ways[n++] = constrain_two(r->c, digits(r, to, to), part(r, at + 1, false, true));
        unsigned first = from + low, last = to - high;
        if (first <= last && last <= 9)
            ways[n++] = constrain_two(r->c, digits(r, first, last),
                                      any_digits(r, 0, left == NO_LIMIT ? NO_LIMIT : left - 1));
    }
    return grammar_choice(r->c->b, ways, n);
}

/* The digits before the point are written. */
static uint32_t behind_whole(struct range *r, bool low, bool high) {
    uint32_t end = may_end(r, 0, low, high) ? empty(r->c) : constrain_nothing(r->c);
    if (r->max_part == 0)
        return end;
    return constrain_either(r->c, end, constrain_two(r->c, constrain_text(r->c, "."), part(r, 0, low, high)));
}

static uint32_t whole(struct range *r, int at, bool low, bool high) {
    if (at == r->length)
        return behind_whole(r, low, high);
    if (!low && !high) {
        uint32_t left = (uint32_t)(r->length - at), rest = behind_whole(r, false, false);
        if (at == 0 && left > 1) /* no zero at the front */
            return constrain_three(r->c, digits(r, 1, 9), any_digits(r, left - 1, left - 1), rest);
        return constrain_two(r->c, any_digits(r, left, left), rest);
    }
    unsigned from = low ? r->low.whole[at] : at == 0 && r->length > 1, to = high ? r->high.whole[at] : 9;
    uint32_t ways[3];
    uint32_t n = 0;
    if (low && high && from == to) {
        ways[n++] = constrain_two(r->c, digits(r, from, to), whole(r, at + 1, true, true));
    } else if (from <= to) {
        if (low)
            ways[n++] = constrain_two(r->c, digits(r, from, from), whole(r, at + 1, true, false));
        if (high)
            ways[n++] = constrain_two(r->c, digits(r, to, to), whole(r, at + 1, false, true));
        unsigned first = from + low, last = to - high;
        if (first <= last && last <= 9)
            ways[n++] = constrain_two(r->c, digits(r, first, last), whole(r, at + 1, false, false));
    }
    return grammar_choice(r->c->b, ways, n);
}

/* Magnitudes from low to high. */
static uint32_t magnitudes(struct range *r) {
    uint32_t ways[DIGITS_MAX + 2];
    uint32_t n = 0;
    int last = r->high.none ? r->low.n_whole : r->high.n_whole;
    for (int length = r->low.n_whole; length <= last; length++) {
        r->length = length;
        ways[n++] = whole(r, 0, length == r->low.n_whole, !r->high.none && length == r->high.n_whole);
    }
    if (r->high.none && (uint32_t)last < r->max_whole) {
        uint32_t more = r->max_whole == NO_LIMIT ? NO_LIMIT : r->max_whole - 1;
        ways[n++] = constrain_three(r->c, digits(r, 1, 9), any_digits(r, (uint32_t)last, more),
                                    behind_whole(r, false, false));
    }
    return grammar_choice(r->c->b, ways, n);
}

/* ---- what is asked for ---- */

struct asked {
    struct schema_bound lower, upper;
    uint32_t max_part;
};

static void tighten(struct schema_bound *mine, const struct schema_bound *other, int sign) {
    if (other->value == NULL)
        return;
    int c = mine->value == NULL ? -sign : decimal_compare(mine->value, other->value);
    if (c * sign < 0 || (c == 0 && other->exclusive))
        *mine = *other;
}

static void gather(struct constrain *c, const struct unit *atoms, bool integer, struct asked *out) {
    *out = (struct asked){.max_part = integer ? 0 : c->whole ? NO_LIMIT : DIGITS_WRITTEN};
    for (size_t i = 0; i < atoms->n; i++) {
        const struct schema_node *s = atoms->at[i];
        tighten(&out->lower, &s->lower, 1);
        tighten(&out->upper, &s->upper, -1);
        if (s->multiple_of == NULL)
            continue;
        /* A power of ten says how many digits there may be behind the point. */
        const struct decimal *m = s->multiple_of;
        bool power =
            m->n_digits == 1 && m->digits[0] == '1' && m->exponent <= 0 && m->exponent >= -DIGITS_MAX;
        uint32_t part_digits = power ? (uint32_t)-m->exponent : 0;
        c->place = s->place;
        if (!power)
            constrain_note(c, "multipleOf that is no power of ten");
        else if (part_digits < out->max_part)
            out->max_part = part_digits;
    }
}

/* No bounds: any spelling. */
static uint32_t unbounded(struct constrain *c, struct range *r, const struct asked *asked) {
    uint32_t more = r->max_whole == NO_LIMIT ? NO_LIMIT : r->max_whole - 1;
    uint32_t minus = grammar_repeat(c->b, constrain_text(c, "-"), 0, 1);
    uint32_t large = constrain_two(c, digits(r, 1, 9), any_digits(r, 0, more));
    uint32_t number = constrain_two(c, minus, constrain_either(c, digits(r, 0, 0), large));
    if (asked->max_part == 0)
        return number;
    uint32_t behind = constrain_two(c, constrain_text(c, "."), any_digits(r, 1, asked->max_part));
    number = constrain_two(c, number, grammar_repeat(c->b, behind, 0, 1));
    if (asked->max_part != (c->whole ? NO_LIMIT : DIGITS_WRITTEN))
        return number;
    uint32_t e = constrain_either(c, constrain_text(c, "e"), constrain_text(c, "E"));
    uint32_t sign =
        grammar_repeat(c->b, constrain_either(c, constrain_text(c, "+"), constrain_text(c, "-")), 0, 1);
    uint32_t power = any_digits(r, 1, c->whole ? 9 : EXPONENT_DIGITS);
    return constrain_two(c, number, grammar_repeat(c->b, constrain_three(c, e, sign, power), 0, 1));
}

static bool set_low(struct range *r, const struct schema_bound *bound) {
    r->low = (struct plain){.n_whole = 1};
    return bound == NULL || into_plain(bound->value, bound->exclusive, &r->low);
}

static bool set_high(struct range *r, const struct schema_bound *bound) {
    r->high = (struct plain){.none = true};
    if (bound == NULL)
        return true;
    if (!into_plain(bound->value, bound->exclusive, &r->high))
        return false;
    if ((uint32_t)r->high.n_whole > r->max_whole) /* more than may be written */
        r->high = (struct plain){.none = true};
    return true;
}

static bool is_negative(const struct schema_bound *b) {
    return b->value != NULL && b->value->negative;
}

static bool is_zero(const struct schema_bound *b) {
    return b->value != NULL && b->value->n_digits == 0;
}

uint32_t constrain_number(struct constrain *c, const struct unit *atoms, bool integer) {
    struct asked asked;
    struct range *r = calloc(1, sizeof *r);
    if (r == NULL) {
        c->status = -ENOMEM;
        return GRAMMAR_NONE;
    }
    gather(c, atoms, integer, &asked);
    *r =
        (struct range){.c = c, .max_part = asked.max_part, .max_whole = c->whole ? NO_LIMIT : DIGITS_WRITTEN};
    uint32_t e;
    if (asked.lower.value == NULL && asked.upper.value == NULL) {
        e = unbounded(c, r, &asked);
        free(r);
        return e;
    }
    uint32_t ways[2] = {constrain_nothing(c), constrain_nothing(c)};
    bool ok = true;
    /* From zero up: as far as the lower bound is not above and the upper not below. */
    if (!is_negative(&asked.upper) && !(is_zero(&asked.upper) && asked.upper.exclusive)) {
        bool from_zero = asked.lower.value == NULL || is_negative(&asked.lower);
        ok = set_low(r, from_zero ? NULL : &asked.lower) &&
             set_high(r, asked.upper.value != NULL ? &asked.upper : NULL);
        if (ok)
            ways[0] = magnitudes(r);
    }
    /* Below zero: the magnitudes the other way round. */
    if (ok && (asked.lower.value == NULL || is_negative(&asked.lower))) {
        ok = set_low(r, is_negative(&asked.upper) ? &asked.upper : NULL) &&
             set_high(r, asked.lower.value != NULL ? &asked.lower : NULL);
        r->low.exclusive = r->low.exclusive || !is_negative(&asked.upper);
        if (ok)
            ways[1] = constrain_two(c, constrain_text(c, "-"), magnitudes(r));
    }
    if (!ok) {
        constrain_note(c, "a bound of more than 100 digits");
        e = unbounded(c, r, &asked);
    } else {
        e = grammar_choice(c->b, ways, 2);
    }
    free(r);
    return e;
}
