#include "tools/regex_build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SURROGATE_FIRST 0xD800u
#define SURROGATE_LAST  0xDFFFu

void regex_set_add(struct regex_set *set, uint32_t first, uint32_t last) {
    if (set->status != 0)
        return;
    if (set->n == set->cap) {
        size_t cap = set->cap == 0 ? 8 : set->cap * 2;
        struct regex_range *ranges = realloc(set->ranges, cap * sizeof *ranges);
        if (ranges == NULL) {
            set->status = -ENOMEM;
            return;
        }
        set->ranges = ranges;
        set->cap = cap;
    }
    set->ranges[set->n++] = (struct regex_range){first, last};
}

static int by_first(const void *a, const void *b) {
    uint32_t x = ((const struct regex_range *)a)->first, y = ((const struct regex_range *)b)->first;
    return x < y ? -1 : x > y;
}

static void merge(struct regex_set *set) {
    size_t n = 0;
    if (set->n > 1)
        qsort(set->ranges, set->n, sizeof *set->ranges, by_first);
    for (size_t i = 0; i < set->n; i++) {
        struct regex_range r = set->ranges[i];
        if (n > 0 && r.first <= set->ranges[n - 1].last + 1) {
            if (r.last > set->ranges[n - 1].last)
                set->ranges[n - 1].last = r.last;
        } else {
            set->ranges[n++] = r;
        }
    }
    set->n = n;
}

/* The set becomes what is not in it. */
static void complement(struct regex_set *set) {
    struct regex_set other = {.status = set->status};
    uint32_t next = 0;
    merge(set);
    for (size_t i = 0; i < set->n; i++) {
        if (set->ranges[i].first > next)
            regex_set_add(&other, next, set->ranges[i].first - 1);
        next = set->ranges[i].last + 1;
    }
    if (next <= REGEX_LAST)
        regex_set_add(&other, next, REGEX_LAST);
    free(set->ranges);
    *set = other;
}

void regex_set_finish(struct regex_set *set, bool negate) {
    if (!negate)
        complement(set);
    regex_set_add(set, SURROGATE_FIRST, SURROGATE_LAST);
    complement(set);
}

bool regex_set_add_class(struct regex_set *set, char letter) {
    static const struct regex_range digits[] = {{'0', '9'}},
                                    words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                                    spaces[] = {{'\t', '\r'},     {' ', ' '},       {0xA0, 0xA0},
                                                {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029},
                                                {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000},
                                                {0xFEFF, 0xFEFF}};
    const struct regex_range *ranges = NULL;
    struct regex_set one = {0};
    size_t n = 0;
    char lower = (char)(letter | 0x20);
    if (lower == 'd')
        ranges = digits, n = sizeof digits / sizeof digits[0];
    else if (lower == 'w')
        ranges = words, n = sizeof words / sizeof words[0];
    else if (lower == 's')
        ranges = spaces, n = sizeof spaces / sizeof spaces[0];
    else
        return false;
    for (size_t i = 0; i < n; i++)
        regex_set_add(&one, ranges[i].first, ranges[i].last);
    if (letter != lower)
        complement(&one);
    for (size_t i = 0; i < one.n; i++)
        regex_set_add(set, one.ranges[i].first, one.ranges[i].last);
    if (one.status != 0)
        set->status = one.status;
    free(one.ranges);
    return true;
}
