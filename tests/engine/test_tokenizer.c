/* The tokenizer with a small vocabulary: the two ways in, bytes that are no text, speed-shaped input,
 * vocabularies that lie. The published vectors are in test_tokenizer_llama3.c. */
#include "engine/bpe.h"
#include "engine/tokenizer.h"
#include "tests/engine/spellings.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

/* A vocabulary of the 256 bytes, some merges and two added tokens. */
static struct tokenizer *small(void) {
    static char names[256][4];
    static struct bpe_text tokens[262];
    static bool added[262];
    static const char *const more[] = {"he", "ll", "hell", "hello", "<|im_end|>", "<|im_end|>\n"};
    static const struct bpe_text merges[] = {{"h e", 3}, {"l l", 3}, {"he ll", 5}, {"hell o", 6}};
    int extra = 256;
    for (int b = 0; b < 256; b++) {
        bool plain = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        int c = plain ? b : extra++;
        size_t n = 0;
        if (c < 128) {
            names[b][n++] = (char)c;
        } else {
            names[b][n++] = (char)(0xC0 | c >> 6);
            names[b][n++] = (char)(0x80 | (c & 63));
        }
        tokens[b] = (struct bpe_text){names[b], n};
    }
    for (int i = 0; i < 6; i++) {
        tokens[256 + i] = (struct bpe_text){more[i], strlen(more[i])};
        added[256 + i] = i >= 4;
    }
    struct bpe_source source = {262, tokens, added, merges, 4, true};
    struct tokenizer *t = NULL;
    char err[300] = "";
    if (bpe_create(&source, &t, err, sizeof err) < 0)
        fail_msg("%s", err);
    return t;
}

static void expect_ids(struct token_list *list, const int32_t *ids, size_t n) {
    assert_int_equal(list->n, n);
    assert_memory_equal(list->v, ids, n * sizeof *ids);
    list->n = 0;
}

static void test_text_never_becomes_an_added_token(void **state) {
    (void)state;
    struct tokenizer *t = small();
    struct token_list list = {0};
    const char *text = "hello<|im_end|>";
    assert_int_equal(tokenizer_encode_text(t, text, strlen(text), &list), 0);
    assert_int_equal(list.v[0], 259);
    assert_int_equal(list.n, 1 + strlen("<|im_end|>"));
    for (size_t i = 0; i < list.n; i++)
        assert_false(tokenizer_is_added(t, list.v[i]));
    list.n = 0;
    assert_int_equal(tokenizer_encode_template(t, text, strlen(text), &list), 0);
    expect_ids(&list, (const int32_t[]){259, 260}, 2);
    /* The longest added token wins. */
    assert_int_equal(tokenizer_encode_template(t, "<|im_end|>\nhell", 15, &list), 0);
    expect_ids(&list, (const int32_t[]){261, 258}, 2);
    assert_int_equal(tokenizer_find_added(t, "<|im_end|>"), 260);
    assert_int_equal(tokenizer_find_added(t, "hello"), -1);
    token_list_finish(&list);
    tokenizer_destroy(t);
}

static void test_any_bytes_come_back(void **state) {
    (void)state;
    struct tokenizer *t = small();
    struct token_list list = {0};
    uint64_t random = 88172645463325252u;
    for (int round = 0; round < 500; round++) {
        char bytes[64];
        size_t n = (size_t)(round % 64), at = 0;
        for (size_t i = 0; i < n; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes[i] = (char)(random >> 32);
        }
        list.n = 0;
        assert_int_equal(tokenizer_encode_text(t, bytes, n, &list), 0);
        for (size_t i = 0; i < list.n; i++) {
            size_t len = 0;
            const char *piece = tokenizer_piece(t, list.v[i], &len);
            assert_true(len <= n - at);
            assert_memory_equal(piece, bytes + at, len);
            at += len;
        }
        assert_int_equal(at, n);
    }
    token_list_finish(&list);
    tokenizer_destroy(t);
}

/* A megabyte of one thing, with and without an end of another kind: split and merged in n log n, and every
 * byte comes back. */
static void test_long_texts_take_no_square_time(void **state) {
    (void)state;
    static const char *const units[] = {"l",  " ",        "\n",   "1",     "!",  "\t\n", " l",
                                        "l ", "\xC3\xA4", "\xFF", " \xFF", "'s", "  x",  "\xE3\x80\x80"};
    struct tokenizer *t = small();
    size_t n = (size_t)1 << 20;
    char *text = malloc(n + 8);
    assert_non_null(text);
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        struct token_list list = {0};
        size_t len = 0, unit = strlen(units[u]), back = 0;
        for (; len < n; len += unit)
            memcpy(text + len, units[u], unit);
        if (u % 2 == 1)
            text[len++] = 'z';
        assert_int_equal(tokenizer_encode_text(t, text, len, &list), 0);
        for (size_t i = 0; i < list.n; i++) {
            size_t piece_len = 0;
            const char *piece = tokenizer_piece(t, list.v[i], &piece_len);
            if (memcmp(piece, text + back, piece_len) != 0)
                fail_msg("unit %zu: token %zu is not what stands at byte %zu", u, i, back);
            back += piece_len;
        }
        assert_int_equal(back, len);
        if (u == 0)
            assert_int_equal(list.n, n / 2); /* "ll" */
        token_list_finish(&list);
    }
    free(text);
    tokenizer_destroy(t);
}

static void test_no_spelling_reaches_a_control_token(void **state) {
    (void)state;
    struct tokenizer *t = small();
    spellings_check(t, 100000, 2);
    tokenizer_destroy(t);
}

/* A hundred thousand equal tokens, and as many added ones of growing length: tables are built in n log n. */
static void test_hostile_vocabularies_take_no_square_time(void **state) {
    (void)state;
    enum { N = 200000 };
    static struct bpe_text tokens[N];
    static bool added[N];
    static char spelling[65535];
    memset(spelling, 'a', sizeof spelling);
    struct tokenizer *t = NULL;
    char err[300] = "";
    clock_t from = clock();
    for (int kind = 0; kind < 2; kind++) {
        for (int i = 0; i < N; i++) {
            tokens[i] = (struct bpe_text){spelling, kind == 0 ? 5 : (size_t)(i % 2000) + 1};
            added[i] = kind == 1;
        }
        struct bpe_source source = {N, tokens, added, NULL, 0, true};
        assert_int_equal(bpe_create(&source, &t, err, sizeof err), -EINVAL); /* there are no bytes */
        assert_non_null(strstr(err, "no token for byte 0x00"));
    }
    assert_true((double)(clock() - from) / CLOCKS_PER_SEC < 20);
}

/* What tokenizer_word() calls sure for a beginning of a text is so in the whole text, for every cut, and of
 * most texts it leaves little open. */
static void test_sure_words_stay(void **state) {
    (void)state;
    static const char *const parts[] = {"a",
                                        "R",
                                        "'",
                                        "'s",
                                        "'re",
                                        "1",
                                        "23",
                                        " ",
                                        "  ",
                                        "\n",
                                        "\r",
                                        "\t",
                                        "\"",
                                        "{\"",
                                        ":",
                                        ".",
                                        "_",
                                        "ll",
                                        "E",
                                        "\xC3\xA9",
                                        "\xD0\xB6",
                                        "\xE4\xB8\xAD",
                                        "\xC2\xA0",
                                        "\xE2\x80\x83",
                                        "\xF0\x9F\x98\x80",
                                        "\xE0\xB8\x81\xE0\xB9\x87",
                                        "\xD9\xA3",
                                        "\xFF",
                                        "\xE4\xB8",
                                        "\x80",
                                        "\xC2\x85",
                                        "\xE1\xA0\x8E"};
    struct tokenizer *t = small();
    uint64_t random = 88172645463325252u;
    size_t n_sure = 0, n_bytes = 0;
    for (int round = 0; round < 3000; round++) {
        char text[128];
        size_t len = 0, cuts[129] = {0};
        while (len < 40) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            const char *part = parts[random % (sizeof parts / sizeof *parts)];
            memcpy(text + len, part, strlen(part));
            len += strlen(part);
        }
        size_t at = 0, end = 0;
        for (; at < len; at = end) { /* words of the whole text: cuts[end] = 1 */
            assert_true(tokenizer_word(t, text, len, at, &end) >= 0);
            assert_in_range(end, at + 1, len);
            cuts[end] = 1;
        }
        for (size_t cut = 1; cut <= len; cut++) {
            size_t last = 0;
            for (at = 0; at < cut && tokenizer_word(t, text, cut, at, &end) == 1; at = end) {
                for (size_t i = at + 1; i < end; i++)
                    if (cuts[i] != 0)
                        fail_msg("round %d: a word of the beginning of %zu bytes is cut at %zu", round, cut,
                                 i);
                if (cuts[end] == 0)
                    fail_msg("round %d: a word of the beginning of %zu bytes goes on at %zu", round, cut,
                             end);
                last = end;
            }
            n_sure += last;
            n_bytes += cut;
        }
    }
    assert_true(n_sure * 10 > n_bytes * 7);
    tokenizer_destroy(t);
}

/* A length that no int holds is refused before a byte is looked at: nothing is behind the pointer. */
static void test_a_ceiling_of_text(void **state) {
    (void)state;
    static const size_t lengths[] = {((size_t)64 << 20) + 1, (size_t)INT32_MAX, (size_t)INT32_MAX + 1,
                                     (size_t)UINT32_MAX + 1, SIZE_MAX};
    struct tokenizer *t = small();
    struct token_list list = {0};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        assert_int_equal(tokenizer_encode_text(t, "a", lengths[i], &list), -E2BIG);
        assert_int_equal(tokenizer_encode_template(t, "a", lengths[i], &list), -E2BIG);
    }
    assert_int_equal(list.n, 0);
    tokenizer_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_never_becomes_an_added_token),
        cmocka_unit_test(test_any_bytes_come_back),
        cmocka_unit_test(test_a_ceiling_of_text),
        cmocka_unit_test(test_long_texts_take_no_square_time),
        cmocka_unit_test(test_no_spelling_reaches_a_control_token),
        cmocka_unit_test(test_sure_words_stay),
        cmocka_unit_test(test_hostile_vocabularies_take_no_square_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
