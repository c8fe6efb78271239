/* Public data that lies beside the repository: ../shared/data, or the folder that HERMESD_SHARED names. */
#ifndef TESTS_SHARED_H
#define TESTS_SHARED_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The path of `name` in the shared data. Ends the program with 77 (skipped) and the reason when it is not
 * there: a test program that needs shared data needs it as a whole. */
static inline const char *shared_path(char out[4096], const char *name) {
    const char *root = getenv("HERMESD_SHARED");
    (void)snprintf(out, 4096, "%s/%s", root != NULL ? root : "../shared/data", name);
    if (access(out, R_OK) != 0) {
        (void)printf("skipped: there is no %s (HERMESD_SHARED names another folder)\n", out);
        exit(77);
    }
    return out;
}

#endif
