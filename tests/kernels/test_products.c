/* The products of each instruction set against decoded elements and plain sums in double, for every type,
 * over numbers of rows and inputs with and without tails, rows at any alignment, and blocks of any bits. */
#include "kernels/cpu/convert.h"
#include "kernels/cpu/ops.h"
#include "kernels/cpu/pack.h"
#include "kernels/dtype.h"
#include "tests/kernels/random_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MAX_ROWS 11
#define MAX_COLS 9
#define MAX_K    1024

static const char *const isas[] = {"portable", "avx2", "avx512"};

static uint64_t noise = 7;

static uint32_t bits(void) {
    noise = noise * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(noise >> 33);
}

/* Where the F16 numbers of a block stand; -1: none. */
static void halves_of(enum dtype type, int at[2]) {
    static const int where[DTYPE_COUNT][2] = {
        [DTYPE_Q8_0] = {0, -1}, [DTYPE_Q4_0] = {0, -1},  [DTYPE_Q4_1] = {0, 2},    [DTYPE_Q5_0] = {0, -1},
        [DTYPE_Q5_1] = {0, 2},  [DTYPE_Q2_K] = {80, 82}, [DTYPE_Q3_K] = {108, -1}, [DTYPE_Q4_K] = {0, 2},
        [DTYPE_Q5_K] = {0, 2},  [DTYPE_Q6_K] = {208, -1}};
    at[0] = where[type][0];
    at[1] = where[type][1];
}

/* Any bits, but for the F16 scales, which are of moderate size and either sign. */
static void fill(enum dtype type, uint8_t *row, int k) {
    const struct dtype_info *info = dtype_info(type);
    size_t n = convert_row_bytes(type, k);
    for (size_t i = 0; i < n; i++)
        row[i] = (uint8_t)bits();
    for (size_t b = 0; b < n && info->block_elements > 1; b += (size_t)info->block_bytes) {
        int at[2];
        halves_of(type, at);
        for (int i = 0; i < 2 && at[i] >= 0; i++) {
            uint16_t half = (uint16_t)((bits() & 0x8000u) | (0x2000u + bits() % 0x0800u));
            memcpy(row + b + at[i], &half, 2);
        }
    }
    for (int i = 0; i < k && info->block_elements == 1; i++) {
        float v = random_float(&noise);
        uint16_t half = convert_f32_to_f16(v);
        if (type == DTYPE_F32)
            memcpy(row + i * 4, &v, 4);
        else if (type == DTYPE_F8_E4M3)
            row[i] = (uint8_t)(row[i] % 0x7F | (row[i] & 0x80));
        else
            memcpy(row + i * 2, type == DTYPE_F16 ? (void *)&half : (uint8_t *)&v + 2, 2);
    }
}

struct arena {
    uint8_t *w; /* rows at an odd address */
    float *x;
    uint8_t *rounded;
    float *out;
};

/* A value of the input as the product sees it. */
static double input_at(const struct cpu_ops *ops, const struct arena *a, bool rounded, int c, int i, int k) {
    (void)ops;
    if (!rounded)
        return (double)a->x[c * MAX_K + i];
    const uint8_t *row = a->rounded + (size_t)c * CPU_Q8_ROW_BYTES(k);
    float scale;
    memcpy(&scale, row + k + i / 32 * 4, 4);
    return (double)scale * (double)(int8_t)row[i];
}

static void check(const struct cpu_ops *ops, enum dtype type, const struct arena *a, bool rounded, int rows,
                  int cols, int k) {
    size_t stride = rounded ? CPU_Q8_ROW_BYTES(k) : MAX_K * sizeof(float);
    for (int i = 0; i < (MAX_ROWS + 1) * MAX_COLS; i++)
        a->out[i] = -77;
    (rounded ? ops->product_q8 : ops->product)(type, a->w, rows,
                                               rounded ? (const void *)a->rounded : (const void *)a->x,
                                               stride, cols, k, a->out, MAX_ROWS + 1);
    for (int r = 0; r < rows; r++) {
        float w[MAX_K];
        convert_row(type, a->w + (size_t)r * convert_row_bytes(type, k), k, w);
        for (int c = 0; c < cols; c++) {
            double want = 0, size = 0;
            for (int i = 0; i < k; i++) {
                double part = (double)w[i] * input_at(ops, a, rounded, c, i, k);
                want += part;
                size += fabs(part);
            }
            double got = (double)a->out[c * (MAX_ROWS + 1) + r];
            if (!(fabs(got - want) <= 3e-6 * size))
                fail_msg("%s, %s%s, %d x %d of %d: row %d, input %d is %.9g and should be %.9g", ops->name,
                         dtype_info(type)->name, rounded ? " rounded" : "", rows, cols, k, r, c, got, want);
        }
    }
    for (int c = 0; c < MAX_COLS; c++)
        for (int r = 0; r <= MAX_ROWS; r++)
            if (r >= rows || c >= cols)
                assert_true(a->out[c * (MAX_ROWS + 1) + r] == -77);
}

static void check_type(const struct cpu_ops *ops, enum dtype type, const struct arena *a) {
    int block = dtype_info(type)->block_elements;
    const int sizes[] = {block, 3 * block, 1024 / block * block, block == 1 ? 37 : 2 * block};
    static const int rows[] = {1, 3, 4, 11}, cols[] = {1, 2, 3, 4, 9};
    for (size_t s = 0; s < 4; s++)
        for (size_t r = 0; r < 4; r++)
            for (size_t c = 0; c < 5; c++) {
                int k = sizes[s];
                for (int i = 0; i < rows[r]; i++)
                    fill(type, a->w + (size_t)i * convert_row_bytes(type, k), k);
                check(ops, type, a, false, rows[r], cols[c], k);
                if (block == 1)
                    continue;
                for (int i = 0; i < cols[c]; i++)
                    ops->quantise(a->rounded + (size_t)i * CPU_Q8_ROW_BYTES(k), a->x + i * MAX_K, k,
                                  cpu_ops_group(ops, type));
                check(ops, type, a, true, rows[r], cols[c], k);
            }
}

static void with_arena(void (*fn)(const struct arena *)) {
    uint8_t *w = malloc(MAX_ROWS * MAX_K * 4 + 1);
    struct arena a = {.w = w + 1,
                      .x = aligned_alloc(32, MAX_COLS * MAX_K * sizeof(float)),
                      .rounded = aligned_alloc(32, MAX_COLS * CPU_Q8_ROW_BYTES(MAX_K)),
                      .out = malloc((MAX_ROWS + 1) * MAX_COLS * sizeof(float))};
    assert_true(w != NULL && a.x != NULL && a.rounded != NULL && a.out != NULL);
    for (int i = 0; i < MAX_COLS * MAX_K; i++)
        a.x[i] = random_float(&noise) * (i % 97 == 0 ? 20.0f : 1.0f);
    fn(&a);
    free(w);
    free(a.x);
    free(a.rounded);
    free(a.out);
}

static void every_type(const struct arena *a) {
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        const struct cpu_ops *ops = cpu_ops_find(isas[i]);
        if (ops == NULL) {
            print_message("skipped: this CPU cannot run the %s kernels\n", isas[i]);
            continue;
        }
        for (int t = 0; t < DTYPE_COUNT; t++)
            check_type(ops, (enum dtype)t, a);
    }
}

static void test_every_type(void **state) {
    (void)state;
    with_arena(every_type);
}

/* Sizes that reach every tile: panels of 16 and 32 rows and of 256 and 512 elements with their rests, 1 to 17
 * inputs and more. */
#define COMPANY_ROWS 49
#define COMPANY_COLS 23

/* Memory that ends where a page begins that nobody may touch. */
struct fenced {
    uint8_t *map, *at;
    size_t bytes;
};

static struct fenced fenced(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page - 1) / page * page;
    struct fenced f = {.bytes = whole + page};
    f.map = mmap(NULL, f.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.map != MAP_FAILED);
    assert_int_equal(mprotect(f.map + whole, page, PROT_NONE), 0);
    f.at = f.map + whole - bytes;
    return f;
}

static void product_of(const struct cpu_ops *ops, enum dtype type, bool rounded, const uint8_t *w, int rows,
                       const uint8_t *x, size_t stride, int cols, int k, float *out) {
    (rounded ? ops->product_q8 : ops->product)(type, w, rows, x, stride, cols, k, out, COMPANY_ROWS);
}

/* Whatever stands beside a row or an input changes nothing: all together against each alone, and against
 * parts of every size. */
static void check_company(const struct cpu_ops *ops, enum dtype type, bool rounded, int k) {
    size_t stride = rounded ? CPU_Q8_ROW_BYTES(k) : ((size_t)k * 4 + 63) / 64 * 64;
    size_t row_bytes = convert_row_bytes(type, k);
    struct fenced weights = fenced(COMPANY_ROWS * row_bytes), inputs = fenced(COMPANY_COLS * stride);
    uint8_t *w = weights.at, *x = inputs.at;
    static float all[COMPANY_COLS * COMPANY_ROWS], some[COMPANY_COLS * COMPANY_ROWS];
    float *in = malloc((size_t)k * 4);
    assert_true(in != NULL);
    for (int r = 0; r < COMPANY_ROWS; r++)
        fill(type, w + (size_t)r * row_bytes, k);
    for (int c = 0; c < COMPANY_COLS; c++) {
        for (int i = 0; i < k; i++)
            in[i] = random_float(&noise);
        if (rounded)
            ops->quantise(x + (size_t)c * stride, in, k, cpu_ops_group(ops, type));
        else
            memcpy(x + (size_t)c * stride, in, (size_t)k * 4);
    }
    product_of(ops, type, rounded, w, COMPANY_ROWS, x, stride, COMPANY_COLS, k, all);
    for (int rows = 1; rows <= COMPANY_ROWS; rows += rows < 18 ? 1 : 15)
        for (int cols = 1; cols <= COMPANY_COLS; cols += cols < 9 ? 1 : 7) {
            int r = (int)(bits() % (unsigned)(COMPANY_ROWS - rows + 1));
            int c = (int)(bits() % (unsigned)(COMPANY_COLS - cols + 1));
            memset(some, 0xFF, sizeof some);
            product_of(ops, type, rounded, w + (size_t)r * row_bytes, rows, x + (size_t)c * stride, stride,
                       cols, k, some);
            for (int i = 0; i < cols; i++)
                if (memcmp(some + i * COMPANY_ROWS, all + (c + i) * COMPANY_ROWS + r, (size_t)rows * 4) != 0)
                    fail_msg("%s, %s%s of %d: input %d differs among %d rows from %d on and %d inputs from "
                             "%d on",
                             ops->name, dtype_info(type)->name, rounded ? " rounded" : "", k, c + i, rows, r,
                             cols, c);
        }
    free(in);
    munmap(weights.map, weights.bytes);
    munmap(inputs.map, inputs.bytes);
}

static void test_company_changes_no_bit(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        const struct cpu_ops *ops = cpu_ops_find(isas[i]);
        if (ops == NULL) {
            print_message("skipped: this CPU cannot run the %s kernels\n", isas[i]);
            continue;
        }
        for (int t = 0; t < DTYPE_COUNT; t++) {
            enum dtype type = (enum dtype)t;
            int block = dtype_info(type)->block_elements;
            const int sizes[] = {block == 1 ? 37 : block, block == 1 ? 600 : 1024 / block * block + block};
            for (size_t s = 0; s < 2; s++) {
                check_company(ops, type, false, sizes[s]);
                if (block > 1)
                    check_company(ops, type, true, sizes[s]);
            }
        }
    }
}

/* Rows longer than what is taken of one at a time. */
static void test_long_rows(void **state) {
    (void)state;
    const struct cpu_ops *ops = cpu_ops_find(NULL);
    check_company(ops, DTYPE_F16, false, 4096 + 24);
    check_company(ops, DTYPE_Q8_0, true, 8192 + 96);
    check_company(ops, DTYPE_Q4_K, true, 8192 + 256);
    check_company(ops, DTYPE_Q6_K, true, 8192 + 512);
}

/* More rows and inputs than are laid out at a time: together, as they are and side by side, against each row
 * and input alone. */
static void check_many(const struct cpu_ops *ops, enum dtype type, int k) {
    enum { rows = 261, cols = 131 };
    const bool rounded = dtype_info(type)->block_elements > 1;
    const size_t stride = rounded ? CPU_Q8_ROW_BYTES(k) : ((size_t)k * 4 + 63) / 64 * 64;
    const size_t row_bytes = convert_row_bytes(type, k), bytes = pack_bytes(type, rows, k);
    static float all[2][cols * rows], one[cols * rows];
    uint8_t *w = malloc(rows * row_bytes), *x = aligned_alloc(64, (cols * stride + 63) / 64 * 64),
            *packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
    float *in = malloc((size_t)k * sizeof *in);
    assert_true(w != NULL && x != NULL && packed != NULL && in != NULL);
    for (int r = 0; r < rows; r++)
        fill(type, w + (size_t)r * row_bytes, k);
    pack_rows(type, w, rows, k, packed);
    for (int c = 0; c < cols; c++) {
        for (int i = 0; i < k; i++)
            in[i] = random_float(&noise);
        if (rounded)
            ops->quantise(x + (size_t)c * stride, in, k, cpu_ops_group(ops, type));
        else
            memcpy(x + (size_t)c * stride, in, (size_t)k * sizeof *in);
    }
    cpu_product_fn product = rounded ? ops->product_q8 : ops->product;
    memset(all, 0xFF, sizeof all);
    product(type, w, rows, x, stride, cols, k, all[0], rows);
    if (ops->product_packed != NULL)
        ops->product_packed(type, packed, 0, rows, x, stride, cols, k, all[1], rows);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++)
            product(type, w + (size_t)r * row_bytes, 1, x + (size_t)c * stride, stride, 1, k,
                    &one[c * rows + r], 1);
    assert_memory_equal(one, all[0], sizeof one);
    if (ops->product_packed != NULL)
        assert_memory_equal(one, all[1], sizeof one);
    free(w);
    free(x);
    free(packed);
    free(in);
}

static void test_many_rows_and_inputs(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        const struct cpu_ops *ops = cpu_ops_find(isas[i]);
        if (ops == NULL) {
            print_message("skipped: this CPU cannot run the %s kernels\n", isas[i]);
            continue;
        }
        check_many(ops, DTYPE_F16, 40);
        check_many(ops, DTYPE_Q8_0, 96);
        check_many(ops, DTYPE_Q4_K, 256);
        check_many(ops, DTYPE_Q6_K, 256);
    }
}

/* What is in a block side by side, in order: where it is stored, how many bytes. The first are numbers in
 * F16.
 */
static const struct part {
    int from, bytes;
} parts[DTYPE_COUNT][8] = {
    [DTYPE_Q8_0] = {{0, 2}, {2, 32}},
    [DTYPE_Q4_0] = {{0, 2}, {2, 16}},
    [DTYPE_Q4_1] = {{0, 4}, {4, 16}},
    [DTYPE_Q5_0] = {{0, 2}, {2, 20}},
    [DTYPE_Q5_1] = {{0, 4}, {4, 20}},
    [DTYPE_Q2_K] = {{80, 4}, {0, 80}},
    [DTYPE_Q3_K] = {{108, 2}, {96, 12}, {0, 96}},
    [DTYPE_Q4_K] = {{0, 4}, {4, 140}},
    [DTYPE_Q5_K] = {{0, 4}, {4, 172}},
    [DTYPE_Q6_K] = {{208, 2}, {192, 16}, {128, 32}, {0, 64}, {160, 32}, {64, 64}},
};

/* Where byte i of row r of a matrix side by side lies, as kernels/cpu/pack.h says. */
static size_t packed_at(enum dtype type, size_t row_bytes, size_t r, size_t i) {
    const struct dtype_info *info = dtype_info(type);
    const size_t strip = r / PACK_ROWS * PACK_ROWS * row_bytes, lane = r % PACK_ROWS;
    const size_t block = (size_t)info->block_bytes, per_group = info->block_elements == 32 ? 8 : 1;
    if (info->block_elements == 1)
        return strip + i / block * block * PACK_ROWS + lane * block + i % block;
    const size_t group = i / (per_group * block) * per_group * block, b = (i - group) / block, o = i % block;
    const size_t left = (row_bytes - group) / block, n = left < per_group ? left : per_group;
    const struct part *p = parts[type];
    const size_t first = (size_t)p->bytes, start = strip + group * PACK_ROWS;
    if (o - (size_t)p->from < first) {
        size_t at = o - (size_t)p->from;
        return start + (b * first + at / 2 * 2) * PACK_ROWS + lane * 2 + at % 2;
    }
    size_t before = n * first + b * (block - first);
    for (p++; o - (size_t)p->from >= (size_t)p->bytes; p++)
        before += (size_t)p->bytes;
    size_t at = o - (size_t)p->from;
    return start + (before + at / 4 * 4) * PACK_ROWS + lane * 4 + at % 4;
}

static void test_side_by_side_every_byte_has_its_place(void **state) {
    (void)state;
    enum { rows = 21, most = 512 };
    static uint8_t w[rows * most * 4], packed[32 * most * 4];
    for (int t = 0; t < DTYPE_COUNT; t++) {
        enum dtype type = (enum dtype)t;
        const int k = dtype_info(type)->block_elements == 256 ? most : most - 5 * 32;
        size_t row_bytes = convert_row_bytes(type, k);
        assert_int_equal(pack_bytes(type, rows, k), 32 * row_bytes);
        for (size_t i = 0; i < rows * row_bytes; i++)
            w[i] = (uint8_t)bits();
        memset(packed, 0xFF, sizeof packed);
        pack_rows(type, w, rows, k, packed);
        for (size_t r = 0; r < 32; r++)
            for (size_t i = 0; i < row_bytes; i++)
                if (packed[packed_at(type, row_bytes, r, i)] != (r < rows ? w[r * row_bytes + i] : 0))
                    fail_msg("%s: byte %zu of row %zu", dtype_info(type)->name, i, r);
    }
}

/* Products of rows that lie side by side are those of the rows by themselves, whatever part is asked for. */
static void check_packed(const struct cpu_ops *ops, enum dtype type, bool rounded, int k) {
    size_t stride = rounded ? CPU_Q8_ROW_BYTES(k) : ((size_t)k * 4 + 63) / 64 * 64;
    size_t row_bytes = convert_row_bytes(type, k), bytes = pack_bytes(type, COMPANY_ROWS, k);
    uint8_t *w = malloc(COMPANY_ROWS * row_bytes);
    struct fenced weights = fenced((bytes + 63) / 64 * 64), inputs = fenced(COMPANY_COLS * stride);
    static float all[COMPANY_COLS * COMPANY_ROWS], some[COMPANY_COLS * COMPANY_ROWS];
    float *in = malloc((size_t)k * 4);
    assert_true(w != NULL && in != NULL);
    for (int r = 0; r < COMPANY_ROWS; r++)
        fill(type, w + (size_t)r * row_bytes, k);
    pack_rows(type, w, COMPANY_ROWS, k, weights.at);
    for (int c = 0; c < COMPANY_COLS; c++) {
        for (int i = 0; i < k; i++)
            in[i] = random_float(&noise);
        if (rounded)
            ops->quantise(inputs.at + (size_t)c * stride, in, k, cpu_ops_group(ops, type));
        else
            memcpy(inputs.at + (size_t)c * stride, in, (size_t)k * 4);
    }
    product_of(ops, type, rounded, w, COMPANY_ROWS, inputs.at, stride, COMPANY_COLS, k, all);
    for (int rows = 1; rows <= COMPANY_ROWS; rows += rows < 18 ? 1 : 15)
        for (int cols = 1; cols <= COMPANY_COLS; cols += cols < 9 ? 1 : 7) {
            int r = (int)(bits() % (unsigned)(COMPANY_ROWS - rows + 1));
            int c = (int)(bits() % (unsigned)(COMPANY_COLS - cols + 1));
            memset(some, 0xFF, sizeof some);
            ops->product_packed(type, weights.at, r, rows, inputs.at + (size_t)c * stride, stride, cols, k,
                                some, COMPANY_ROWS);
            for (int i = 0; i < cols * COMPANY_ROWS; i++) {
                bool wanted = i % COMPANY_ROWS < rows;
                int at = wanted ? (c + i / COMPANY_ROWS) * COMPANY_ROWS + r + i % COMPANY_ROWS : 0;
                if (wanted ? memcmp(&some[i], &all[at], 4) != 0 : some[i] == some[i])
                    fail_msg("%s, %s of %d, side by side: output %d of input %d is not right (%d rows from "
                             "%d on, %d inputs)",
                             ops->name, dtype_info(type)->name, k, i % COMPANY_ROWS, i / COMPANY_ROWS, rows,
                             r, cols);
            }
        }
    free(w);
    free(in);
    munmap(weights.map, weights.bytes);
    munmap(inputs.map, inputs.bytes);
}

static void test_side_by_side_changes_no_bit(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        const struct cpu_ops *ops = cpu_ops_find(isas[i]);
        if (ops == NULL || ops->product_packed == NULL) {
            print_message("skipped: the %s kernels %s\n", isas[i],
                          ops == NULL ? "cannot run on this CPU" : "take no rows side by side");
            continue;
        }
        for (int t = 0; t < DTYPE_COUNT; t++) {
            enum dtype type = (enum dtype)t;
            int block = dtype_info(type)->block_elements;
            const int sizes[] = {block == 1 ? 37 : block, block == 1 ? 600 : 1024 / block * block + block};
            for (size_t s = 0; s < 2; s++)
                check_packed(ops, type, block > 1, sizes[s]);
        }
    }
}

/* Products with inputs in F32 of two tables, of a matrix as in a file and side by side, are the same bits. */
static void check_same(const struct cpu_ops *one, const struct cpu_ops *other, enum dtype type, int k) {
    enum { most = 20 };
    size_t stride = ((size_t)k * 4 + 63) / 64 * 64, row_bytes = convert_row_bytes(type, k);
    size_t bytes = pack_bytes(type, COMPANY_ROWS, k);
    uint8_t *w = malloc(COMPANY_ROWS * row_bytes), *x = aligned_alloc(64, most * stride),
            *packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
    bool side_by_side = dtype_info(type)->block_elements == 1 && other->product_packed != NULL;
    static float want[most * COMPANY_ROWS], got[most * COMPANY_ROWS];
    assert_true(w != NULL && x != NULL && packed != NULL);
    for (int r = 0; r < COMPANY_ROWS; r++)
        fill(type, w + (size_t)r * row_bytes, k);
    pack_rows(type, w, COMPANY_ROWS, k, packed);
    for (size_t i = 0; i < most * stride; i += 4) {
        float v = random_float(&noise);
        memcpy(x + i, &v, 4);
    }
    for (int cols = 1; cols <= most; cols++)
        for (int side = 0; side < (side_by_side ? 2 : 1); side++) {
            int rows = 1 + (int)(bits() % COMPANY_ROWS),
                r = (int)(bits() % (unsigned)(COMPANY_ROWS - rows + 1));
            memset(want, 0xFF, sizeof want);
            memset(got, 0xFF, sizeof got);
            one->product(type, w + (size_t)r * row_bytes, rows, x, stride, cols, k, want, COMPANY_ROWS);
            if (side == 0)
                other->product(type, w + (size_t)r * row_bytes, rows, x, stride, cols, k, got, COMPANY_ROWS);
            else
                other->product_packed(type, packed, r, rows, x, stride, cols, k, got, COMPANY_ROWS);
            if (memcmp(want, got, sizeof got) != 0)
                fail_msg("%s and %s differ: %s of %d%s, %d rows from %d on, %d inputs", one->name,
                         other->name, dtype_info(type)->name, k, side == 0 ? "" : " side by side", rows, r,
                         cols);
        }
    free(w);
    free(x);
    free(packed);
}

static void test_vectors_of_any_length_give_the_same_bits(void **state) {
    (void)state;
    const struct cpu_ops *avx2 = cpu_ops_find("avx2"), *avx512 = cpu_ops_find("avx512");
    if (avx2 == NULL || avx512 == NULL) {
        print_message("skipped: this CPU cannot run both the avx2 and the avx512 kernels\n");
        skip();
    }
    for (int t = 0; t < DTYPE_COUNT; t++) {
        enum dtype type = (enum dtype)t;
        int block = dtype_info(type)->block_elements;
        const int sizes[] = {block == 1 ? 37 : block, block == 1 ? 601 : 1024 / block * block + block};
        for (size_t s = 0; s < 2; s++)
            check_same(avx2, avx512, type, sizes[s]);
    }
}

/* Every number of eight bits, those that are none as well, times 1. */
static void test_every_f8(void **state) {
    (void)state;
    enum { n = 256 };
    static _Alignas(64) uint8_t w[n];
    static _Alignas(64) float x[16] = {1}, out[2][n];
    for (int i = 0; i < n; i++)
        w[i] = (uint8_t)i; /* rows of one element lie side by side already */
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        const struct cpu_ops *ops = cpu_ops_find(isas[i]);
        if (ops == NULL) {
            print_message("skipped: this CPU cannot run the %s kernels\n", isas[i]);
            continue;
        }
        ops->product(DTYPE_F8_E4M3, w, n, x, sizeof x, 1, 1, out[0], n);
        memcpy(out[1], out[0], sizeof out[1]);
        if (ops->product_packed != NULL)
            ops->product_packed(DTYPE_F8_E4M3, w, 0, n, x, sizeof x, 1, 1, out[1], n);
        for (int j = 0; j < 2 * n; j++) {
            float want = convert_f8_e4m3_to_f32((uint8_t)(j % n)), got = out[j / n][j % n];
            if (isnan(want) ? !isnan(got) : !(got == want))
                fail_msg("%s: 0x%02X is %g and should be %g", ops->name, (unsigned)(j % n), (double)got,
                         (double)want);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_every_f8),
        cmocka_unit_test(test_company_changes_no_bit),
        cmocka_unit_test(test_long_rows),
        cmocka_unit_test(test_many_rows_and_inputs),
        cmocka_unit_test(test_side_by_side_every_byte_has_its_place),
        cmocka_unit_test(test_side_by_side_changes_no_bit),
        cmocka_unit_test(test_vectors_of_any_length_give_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
