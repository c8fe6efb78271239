/* Arithmetic of tensor cores, and where a warp's lanes keep the elements of its matrices. */
#include "tests/emulator/block.h"

#include "kernels/cpu/convert.h"

#include <string.h>

float numbers_bf16(uint16_t h) {
    return convert_bf16_to_f32(h);
}

float numbers_f16(uint16_t h) {
    return convert_f16_to_f32(h);
}

static float element(enum emu_mma type, uint32_t word, int half) {
    uint16_t bits = (uint16_t)(word >> (16 * half));
    return type == EMU_MMA_BF16 ? numbers_bf16(bits) : numbers_f16(bits);
}

/* Row and column of register r of lane l in the 16 x 8 accumulator. */
static int row_of(int l, int r) {
    return l / 4 + r / 2 * 8;
}

static int column_of(int l, int r) {
    return l % 4 * 2 + r % 2;
}

static void mma_float(enum emu_mma type, struct lane *lanes) {
    float a[16][16], b[16][8];
    for (int l = 0; l < EMU_WARP; l++) {
        for (int r = 0; r < 4; r++)
            for (int h = 0; h < 2; h++)
                a[l / 4 + r % 2 * 8][l % 4 * 2 + h + r / 2 * 8] = element(type, lanes[l].a[r], h);
        for (int r = 0; r < 2; r++)
            for (int h = 0; h < 2; h++)
                b[l % 4 * 2 + h + r * 8][l / 4] = element(type, lanes[l].b[r], h);
    }
    for (int l = 0; l < EMU_WARP; l++)
        for (int r = 0; r < 4; r++) {
            float sum;
            memcpy(&sum, &lanes[l].d[r], sizeof sum);
            for (int k = 0; k < 16; k++)
                sum += a[row_of(l, r)][k] * b[k][column_of(l, r)];
            memcpy(&lanes[l].d[r], &sum, sizeof sum);
        }
}

static void mma_s8(struct lane *lanes) {
    int8_t a[16][32], b[32][8];
    for (int l = 0; l < EMU_WARP; l++) {
        for (int r = 0; r < 4; r++)
            for (int i = 0; i < 4; i++)
                a[l / 4 + r % 2 * 8][l % 4 * 4 + i + r / 2 * 16] = (int8_t)(lanes[l].a[r] >> (8 * i));
        for (int r = 0; r < 2; r++)
            for (int i = 0; i < 4; i++)
                b[l % 4 * 4 + i + r * 16][l / 4] = (int8_t)(lanes[l].b[r] >> (8 * i));
    }
    for (int l = 0; l < EMU_WARP; l++)
        for (int r = 0; r < 4; r++) {
            uint32_t sum = lanes[l].d[r]; /* wraps like the hardware's */
            for (int k = 0; k < 32; k++)
                sum += (uint32_t)((int)a[row_of(l, r)][k] * (int)b[k][column_of(l, r)]);
            lanes[l].d[r] = sum;
        }
}

void numbers_mma(enum emu_mma type, struct lane *lanes) {
    if (type == EMU_MMA_S8)
        mma_s8(lanes);
    else
        mma_float(type, lanes);
}
