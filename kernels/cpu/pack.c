#include "kernels/cpu/pack.h"

#include "kernels/cpu/convert.h"
#include "kernels/dtype.h"

/* Bytes of a block that are numbers in F16: [from, to), or none. Everything else comes in fours. */
struct halves {
    int from, to;
};

static struct halves halves_of(enum dtype type) {
    static const struct halves where[DTYPE_COUNT] = {
        [DTYPE_Q8_0] = {0, 2},     [DTYPE_Q4_0] = {0, 2},    [DTYPE_Q4_1] = {0, 4}, [DTYPE_Q5_0] = {0, 2},
        [DTYPE_Q5_1] = {0, 4},     [DTYPE_Q2_K] = {80, 84},  [DTYPE_Q4_K] = {0, 4}, [DTYPE_Q5_K] = {0, 4},
        [DTYPE_Q3_K] = {108, 110}, [DTYPE_Q6_K] = {208, 210}};
    return where[type];
}

size_t pack_bytes(enum dtype type, int64_t rows, int64_t cols) {
    return (size_t)((rows + PACK_ROWS - 1) / PACK_ROWS * PACK_ROWS) * convert_row_bytes(type, cols);
}

/* `units` parts of n bytes of one row, to every sixteenth place. */
static void spread(const uint8_t *from, int units, size_t n, uint8_t *to) {
    for (int i = 0; i < units; i++)
        memcpy(to + (size_t)i * n * PACK_ROWS, from + (size_t)i * n, n);
}

/* One block of row r of a strip. */
static void pack_block(const uint8_t *from, int bytes, struct halves halves, int r, uint8_t *to) {
    spread(from, halves.from / 4, 4, to + 4 * r);
    spread(from + halves.from, (halves.to - halves.from) / 2, 2, to + halves.from * PACK_ROWS + 2 * r);
    spread(from + halves.to, (bytes - halves.to) / 4, 4, to + halves.to * PACK_ROWS + 4 * r);
}

void pack_rows(enum dtype type, const void *from, int64_t rows, int64_t cols, void *to) {
    const struct dtype_info *info = dtype_info(type);
    const size_t row_bytes = convert_row_bytes(type, cols), block = (size_t)info->block_bytes;
    const struct halves halves = halves_of(type);
    uint8_t *strip = to;
    for (int64_t first = 0; first < rows; first += PACK_ROWS, strip += PACK_ROWS * row_bytes) {
        int n = rows - first < PACK_ROWS ? (int)(rows - first) : PACK_ROWS;
        if (n < PACK_ROWS)
            memset(strip, 0, PACK_ROWS * row_bytes);
        for (int r = 0; r < n; r++) {
            const uint8_t *row = (const uint8_t *)from + (size_t)(first + r) * row_bytes;
            if (info->block_elements == 1 && block == 4)
                spread(row, (int)cols, 4, strip + 4 * r);
            else if (info->block_elements == 1 && block == 2)
                spread(row, (int)cols, 2, strip + 2 * r);
            else if (info->block_elements == 1)
                spread(row, (int)cols, 1, strip + r);
            else
                for (size_t at = 0; at < row_bytes; at += block)
                    pack_block(row + at, (int)block, halves, r, strip + at * PACK_ROWS);
        }
    }
}
