/* The script file of the scripted engine, read. Private to engine/. */
#ifndef ENGINE_SCRIPT_H
#define ENGINE_SCRIPT_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct script_entry {
    char *match;
    char **turns;
    int n_turns;
    bool repeat;
    int delay_ms;
    char *fail; /* NULL: turns end normally */
};

struct script {
    struct script_entry *entries;
    int n_entries;
    int chunk; /* 1 to 3 bytes */
};

/* See engine/scripted.h. *out is the caller's. */
HX_MUST_CHECK int script_read(const char *path, struct script **out, char *err, size_t errlen);
void script_free(struct script *s);
/* First entry whose match occurs in text (NUL-terminated); NULL for none. */
const struct script_entry *script_find(const struct script *s, const char *text);

#endif
