#include "tests/engine/spellings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MAX_BYTES 512

static uint64_t next(uint64_t *random) {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random >> 11;
}

/* Some bytes that like to stand beside a control token. */
static size_t other(uint64_t *random, char *out) {
    static const char *const all[] = {" ",        "\n",   "<",     "|",    ">",  "<|",  "|>",
                                      "\xC3\xA4", "\xFF", "hello", "1234", "</", "_id", "\r\n\r\n"};
    const char *text = all[next(random) % (sizeof all / sizeof all[0])];
    memcpy(out, text, strlen(text));
    return strlen(text);
}

static size_t spelling(const struct tokenizer *t, const int32_t *added, size_t n_added, uint64_t *random,
                       char *out) {
    size_t len = 0;
    const char *piece = tokenizer_piece(t, added[next(random) % n_added], &len);
    len = len > 64 ? 64 : len;
    size_t from = 0, n = len;
    uint64_t kind = next(random) % 8;
    if (kind == 0)
        n = next(random) % (len + 1); /* beginning */
    else if (kind == 1)
        n = len - (from = next(random) % (len + 1)); /* end */
    memcpy(out, piece + from, n);
    if (kind == 2 && n > 1) { /* a letter of another case */
        char *c = &out[next(random) % n];
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
    }
    return n;
}

static void check(const struct tokenizer *t, const char *text, size_t len, struct token_list *list) {
    size_t at = 0;
    list->n = 0;
    assert_int_equal(tokenizer_encode_text(t, text, len, list), 0);
    for (size_t i = 0; i < list->n; i++) {
        size_t n = 0;
        const char *piece = tokenizer_piece(t, list->v[i], &n);
        if (tokenizer_is_added(t, list->v[i]))
            fail_msg("text '%.*s' became the control token %d", (int)len, text, list->v[i]);
        if (n > len - at || memcmp(piece, text + at, n) != 0)
            fail_msg("text '%.*s' does not come back", (int)len, text);
        at += n;
    }
    if (at != len)
        fail_msg("text '%.*s' comes back cut", (int)len, text);
}

void spellings_check(const struct tokenizer *t, int n, uint64_t seed) {
    static int32_t added[1 << 16];
    size_t n_added = 0;
    for (int32_t i = 0; i < tokenizer_n_vocab(t) && n_added < 1 << 16; i++)
        if (tokenizer_is_added(t, i))
            added[n_added++] = i;
    assert_true(n_added > 0);
    struct token_list list = {0};
    uint64_t random = seed * 0x9E3779B97F4A7C15u + 1;
    int whole = 0;
    for (int round = 0; round < n; round++) {
        char text[MAX_BYTES];
        size_t len = 0;
        for (uint64_t parts = 1 + next(&random) % 6; parts > 0; parts--)
            len += next(&random) % 4 == 0 ? other(&random, text + len)
                                          : spelling(t, added, n_added, &random, text + len);
        check(t, text, len, &list);
        /* The same bytes as a template do have control tokens, mostly: the check above could fail. */
        list.n = 0;
        assert_int_equal(tokenizer_encode_template(t, text, len, &list), 0);
        for (size_t i = 0; i < list.n; i++)
            if (tokenizer_is_added(t, list.v[i])) {
                whole++;
                break;
            }
    }
    assert_true(whole > n / 2);
    token_list_finish(&list);
}
