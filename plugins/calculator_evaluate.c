#include "plugins/calculator_evaluate.h"

#include "plugins/calculator_functions.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64 /* of parentheses, signs and powers inside one another */
#define STACK_MAX (DEPTH_MAX * 4 + 64)

/* Operands live on a stack of our own, two kilobytes each, so that the C stack stays small. */
struct evaluation {
    const char *at, *end, *start;
    struct decimal *stack;
    int top, depth;
    int failed;
    char *err;
    size_t errlen;
};

static int evaluate_sum(struct evaluation *e);

/* The first failure is the one that is told. */
static int evaluate_fail(struct evaluation *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int evaluate_fail(struct evaluation *e, const char *format, ...) {
    if (!e->failed) {
        va_list args;
        va_start(args, format);
        vsnprintf(e->err, e->errlen, format, args);
        va_end(args);
    }
    e->failed = 1;
    return -1;
}

static int evaluate_told(struct evaluation *e, int status) {
    if (status != 0)
        e->failed = 1; /* the callee has written the sentence */
    return status;
}

static struct decimal *evaluate_push(struct evaluation *e) {
    if (e->top == STACK_MAX) {
        (void)evaluate_fail(e, "the expression is nested too deep");
        return NULL;
    }
    return &e->stack[e->top++];
}

/* Character number of a place, from 1. */
static int evaluate_position(const struct evaluation *e, const char *at) {
    int position = 1;
    for (const char *p = e->start; p < at; p++)
        position += (*p & 0xC0) != 0x80;
    return position;
}

static void evaluate_skip_space(struct evaluation *e) {
    while (e->at < e->end && (*e->at == ' ' || *e->at == '\t' || *e->at == '\n' || *e->at == '\r'))
        e->at++;
}

static int is_digit(const char *at, const char *end) {
    return at < end && *at >= '0' && *at <= '9';
}

static int is_letter(const char *at, const char *end) {
    return at < end && ((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '_');
}

static int has_prefix(const struct evaluation *e, const char *text) {
    size_t n = strlen(text);
    return (size_t)(e->end - e->at) >= n && memcmp(e->at, text, n) == 0;
}

/* The operator at the cursor as one of + - * / ^ % and its length in bytes, or 0. */
static char evaluate_operator(struct evaluation *e, int *len) {
    static const struct {
        const char *text;
        char op;
    } spellings[] = {{"**", '^'}, {"+", '+'}, {"-", '-'},        {"*", '*'},        {"/", '/'},
                     {"^", '^'},  {"%", '%'}, {"\xc3\x97", '*'}, {"\xc3\xb7", '/'}, {"\xe2\x88\x92", '-'}};
    evaluate_skip_space(e);
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++)
        if (has_prefix(e, spellings[i].text)) {
            *len = (int)strlen(spellings[i].text);
            return spellings[i].op;
        }
    return 0;
}

/* "2,340": tells the number without its separators. */
static int fail_separator(struct evaluation *e) {
    const char *first = e->at, *p;
    char number[32];
    size_t n = 0;
    while (first > e->start && (is_digit(first - 1, e->end) || first[-1] == '.'))
        first--;
    for (p = first; is_digit(p, e->end) || (*p == '.' && p < e->end) ||
                    (p < e->end && *p == ',' && is_digit(p + 1, e->end));
         p++)
        if (*p != ',' && n + 1 < sizeof number)
            number[n++] = *p;
    number[n] = '\0';
    if (first == e->at || !is_digit(e->at + 1, e->end))
        return evaluate_fail(e, "unexpected ',' at %d", evaluate_position(e, e->at));
    return evaluate_fail(e, "unexpected ',' at %d, write %s without separators", evaluate_position(e, e->at),
                         number);
}

/* Tells what stands at the cursor: a whole word, or one character. */
static int fail_unexpected(struct evaluation *e) {
    evaluate_skip_space(e);
    if (e->at == e->end)
        return evaluate_fail(e, e->start == e->end ? "the expression is empty"
                                                   : "the expression ends too early");
    if (*e->at == ',')
        return fail_separator(e);
    if ((unsigned char)*e->at < 0x20 || *e->at == 0x7f)
        return evaluate_fail(e, "unexpected control character at %d", evaluate_position(e, e->at));
    const char *p = e->at + 1;
    if (is_letter(e->at, e->end))
        while (is_letter(p, e->end) || is_digit(p, e->end))
            p++;
    else
        while (p < e->end && (*p & 0xC0) == 0x80)
            p++;
    int len = p - e->at > 40 ? 40 : (int)(p - e->at);
    const char *before = e->at;
    while (before > e->start && before[-1] == ' ')
        before--;
    int after_percent = before > e->start && before[-1] == '%' && !is_letter(e->at, e->end);
    return evaluate_fail(e,
                         after_percent ? "unexpected '%.*s' at %d, for a remainder write mod(a, b)"
                                       : "unexpected '%.*s' at %d",
                         len, e->at, evaluate_position(e, e->at));
}

static int evaluate_number(struct evaluation *e) {
    const char *first = e->at, *p = first;
    while (is_digit(p, e->end) || (p < e->end && *p == '.'))
        p++;
    if (p < e->end && (*p == 'e' || *p == 'E')) {
        const char *power = p + 1;
        if (power < e->end && (*power == '-' || *power == '+'))
            power++;
        if (is_digit(power, e->end))
            for (p = power; is_digit(p, e->end);)
                p++;
    }
    struct decimal *value = evaluate_push(e);
    if (value == NULL)
        return -1;
    int status = decimal_parse(value, first, (size_t)(p - first));
    if (status == -EINVAL)
        return evaluate_fail(e, "'%.*s' at %d is not a number", p - first > 40 ? 40 : (int)(p - first), first,
                             evaluate_position(e, first));
    if (status != 0)
        return evaluate_fail(e, "the number at %d is too long", evaluate_position(e, first));
    e->at = p;
    return 0;
}

static int evaluate_close(struct evaluation *e) {
    evaluate_skip_space(e);
    if (e->at == e->end)
        return evaluate_fail(e, "a ')' is missing at the end");
    if (*e->at != ')')
        return fail_unexpected(e);
    e->at++;
    return 0;
}

static int evaluate_call(struct evaluation *e, const struct calculator_function *function) {
    int first = e->top, count = 0;
    for (;;) {
        if (evaluate_sum(e) != 0)
            return -1;
        count++;
        evaluate_skip_space(e);
        if (e->at == e->end || *e->at != ',')
            break;
        if (count == function->max_args)
            return function->max_args == 1
                       ? fail_separator(e)
                       : evaluate_fail(e, "%s takes at most %d values", function->name, function->max_args);
        e->at++;
    }
    if (evaluate_close(e) != 0)
        return -1;
    if (count < function->min_args)
        return evaluate_fail(e, "%s needs %d values", function->name, function->min_args);
    e->top = first + 1;
    return evaluate_told(e, function->apply(&e->stack[first], count, e->err, e->errlen));
}

static int evaluate_name(struct evaluation *e) {
    const char *name = e->at;
    while (is_letter(e->at, e->end) || is_digit(e->at, e->end))
        e->at++;
    size_t len = (size_t)(e->at - name);
    int shown = len > 40 ? 40 : (int)len;
    evaluate_skip_space(e);
    int call = e->at < e->end && *e->at == '(';
    const struct calculator_function *function = calculator_find_function(name, len);
    if (call && function != NULL) {
        e->at++;
        return evaluate_call(e, function);
    }
    if (call)
        return evaluate_fail(e, "unknown function '%.*s'", shown, name);
    if (function != NULL)
        return evaluate_fail(e, "%s needs its value in parentheses", function->name);
    struct decimal *value = evaluate_push(e);
    if (value == NULL)
        return -1;
    if (calculator_constant(name, len, value) != 0)
        return evaluate_fail(e, "unknown name '%.*s' at %d", shown, name, evaluate_position(e, name));
    return 0;
}

static int evaluate_primary(struct evaluation *e) {
    evaluate_skip_space(e);
    if (is_digit(e->at, e->end) || (e->at < e->end && *e->at == '.'))
        return evaluate_number(e);
    if (is_letter(e->at, e->end))
        return evaluate_name(e);
    if (e->at == e->end || *e->at != '(')
        return fail_unexpected(e);
    e->at++;
    return evaluate_sum(e) != 0 ? -1 : evaluate_close(e);
}

static int evaluate_postfix(struct evaluation *e) {
    if (evaluate_primary(e) != 0)
        return -1;
    int len;
    while (evaluate_operator(e, &len) == '%') {
        struct decimal *value = &e->stack[e->top - 1], hundredth;
        e->at += len;
        (void)decimal_parse(&hundredth, "0.01", 4);
        if (evaluate_told(
                e, calculator_explain(decimal_multiply(value, value, &hundredth), e->err, e->errlen)) != 0)
            return -1;
    }
    return 0;
}

static int evaluate_unary(struct evaluation *e) {
    if (++e->depth > DEPTH_MAX)
        return evaluate_fail(e, "the expression is nested deeper than %d", DEPTH_MAX);
    int len, status;
    char op = evaluate_operator(e, &len);
    if (op == '-' || op == '+') {
        e->at += len;
        status = evaluate_unary(e);
        if (status == 0 && op == '-')
            decimal_negate(&e->stack[e->top - 1]);
    } else {
        status = evaluate_postfix(e);
        if (status == 0 && evaluate_operator(e, &len) == '^') {
            e->at += len;
            status = evaluate_unary(e);
            if (status == 0) {
                e->top--;
                status = evaluate_told(
                    e, calculator_raise(&e->stack[e->top - 1], &e->stack[e->top], e->err, e->errlen));
            }
        }
    }
    e->depth--;
    return status;
}

static int evaluate_apply(struct evaluation *e, char op) {
    e->top--;
    struct decimal *a = &e->stack[e->top - 1];
    const struct decimal *b = &e->stack[e->top];
    int status = op == '+'   ? decimal_add(a, a, b)
                 : op == '-' ? decimal_subtract(a, a, b)
                 : op == '*' ? decimal_multiply(a, a, b)
                             : decimal_divide(a, a, b, DECIMAL_PRECISION);
    return evaluate_told(e, calculator_explain(status, e->err, e->errlen));
}

static int evaluate_product(struct evaluation *e) {
    int len;
    if (evaluate_unary(e) != 0)
        return -1;
    for (char op = evaluate_operator(e, &len); op == '*' || op == '/'; op = evaluate_operator(e, &len)) {
        e->at += len;
        if (evaluate_unary(e) != 0 || evaluate_apply(e, op) != 0)
            return -1;
    }
    return 0;
}

static int evaluate_sum(struct evaluation *e) {
    int len;
    if (evaluate_product(e) != 0)
        return -1;
    for (char op = evaluate_operator(e, &len); op == '+' || op == '-'; op = evaluate_operator(e, &len)) {
        e->at += len;
        if (evaluate_product(e) != 0 || evaluate_apply(e, op) != 0)
            return -1;
    }
    return 0;
}

int calculator_evaluate(const char *text, size_t len, char *out, char *err, size_t errlen) {
    if (len > CALCULATOR_TEXT_MAX) {
        snprintf(err, errlen, "the expression is longer than %d bytes", CALCULATOR_TEXT_MAX);
        return -EINVAL;
    }
    struct evaluation e = {.at = text, .start = text, .end = text + len, .err = err, .errlen = errlen};
    e.stack = malloc(STACK_MAX * sizeof *e.stack);
    if (e.stack == NULL) {
        snprintf(err, errlen, "no memory for the calculation");
        return -ENOMEM;
    }
    int status = evaluate_sum(&e);
    if (status == 0) {
        evaluate_skip_space(&e);
        if (e.at < e.end)
            status = fail_unexpected(&e);
    }
    if (status == 0)
        decimal_format(&e.stack[0], out);
    free(e.stack);
    return status == 0 ? 0 : -EINVAL;
}
