/* The calculator's functions and its power operator. [any-thread] */
#ifndef PLUGINS_CALCULATOR_FUNCTIONS_H
#define PLUGINS_CALCULATOR_FUNCTIONS_H

#include "plugins/calculator_decimal.h"

#include <stddef.h>

struct calculator_function {
    const char *name;
    int min_args, max_args;
    /* args[0] becomes the result: 0 or -1 with one sentence in err. */
    int (*apply)(struct decimal *args, int count, char *err, size_t errlen);
};
/* NULL when there is no such function. */
const struct calculator_function *calculator_find_function(const char *name, size_t len);
/* base becomes base^exponent: 0 or -1 with one sentence. */
int calculator_raise(struct decimal *base, const struct decimal *exponent, char *err, size_t errlen);
/* The sentence for a status of calculator_decimal.h; returns -1 for a failure, 0 for 0. */
int calculator_explain(int status, char *err, size_t errlen);
/* pi or e to 34 digits; 0 or -1 when the name is neither. */
int calculator_constant(const char *name, size_t len, struct decimal *out);

#endif
