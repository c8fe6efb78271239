/* What every command line has in common. [any-thread] */
#ifndef BASE_HELP_H
#define BASE_HELP_H

#include <stdbool.h>
#include <string.h>

/* Whether `--help` or `-h` is among the arguments behind the first, up to `--`: then the usage is what was
 * asked for, goes to standard output, and is no failure. */
static inline bool help_is_wanted(int argc, char *const *argv) {
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

#endif
