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

/* A group of `n` blocks of row r of a strip. */
static void pack_group(enum dtype type, const uint8_t *from, int n, int r, uint8_t *to) {
    const int bytes = dtype_info(type)->block_bytes, n_halves = pack_halves(type),
              begin = pack_halves_at(type);
    uint8_t *rest = to + n * n_halves * PACK_ROWS + 4 * r;
    for (int b = 0; b < n; b++, from += bytes, rest += (bytes - n_halves) * PACK_ROWS) {
        spread(from + begin, n_halves / 2, 2, to + b * n_halves * PACK_ROWS + 2 * r);
        for (int at = 0; at < begin; at += 4)
            memcpy(rest + pack_place(type, at) * PACK_ROWS, from + at, 4);
        for (int at = begin + n_halves; at < bytes; at += 4)
            memcpy(rest + pack_place(type, at) * PACK_ROWS, from + at, 4);
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
