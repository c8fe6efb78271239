/* Rows of quantised types times inputs rounded to 8 bits, for x86; included by dots_x86.h, which says how
 * tiles work. The layouts of the blocks: kernels/cpu/blocks.c.
 *
 * Elements are taken as unsigned bytes q; what the type takes off each of them (8 of Q4_0, …) is taken off
 * the sum, as that many times the sum of the inputs. All sums of products are exact integers. */

/* Eight groups side by side, so that what depends on the group is known when compiled. Not where every load
 * is checked: that would compile for a minute. */
#if defined(__SANITIZE_ADDRESS__)
#define DOTS_UNROLL _Pragma("GCC unroll 1")
#else
#define DOTS_UNROLL _Pragma("GCC unroll 8")
#endif

DOTS_INLINE __m256i dots_bytes_at(const void *at) {
    return _mm256_loadu_si256((const __m256i *)at);
}

DOTS_INLINE uint64_t dots_u64(const uint8_t *at) {
    uint64_t v;
    memcpy(&v, at, 8);
    return v;
}

DOTS_INLINE uint32_t dots_u32(const uint8_t *at) {
    uint32_t v;
    memcpy(&v, at, 4);
    return v;
}

/* ---- blocks of 32 ---- */

/* What the elements of a type have too much. */
DOTS_INLINE int dots_offset(enum dtype type) {
    switch (type) {
    case DTYPE_Q4_0:
        return 8;
    case DTYPE_Q5_0:
        return 16;
    case DTYPE_Q3_K:
        return 4;
    case DTYPE_Q6_K:
        return 32;
    default:
        return 0;
    }
}

/* 16 bytes: low nibbles, then high ones. */
DOTS_INLINE __m256i dots_nibbles(const uint8_t *at) {
    __m128i q = _mm_loadu_si128((const __m128i *)(const void *)at);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), _mm256_set1_epi8(15));
}

/* 16 where the element's bit of these 32 is set. */
DOTS_INLINE __m256i dots_fifths(const uint8_t *at) {
    const __m256i byte = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2,
                                          2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)dots_u32(at)), byte);
    v = _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
    return _mm256_and_si256(v, _mm256_set1_epi8(16));
}

DOTS_INLINE __m256i dots_small(enum dtype type, const uint8_t *block) {
    switch (type) {
    case DTYPE_Q4_0:
        return dots_nibbles(block + 2);
    case DTYPE_Q4_1:
        return dots_nibbles(block + 4);
    case DTYPE_Q5_0:
        return _mm256_or_si256(dots_nibbles(block + 6), dots_fifths(block + 2));
    default: /* Q5_1 */
        return _mm256_or_si256(dots_nibbles(block + 8), dots_fifths(block + 4));
    }
}

/* Q4_0, Q4_1, Q5_0, Q5_1. */
DOTS_INLINE void dots_tile_small(enum dtype type, int R, int C, const uint8_t *w, size_t row_bytes,
                                 const char *x, size_t x_stride, int k, float *out, size_t out_stride) {
    bool minimum = type == DTYPE_Q4_1 || type == DTYPE_Q5_1;
    size_t block_bytes = convert_row_bytes(type, 32);
    __m256 acc[4][4];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++)
            acc[r][c] = _mm256_setzero_ps();
    for (int b = 0; b < k / 32; b++) {
        __m256i in[4], from[4];
        __m256 scale[4], sums[4];
        for (int c = 0; c < C; c++) {
            const char *row = x + (size_t)c * x_stride;
            in[c] = _mm256_load_si256((const __m256i *)(const void *)(row + (size_t)b * 32));
            scale[c] = _mm256_broadcast_ss((const float *)(const void *)(row + (size_t)k) + b);
            from[c] = _mm256_setzero_si256();
            if (minimum)
                sums[c] = _mm256_mul_ps(_mm256_cvtepi32_ps(dots_bytes(_mm256_set1_epi8(1), in[c])), scale[c]);
            else
                from[c] =
                    _mm256_sub_epi32(from[c], dots_bytes(_mm256_set1_epi8((char)dots_offset(type)), in[c]));
        }
        for (int r = 0; r < R; r++) {
            const uint8_t *block = w + (size_t)r * row_bytes + (size_t)b * block_bytes;
            __m256i q = dots_small(type, block);
            __m256 d = _mm256_set1_ps(dots_half(block));
            for (int c = 0; c < C; c++) {
                __m256 dot = _mm256_cvtepi32_ps(dots_bytes_from(from[c], q, in[c]));
                acc[r][c] = _mm256_fmadd_ps(dot, _mm256_mul_ps(d, scale[c]), acc[r][c]);
                if (minimum)
                    acc[r][c] = _mm256_fmadd_ps(sums[c], _mm256_set1_ps(dots_half(block + 2)), acc[r][c]);
            }
        }
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++)
            out[(size_t)c * out_stride + (size_t)r] = dots_sum(acc[r][c]);
}

/* ---- blocks of 256 ---- */

/* Types whose groups of 16 have a scale of their own; the others have one per 32. */
DOTS_INLINE bool dots_by_16(enum dtype type) {
    return type == DTYPE_Q2_K || type == DTYPE_Q3_K || type == DTYPE_Q6_K;
}

DOTS_INLINE bool dots_has_minima(enum dtype type) {
    return type == DTYPE_Q2_K || type == DTYPE_Q4_K || type == DTYPE_Q5_K;
}

/* What stands before the elements of a block, made ready for all its groups. */
struct dots_head {
    __m256 factors; /* of the eight groups of 32: scale of the block, times that of the group if it has one */
    __m256i scales; /* by 16: signed, those of even groups in the low half, of odd ones in the high half */
    __m256i minima; /* sixteen, of 16 elements each */
    float of_minima; /* their scale */
};

/* Sixteen signed bytes as struct dots_head wants them. */
DOTS_INLINE __m256i dots_even_odd(__m128i scales) {
    const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    return _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, order));
}

DOTS_INLINE void dots_head_k4(const uint8_t *block, struct dots_head *h) {
    uint32_t a = dots_u32(block + 4), b = dots_u32(block + 8), c = dots_u32(block + 12);
    uint32_t high_scales = (c & 0x0F0F0F0Fu) | (a >> 2 & 0x30303030u);
    uint32_t high_minima = (c >> 4 & 0x0F0F0F0Fu) | (b >> 2 & 0x30303030u);
    __m128i scales = _mm_set_epi32(0, 0, (int)high_scales, (int)(a & 0x3F3F3F3Fu));
    __m128i minima = _mm_set_epi32(0, 0, (int)high_minima, (int)(b & 0x3F3F3F3Fu));
    h->factors =
        _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(scales)), _mm256_set1_ps(dots_half(block)));
    h->minima = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(minima, minima));
    h->of_minima = dots_half(block + 2);
}

DOTS_INLINE void dots_head_q2(const uint8_t *block, struct dots_head *h) {
    const __m128i low = _mm_set1_epi8(15);
    __m128i both = _mm_loadu_si128((const __m128i *)(const void *)block);
    h->factors = _mm256_set1_ps(dots_half(block + 80));
    h->scales = dots_even_odd(_mm_and_si128(both, low));
    h->minima = _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(both, 4), low));
    h->of_minima = dots_half(block + 82);
}

DOTS_INLINE void dots_head_q3(const uint8_t *block, struct dots_head *h) {
    uint64_t low = dots_u64(block + 96), two = dots_u32(block + 104);
    const uint64_t nibbles = 0x0F0F0F0F0F0F0F0Fu, pairs = 0x03030303u;
    uint64_t first = (low & nibbles) | (two & pairs) << 4 | (two >> 2 & pairs) << 36;
    uint64_t second = (low >> 4 & nibbles) | (two >> 4 & pairs) << 4 | (two >> 6 & pairs) << 36;
    __m128i scales = _mm_set_epi64x((long long)second, (long long)first);
    h->factors = _mm256_set1_ps(dots_half(block + 108));
    h->scales = dots_even_odd(_mm_sub_epi8(scales, _mm_set1_epi8(32)));
}

DOTS_INLINE void dots_head(enum dtype type, const uint8_t *block, struct dots_head *h) {
    switch (type) {
    case DTYPE_Q2_K:
        dots_head_q2(block, h);
        break;
    case DTYPE_Q3_K:
        dots_head_q3(block, h);
        break;
    case DTYPE_Q6_K:
        h->factors = _mm256_set1_ps(dots_half(block + 208));
        h->scales = dots_even_odd(_mm_loadu_si128((const __m128i *)(const void *)(block + 192)));
        break;
    default:
        dots_head_k4(block, h);
        break;
    }
}

/* Bits of `v` from `from` on, `mask` of them per byte, moved up by `up`; all three known when compiled. */
DOTS_INLINE __m256i dots_bits(__m256i v, int from, int mask, int up) {
    v = from > up ? _mm256_srli_epi16(v, from - up) : from < up ? _mm256_slli_epi16(v, up - from) : v;
    return _mm256_and_si256(v, _mm256_set1_epi8((char)(mask << up)));
}

/* Elements 32 g … 32 g + 31 of a block. */
DOTS_INLINE __m256i dots_group(enum dtype type, const uint8_t *block, int g) {
    switch (type) {
    case DTYPE_Q2_K:
        return dots_bits(dots_bytes_at(block + 16 + g / 4 * 32), g % 4 * 2, 3, 0);
    case DTYPE_Q3_K:
        return _mm256_or_si256(dots_bits(dots_bytes_at(block + 32 + g / 4 * 32), g % 4 * 2, 3, 0),
                               dots_bits(dots_bytes_at(block), g, 1, 2));
    case DTYPE_Q4_K:
        return dots_bits(dots_bytes_at(block + 16 + g / 2 * 32), g % 2 * 4, 15, 0);
    case DTYPE_Q5_K:
        return _mm256_or_si256(dots_bits(dots_bytes_at(block + 48 + g / 2 * 32), g % 2 * 4, 15, 0),
                               dots_bits(dots_bytes_at(block + 16), g, 1, 4));
    default: /* Q6_K */
        return _mm256_or_si256(
            dots_bits(dots_bytes_at(block + g / 4 * 64 + g % 2 * 32), g % 4 / 2 * 4, 15, 0),
            dots_bits(dots_bytes_at(block + 128 + g / 4 * 32), g % 4 * 2, 3, 4));
    }
}

/* One group of 32: sums of four (or, by 16, of four times their scale) products in eight lanes. by_16: at
 * most 63 * 127 * 2 fits 16 bits, and after the offset at most 32 * 127 * 2 times a scale of -128 is left. */
DOTS_INLINE __m256i dots_group_sums(enum dtype type, int g, __m256i q, __m256i in, __m256i off,
                                    const struct dots_head *h) {
    if (!dots_by_16(type))
        return dots_bytes(q, in);
    const __m256i pick = _mm256_set1_epi16((short)((2 * g + 1) << 8 | 2 * g));
    __m256i pairs = _mm256_sub_epi16(_mm256_maddubs_epi16(q, in), off);
    return _mm256_madd_epi16(pairs, _mm256_shuffle_epi8(h->scales, pick));
}

/* Q2_K, Q3_K, Q4_K, Q5_K, Q6_K. */
DOTS_INLINE void dots_tile_super(enum dtype type, int R, int C, const uint8_t *w, size_t row_bytes,
                                 const char *x, size_t x_stride, int k, float *out, size_t out_stride) {
    size_t block_bytes = convert_row_bytes(type, 256);
    __m256 acc[4][4];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++)
            acc[r][c] = _mm256_setzero_ps();
    for (int b = 0; b < k / 256; b++) {
        _Alignas(32) float factors[4][4][8];
        struct dots_head heads[4];
        for (int r = 0; r < R; r++) {
            dots_head(type, w + (size_t)r * row_bytes + (size_t)b * block_bytes, &heads[r]);
            for (int c = 0; c < C; c++) {
                const char *behind = x + (size_t)c * x_stride + (size_t)k;
                __m256 scale = _mm256_load_ps((const float *)(const void *)behind + b * 8);
                _mm256_store_ps(factors[r][c], _mm256_mul_ps(heads[r].factors, scale));
                if (!dots_has_minima(type))
                    continue;
                __m256i sums = _mm256_load_si256(
                    (const __m256i *)(const void *)(behind + (size_t)k / 8 + (size_t)b * 32));
                __m256 minima = _mm256_cvtepi32_ps(_mm256_madd_epi16(heads[r].minima, sums));
                acc[r][c] = _mm256_fnmadd_ps(minima, _mm256_mul_ps(scale, _mm256_set1_ps(heads[r].of_minima)),
                                             acc[r][c]);
            }
        }
        DOTS_UNROLL
        for (int g = 0; g < 8; g++) {
            __m256i in[4], off[4];
            for (int c = 0; c < C; c++) {
                in[c] = _mm256_load_si256(
                    (const __m256i *)(const void *)(x + (size_t)c * x_stride + (size_t)b * 256 + g * 32));
                off[c] = _mm256_maddubs_epi16(_mm256_set1_epi8((char)dots_offset(type)), in[c]);
            }
            for (int r = 0; r < R; r++) {
                const uint8_t *block = w + (size_t)r * row_bytes + (size_t)b * block_bytes;
                __m256i q = dots_group(type, block, g);
                for (int c = 0; c < C; c++) {
                    __m256i sums = dots_group_sums(type, g, q, in[c], off[c], &heads[r]);
                    acc[r][c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums),
                                                _mm256_broadcast_ss(&factors[r][c][g]), acc[r][c]);
                }
            }
        }
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++)
            out[(size_t)c * out_stride + (size_t)r] = dots_sum(acc[r][c]);
}
