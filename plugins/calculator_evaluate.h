/* Evaluates one arithmetic expression, exactly where decimal arithmetic can be exact.
 *
 *   sum      = product { ("+" | "-") product }
 *   product  = unary { ("*" | "/") unary }
 *   unary    = ("-" | "+") unary | power
 *   power    = postfix [ ("^" | "**") unary ]          right-associative, above the unary minus: -2^2 is -4
 *   postfix  = primary { "%" }                          17% is 0.17
 *   primary  = number | "(" sum ")" | "pi" | "e" | function "(" sum { "," sum } ")"
 *   function = sqrt abs floor ceil round(x[, digits]) min max mod(a, b) ln log10 exp sin cos tan
 *
 * + - * and mod are exact up to 2,000 digits. Division and sqrt give 34 significant digits, rounded half to
 * even. Integer powers are exact; a power of a number with a fraction that would need more than 100 digits is
 * rounded to 34. Other powers and ln, log10, exp, sin, cos, tan give 15 significant digits. round() rounds
 * half away from zero. The characters × ÷ − are read as * / -. */
#ifndef PLUGINS_CALCULATOR_EVALUATE_H
#define PLUGINS_CALCULATOR_EVALUATE_H

#include "plugins/calculator_decimal.h"

#include <stddef.h>

#define CALCULATOR_TEXT_MAX 4096 /* bytes of an expression */

/* 0 and the value as text (room for DECIMAL_TEXT bytes), or -EINVAL with one sentence for the model;
 * positions count characters from 1. -ENOMEM too. [any-thread] */
int calculator_evaluate(const char *text, size_t len, char *out, char *err, size_t errlen);

#endif
