/* SHA-256 (FIPS 180-4), for comparing a file with the sum that its publisher gives. Not for secrets.
 * [any-thread, one at a time per struct] */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

struct sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes so far */
    uint8_t block[64];
};

void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *bytes, size_t n);
/* The sum of everything added; `s` is spent. */
void sha256_end(struct sha256 *s, uint8_t sum[SHA256_BYTES]);

#endif
