/* The inner loops of the products in F32: sixteen stored rows side by side (kernels/cpu/pack.h), a lane for
 * each, meet some inputs. Included by f32_products.h, whose comment says what is defined before.
 *
 * A row is cut into pieces of 256 elements. A piece of an output is one chain of fused multiply-adds in
 * ascending order that begins with 0; it is added to what the pieces before gave. No lane meets another, so
 * an output is the same bits whatever rows and inputs stand beside it, wherever its row lies, and however
 * many lanes a vector has: those of AVX2 and of AVX-512 are the same. */
#ifndef KERNELS_CPU_F32_TILE_H
#define KERNELS_CPU_F32_TILE_H

#include "kernels/cpu/f32_turn.h"

#include <string.h>

#define F32_PIECE  256
#define F32_STRIPS 4                       /* at most, at a time */
#define F32_PARTS  (PACK_ROWS / F32_LANES) /* vectors of an element of a strip */

/* Bytes of an element; known when compiled, unlike kernels/dtype.c's. */
F32_INLINE size_t f32_element_bytes(enum dtype type) {
    return type == DTYPE_F32 ? 4 : type == DTYPE_F8_E4M3 ? 1 : 2;
}

/* What a tile is given. */
struct f32_tile {
    const uint8_t *strip[F32_STRIPS]; /* where its piece of each strip begins */
    /* Lines that are asked for: those of the piece that will be wanted from there, sixteen parts of it, which
     * begin so many bytes from each other. NULL: none are. */
    const uint8_t *ask[F32_STRIPS];
    size_t ask_stride;
    size_t ask_further; /* unless 0: lines so many bytes behind those, into the second-level cache */
    size_t row_stride;  /* bytes from row to row, of those that lie by themselves */
    const float *x;     /* the piece of the first input */
    size_t x_stride;    /* bytes */
    int n;              /* elements */
    float *panel;       /* takes the first strip's in F32, where they are wanted */
    float *sums;        /* [strips][inputs][16], sum_stride floats from strip to strip */
    size_t sum_stride;
    bool first; /* piece of the row: sums are put there, and added otherwise */
};

/* What a kind of tile does beside. */
#define F32_ASK  1 /* for lines ahead */
#define F32_KEEP 2 /* fills the panel */

/* Element i of S strips times C inputs. */
F32_INLINE void f32_step(enum dtype type, int S, int C, int also, const struct f32_tile *t, int i,
                         f32_vector acc[F32_STRIPS][F32_PARTS][F32_INPUTS]) {
    const size_t bytes = f32_element_bytes(type);
    f32_vector w[F32_STRIPS][F32_PARTS];
    F32_UNROLL
    for (int s = 0; s < S; s++) {
        F32_UNROLL
        for (int p = 0; p < F32_PARTS; p++) {
            w[s][p] = f32_load(type, t->strip[s] + (size_t)(i * PACK_ROWS + p * F32_LANES) * bytes);
            if (also & F32_KEEP)
                f32_store(t->panel + i * PACK_ROWS + p * F32_LANES, w[s][p]);
        }
    }
    F32_UNROLL
    for (int c = 0; c < C; c++) {
        const char *x = (const char *)t->x + (size_t)c * t->x_stride;
        f32_vector in = f32_broadcast((const float *)(const void *)x + i);
        F32_UNROLL
        for (int s = 0; s < S; s++) {
            F32_UNROLL
            for (int p = 0; p < F32_PARTS; p++)
                acc[s][p][c] = f32_fma(w[s][p], in, acc[s][p][c]);
        }
    }
}

/* Addresses past the end of the weights do no harm. */
F32_INLINE void f32_ask(enum dtype type, int S, int steps, const struct f32_tile *t, int i) {
    const size_t bytes = f32_element_bytes(type) * PACK_ROWS;
    const size_t from = (size_t)(i / 16) * t->ask_stride + (size_t)(i % 16) * bytes;
    F32_UNROLL
    for (int s = 0; s < S; s++) {
        F32_UNROLL
        for (size_t line = 0; line < (size_t)steps * bytes; line += 64) {
            const uintptr_t at = (uintptr_t)t->ask[s] + from + line;
            _mm_prefetch((const char *)at, _MM_HINT_T0);
            if (t->ask_further > 0)
                _mm_prefetch((const char *)(at + t->ask_further), _MM_HINT_T1);
        }
    }
}

F32_INLINE void f32_no_sums(int S, int C, f32_vector acc[F32_STRIPS][F32_PARTS][F32_INPUTS]) {
    F32_UNROLL
    for (int s = 0; s < S; s++) {
        F32_UNROLL
        for (int j = 0; j < F32_PARTS * C; j++)
            acc[s][j % F32_PARTS][j / F32_PARTS] = f32_zero();
    }
}

F32_INLINE void f32_add_sums(int S, int C, const struct f32_tile *t,
                             f32_vector acc[F32_STRIPS][F32_PARTS][F32_INPUTS]) {
    F32_UNROLL
    for (int s = 0; s < S; s++) {
        F32_UNROLL
        for (int j = 0; j < F32_PARTS * C; j++) {
            float *sums = t->sums + (size_t)s * t->sum_stride + j * F32_LANES;
            f32_vector v = acc[s][j % F32_PARTS][j / F32_PARTS];
            f32_store(sums, t->first ? v : f32_add(f32_load(DTYPE_F32, (const uint8_t *)sums), v));
        }
    }
}

F32_INLINE void f32_tile(enum dtype type, int S, int C, int also, const struct f32_tile *given) {
    const struct f32_tile t = *given;
    enum { STEPS = 8 };
    f32_vector acc[F32_STRIPS][F32_PARTS][F32_INPUTS];
    f32_no_sums(S, C, acc);
    int i = 0;
    for (; i + STEPS <= t.n; i += STEPS) {
        if (also & F32_ASK && t.ask[0] != NULL)
            f32_ask(type, S, STEPS, &t, i);
        F32_UNROLL
        for (int j = 0; j < STEPS; j++)
            f32_step(type, S, C, also, &t, i + j, acc);
    }
    for (; i < t.n; i++)
        f32_step(type, S, C, also, &t, i, acc);
    f32_add_sums(S, C, &t, acc);
}

/* ---- sixteen rows that lie by themselves ---- */

/* For lines of the rows that come next, as many as are turned. */
F32_INLINE void f32_ask_rows(enum dtype type, const struct f32_tile *t, int i) {
    const int bytes = (int)f32_element_bytes(type), line = 64 / bytes;
    for (int row = i / 16; row < (i + line) / 16; row++)
        for (int at = 0; at < F32_PIECE * bytes; at += 64)
            _mm_prefetch((const char *)((uintptr_t)t->ask[0] + (size_t)row * t->ask_stride + (size_t)at),
                         _MM_HINT_T1);
}

/* A tile of sixteen whole rows that lie by themselves, row_stride bytes apart, from strip[0] on; n is a
 * multiple of 16. Few elements at a time: the next are turned while those before are multiplied. */
F32_INLINE void f32_stream(enum dtype type, int C, int also, const struct f32_tile *given) {
    const struct f32_tile t = *given;
    const size_t bytes = f32_element_bytes(type);
    const int line = 64 / (int)bytes;
    enum { STEPS = 8 };
    _Alignas(64) uint8_t block[64 * PACK_ROWS];
    struct f32_tile part = {.strip = {block}, .x_stride = t.x_stride};
    f32_vector acc[F32_STRIPS][F32_PARTS][F32_INPUTS];
    f32_no_sums(1, C, acc);
    for (int i = 0; i < t.n; i += line) {
        f32_ask_rows(type, &t, i);
        f32_turn_line(bytes, t.strip[0] + (size_t)i * bytes, t.row_stride, block);
        part.x = t.x + i;
        part.panel = t.panel + i * PACK_ROWS;
        for (int j = 0; j < line; j += STEPS) {
            F32_UNROLL
            for (int u = 0; u < STEPS; u++)
                f32_step(type, 1, C, also, &part, j + u, acc);
        }
    }
    f32_add_sums(1, C, &t, acc);
}

#endif
