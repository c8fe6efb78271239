#include "kernels/gpus.h"

#include <errno.h>
#include <stdbool.h>

/* A number of at most two digits; -1 for what is none. */
static int take_number(const char **text) {
    int n = 0, digits = 0;
    for (; **text >= '0' && **text <= '9' && digits < 3; (*text)++, digits++)
        n = n * 10 + (**text - '0');
    return digits == 0 || n > GPUS_LARGEST ? -1 : n;
}

static bool has(const struct gpus *g, int id) {
    for (int i = 0; i < g->n; i++)
        if (g->ids[i] == id)
            return true;
    return false;
}

int gpus_parse(const char *text, struct gpus *out) {
    struct gpus g = {0};
    for (;; text++) {
        int id = take_number(&text);
        if (id < 0 || g.n == GPUS_MAX || has(&g, id) || (*text != ',' && *text != '\0'))
            return -EINVAL;
        g.ids[g.n++] = id;
        if (*text == '\0')
            break;
    }
    *out = g;
    return 0;
}

int gpus_count(const struct gpus *g) {
    return g->n > 0 ? g->n : 1;
}

int gpus_id(const struct gpus *g, int i) {
    return g->n > 0 ? g->ids[i] : 0;
}
