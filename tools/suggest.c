#include "tools/suggest.h"

#include <string.h>

#define NAME_MAX_BYTES 64

static char folded(char c) {
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c == '-' ? '_' : c;
}

static size_t min3(size_t a, size_t b, size_t c) {
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Edits (insert, delete, replace, swap two neighbours) between two names of at most NAME_MAX_BYTES: the
 * optimal string alignment distance. */
static size_t distance(const char *a, size_t an, const char *b, size_t bn) {
    size_t rows[3][NAME_MAX_BYTES + 1];
    for (size_t j = 0; j <= bn; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= an; i++) {
        size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= bn; j++) {
            char x = folded(a[i - 1]), y = folded(b[j - 1]);
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == folded(b[j - 2]) && y == folded(a[i - 2]) &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
    }
    return rows[an % 3][bn];
}

const char *suggest_name(const char *wrong, size_t count, const char *(*name_at)(const void *arg, size_t i),
                         const void *arg) {
    const char *best = NULL;
    size_t wrong_len = strlen(wrong), least = 0;
    if (wrong_len == 0 || wrong_len > NAME_MAX_BYTES)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        const char *name = name_at(arg, i);
        size_t len = strlen(name);
        if (len == 0 || len > NAME_MAX_BYTES)
            continue;
        size_t d = distance(wrong, wrong_len, name, len), longer = len > wrong_len ? len : wrong_len;
        if (3 * d <= longer && (best == NULL || d < least)) {
            best = name;
            least = d;
        }
    }
    return best;
}
