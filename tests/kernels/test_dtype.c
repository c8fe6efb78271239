/* Element types against the blocks and values of the reference implementation (shared data). */
#include "base/json.h"
#include "kernels/cpu/convert.h"
#include "kernels/dtype.h"
#include "tests/shared.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *read_file(const char *name, size_t *len) {
    char inside[128], path[4096];
    (void)snprintf(inside, sizeof inside, "quant-vectors/%s", name);
    FILE *f = fopen(shared_path(path, inside), "rb");
    assert_non_null(f);
    char *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    *len = fread(bytes, 1, 1 << 20, f);
    (void)fclose(f);
    return bytes;
}

/* All blocks of one type, bit by bit. */
static void check_blocks(enum dtype type, int n_values) {
    char name[64];
    size_t n_blocks = 0, n_wanted = 0;
    (void)snprintf(name, sizeof name, "%s.blocks.bin", dtype_info(type)->name);
    char *blocks = read_file(name, &n_blocks);
    (void)snprintf(name, sizeof name, "%s.f32.bin", dtype_info(type)->name);
    char *wanted = read_file(name, &n_wanted);
    assert_int_equal(n_blocks, dtype_row_bytes(type, n_values));
    assert_int_equal(n_wanted, (size_t)n_values * sizeof(float));
    float *got = malloc(n_wanted);
    assert_non_null(got);
    convert_row(type, blocks, n_values, got);
    assert_memory_equal(got, wanted, n_wanted);
    free(got);
    free(blocks);
    free(wanted);
}

/* Every bit of a block counts: turned over, it changes a value of at least one of the blocks. */
static void check_bits(enum dtype type, int n_values) {
    char name[64];
    size_t n_bytes = 0, block = (size_t)dtype_info(type)->block_bytes;
    int elements = dtype_info(type)->block_elements;
    (void)snprintf(name, sizeof name, "%s.blocks.bin", dtype_info(type)->name);
    uint8_t *bytes = (uint8_t *)read_file(name, &n_bytes);
    float *was = malloc((size_t)n_values * sizeof *was), now[256];
    assert_non_null(was);
    convert_row(type, bytes, n_values, was);
    for (size_t bit = 0; bit < 8 * block; bit++) {
        bool counts = false;
        for (size_t b = 0; b < n_bytes / block && !counts; b++) {
            bytes[b * block + bit / 8] ^= (uint8_t)(1u << bit % 8);
            convert_row(type, bytes + b * block, elements, now);
            bytes[b * block + bit / 8] ^= (uint8_t)(1u << bit % 8);
            counts = memcmp(now, was + b * (size_t)elements, (size_t)elements * sizeof *now) != 0;
        }
        if (!counts)
            fail_msg("%s: bit %zu of the block changes nothing", dtype_info(type)->name, bit);
    }
    free(was);
    free(bytes);
}

static void test_blocks_of_the_reference(void **state) {
    (void)state;
    size_t len = 0;
    char err[300] = "";
    char *text = read_file("index.json", &len);
    cJSON *index = NULL;
    const cJSON *item;
    assert_int_equal(json_parse(text, len, &json_limits_default, &index, err, sizeof err), 0);
    int checked = 0;
    cJSON_ArrayForEach(item, index) {
        enum dtype type = dtype_of_ggml((uint32_t)cJSON_GetObjectItem(item, "ggml_type_id")->valueint);
        assert_true(type != DTYPE_COUNT);
        const struct dtype_info *info = dtype_info(type);
        assert_string_equal(json_get_string(item, "type"), info->name);
        int elements = cJSON_GetObjectItem(item, "block_elems")->valueint;
        int bytes = cJSON_GetObjectItem(item, "block_bytes")->valueint;
        assert_int_equal(elements * info->block_bytes, bytes * info->block_elements);
        check_blocks(type, cJSON_GetObjectItem(item, "values")->valueint);
        check_bits(type, cJSON_GetObjectItem(item, "values")->valueint);
        checked++;
    }
    print_message("%d types agree with the reference\n", checked);
    assert_true(checked == 11);
    cJSON_Delete(index);
    free(text);
}

int main(void) {
    char path[4096];
    (void)shared_path(path, "quant-vectors");
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks_of_the_reference)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
