#include "kernels/cpu/pack.h"

#include "kernels/cpu/convert.h"
#include "kernels/dtype.h"

size_t pack_bytes(enum dtype type, int64_t rows, int64_t cols) {
    return (size_t)((rows + PACK_ROWS - 1) / PACK_ROWS * PACK_ROWS) * convert_row_bytes(type, cols);
}

/* `units` parts of n bytes of one row, to every sixteenth place. */
static void spread(const uint8_t *from, int units, size_t n, uint8_t *to) {
    for (int i = 0; i < units; i++)
        memcpy(to + (size_t)i * n * PACK_ROWS, from + (size_t)i * n, n);
}

/* Bytes of a stored block, no numbers in F16, that are together in the rest of it too; the last has none. */
static const struct run {
    int from, bytes;
} runs[DTYPE_COUNT][6] = {
    [DTYPE_Q8_0] = {{2, 32}},           [DTYPE_Q4_0] = {{2, 16}},
    [DTYPE_Q4_1] = {{4, 16}},           [DTYPE_Q5_0] = {{2, 20}},
    [DTYPE_Q5_1] = {{4, 20}},           [DTYPE_Q2_K] = {{0, 80}},
    [DTYPE_Q3_K] = {{0, 96}, {96, 12}}, [DTYPE_Q4_K] = {{4, 140}},
    [DTYPE_Q5_K] = {{4, 172}},          [DTYPE_Q6_K] = {{0, 64}, {64, 64}, {128, 32}, {160, 32}, {192, 16}},
};

/* A group of `n` blocks of row r of a strip. */
static void pack_group(enum dtype type, const uint8_t *from, int n, int r, uint8_t *to) {
    const int bytes = dtype_info(type)->block_bytes, n_halves = pack_halves(type);
    uint8_t *rest = to + n * n_halves * PACK_ROWS + 4 * r;
    for (int b = 0; b < n; b++, from += bytes, rest += (bytes - n_halves) * PACK_ROWS) {
        spread(from + pack_halves_at(type), n_halves / 2, 2, to + b * n_halves * PACK_ROWS + 2 * r);
        for (const struct run *run = runs[type]; run->bytes > 0; run++)
            spread(from + run->from, run->bytes / 4, 4, rest + pack_place(type, run->from) * PACK_ROWS);
    }
}

void pack_rows(enum dtype type, const void *from, int64_t rows, int64_t cols, void *to) {
    const struct dtype_info *info = dtype_info(type);
    const size_t row_bytes = convert_row_bytes(type, cols), block = (size_t)info->block_bytes;
    const size_t group = info->block_elements == 32 ? PACK_GROUP * block : block;
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
                for (size_t at = 0; at < row_bytes; at += group) {
                    size_t blocks = (row_bytes - at < group ? row_bytes - at : group) / block;
                    pack_group(type, row + at, (int)blocks, r, strip + at * PACK_ROWS);
                }
        }
    }
}
