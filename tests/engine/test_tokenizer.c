/* The tokenizer: published vectors of Llama 3, the two ways in, bytes that are no text, speed-shaped input.
 */
#include "base/json.h"
#include "engine/bpe.h"
#include "engine/gguf.h"
#include "engine/model_build.h"
#include "engine/tokenizer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *read_file(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return NULL;
    char *text = malloc((size_t)4 << 20);
    assert_non_null(text);
    *len = fread(text, 1, ((size_t)4 << 20) - 1, f);
    text[*len] = '\0';
    (void)fclose(f);
    return text;
}

/* llama3/ of the shared data, or NULL with the reason printed. */
static struct model *llama3(char *root, size_t size) {
    const char *shared = getenv("HERMESD_SHARED");
    (void)snprintf(root, size, "%s/tokenizer/llama3", shared != NULL ? shared : "../shared/data");
    char path[4200], err[300] = "";
    (void)snprintf(path, sizeof path, "%s/derived/llama3-vocab.gguf", root);
    struct gguf *g = NULL;
    if (gguf_open(path, &g, err, sizeof err) < 0) {
        print_message("skipped: no llama3-vocab.gguf under %s (set HERMESD_SHARED)\n", root);
        return NULL;
    }
    struct model *m = calloc(1, sizeof *m);
    struct model_files *files = calloc(1, sizeof *files);
    assert_true(m != NULL && files != NULL);
    files->gguf = g;
    m->files = files;
    m->path = strdup(path);
    m->n_vocab = 128256;
    if (model_gguf_tokenizer(m, g, err, sizeof err) < 0)
        fail_msg("%s", err);
    return m;
}

static void expect(const struct tokenizer *t, const char *text, size_t len, const cJSON *ids) {
    struct token_list list = {0};
    assert_int_equal(tokenizer_encode_text(t, text, len, &list), 0);
    int n = cJSON_GetArraySize(ids);
    bool same = (size_t)n == list.n;
    struct buf back;
    buf_init(&back, len + 1);
    for (size_t i = 0; i < list.n; i++) {
        same = same && cJSON_GetArrayItem(ids, (int)i)->valueint == list.v[i];
        size_t piece_len = 0;
        const char *piece = tokenizer_piece(t, list.v[i], &piece_len);
        assert_int_equal(buf_append(&back, piece, piece_len), 0);
    }
    if (!same)
        fail_msg("'%s' gives other tokens than the published ones", text);
    assert_int_equal(back.len, len);
    assert_memory_equal(len > 0 ? back.data : "", text, len);
    buf_finish(&back);
    token_list_finish(&list);
}

static void test_vectors(void **state) {
    (void)state;
    char root[4000], path[4200], err[300];
    struct model *m = llama3(root, sizeof root);
    if (m == NULL)
        skip();
    (void)snprintf(path, sizeof path, "%s/vectors.jsonl", root);
    size_t len = 0;
    char *lines = read_file(path, &len);
    assert_non_null(lines);
    int n = 0;
    char *end;
    for (char *line = lines; (end = strchr(line, '\n')) != NULL; line = end + 1, n++) {
        cJSON *json = NULL;
        assert_int_equal(json_parse(line, (size_t)(end - line), &json_limits_default, &json, err, sizeof err),
                         0);
        const char *text = json_get_string(json, "text");
        expect(m->tokenizer, text, strlen(text), cJSON_GetObjectItem(json, "ids"));
        cJSON_Delete(json);
    }
    assert_true(n >= 300);
    free(lines);
    model_close(m);
}

static void test_llama_cpp_vectors(void **state) {
    (void)state;
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char root[4000], path[4200];
    struct model *m = llama3(root, sizeof root);
    if (m == NULL)
        skip();
    size_t n_in = 0, n_out = 0;
    (void)snprintf(path, sizeof path, "%s/ggml-vocab-llama-bpe.gguf.inp", root);
    char *in = read_file(path, &n_in);
    (void)snprintf(path, sizeof path, "%s/ggml-vocab-llama-bpe.gguf.out", root);
    char *out = read_file(path, &n_out);
    char *text = in, *line = out;
    int n = 0;
    while (text < in + n_in) {
        char *end = strstr(text, separator);
        char *line_end = strchr(line, '\n');
        if (end == NULL || line_end == NULL)
            break;
        *line_end = '\0';
        cJSON *ids = cJSON_CreateArray();
        for (char *p = line; *p != '\0';) {
            char *next;
            long id = strtol(p, &next, 10);
            if (next == p)
                break;
            cJSON_AddItemToArray(ids, cJSON_CreateNumber((double)id));
            p = next;
        }
        expect(m->tokenizer, text, (size_t)(end - text), ids);
        cJSON_Delete(ids);
        text = end + sizeof separator - 1;
        line = line_end + 1;
        n++;
    }
    assert_true(n >= 40);
    free(in);
    free(out);
    model_close(m);
}

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

/* One word of a megabyte: the merges run in n log n. */
static void test_a_long_word_takes_no_square_time(void **state) {
    (void)state;
    struct tokenizer *t = small();
    struct token_list list = {0};
    size_t n = (size_t)1 << 20;
    char *text = malloc(n);
    memset(text, 'l', n);
    assert_int_equal(tokenizer_encode_text(t, text, n, &list), 0);
    assert_int_equal(list.n, n / 2);
    free(text);
    token_list_finish(&list);
    tokenizer_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_llama_cpp_vectors),
        cmocka_unit_test(test_text_never_becomes_an_added_token),
        cmocka_unit_test(test_any_bytes_come_back),
        cmocka_unit_test(test_a_long_word_takes_no_square_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
