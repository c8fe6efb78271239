#include "daemon/job_id.h"

#include "base/clock.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

void job_id_write(char id[31], int64_t unix_ms, const unsigned char random[10]) {
    memcpy(id, "job_", 4);
    for (int i = 0; i < 10; i++) {
        id[4 + i] = digits[(unix_ms >> (5 * (9 - i))) & 31];
    }
    /* 80 bits, five at a time. */
    for (int i = 0; i < 16; i++) {
        int bit = 5 * i;
        unsigned two = (unsigned)random[bit / 8] << 8 | (bit / 8 + 1 < 10 ? random[bit / 8 + 1] : 0u);
        id[14 + i] = digits[(two >> (11 - bit % 8)) & 31];
    }
    id[30] = '\0';
}

int job_id_make(char id[31], char trace_id[33]) {
    unsigned char random[26];
    ssize_t n = getrandom(random, sizeof random, 0);
    if (n != (ssize_t)sizeof random) {
        return -EIO;
    }
    job_id_write(id, clock_wall_ns() / 1000000, random);
    for (int i = 0; i < 16; i++) {
        snprintf(trace_id + 2 * i, 3, "%02x", random[10 + i]);
    }
    return 0;
}
