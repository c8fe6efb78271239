/* The tokenizer with the real Llama-3 vocabulary, from GGUF and from tokenizer.json: all published vectors,
 * id by id, and control tokens that text cannot reach. */
#include "base/json.h"
#include "engine/gguf_set.h"
#include "engine/model_build.h"
#include "engine/model_hf.h"
#include "engine/tokenizer.h"
#include "tests/shared.h"
#include "tests/engine/spellings.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LLAMA3_VOCAB 128256

static struct model *gguf, *hf;

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
    char path[4096], err[300];
    size_t len = 0;
    char *lines = read_file(shared_path(path, "tokenizer/llama3/vectors.jsonl"), &len);
    assert_non_null(lines);
    int n = 0;
    char *end;
    for (char *line = lines; (end = strchr(line, '\n')) != NULL; line = end + 1, n++) {
        cJSON *json = NULL;
        assert_int_equal(json_parse(line, (size_t)(end - line), &json_limits_default, &json, err, sizeof err),
                         0);
        const char *text = json_get_string(json, "text");
        expect(gguf->tokenizer, text, strlen(text), cJSON_GetObjectItem(json, "ids"));
        expect(hf->tokenizer, text, strlen(text), cJSON_GetObjectItem(json, "ids"));
        cJSON_Delete(json);
    }
    assert_int_equal(n, 360);
    free(lines);
}

static void test_llama_cpp_vectors(void **state) {
    (void)state;
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[4096];
    size_t n_in = 0, n_out = 0;
    char *in = read_file(shared_path(path, "tokenizer/llama3/ggml-vocab-llama-bpe.gguf.inp"), &n_in);
    char *out = read_file(shared_path(path, "tokenizer/llama3/ggml-vocab-llama-bpe.gguf.out"), &n_out);
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
        expect(gguf->tokenizer, text, (size_t)(end - text), ids);
        cJSON_Delete(ids);
        text = end + sizeof separator - 1;
        line = line_end + 1;
        n++;
    }
    assert_int_equal(n, 46); /* and an empty one after the last separator */
    assert_ptr_equal(text, in + n_in);
    free(in);
    free(out);
}

static void append_turn(struct buf *b, const cJSON *message) {
    assert_int_equal(buf_printf(b, "<|start_header_id|>%s<|end_header_id|>\n\n%s<|eot_id|>",
                                json_get_string(message, "role"), json_get_string(message, "content")),
                     0);
}

/* Meta's own cases: control tokens come from our template, the rest is text. */
static void test_published_framing(void **state) {
    (void)state;
    char path[4096], err[300];
    size_t len = 0;
    char *text = read_file(shared_path(path, "tokenizer/llama3/meta-test-vectors.json"), &len);
    cJSON *json = NULL;
    assert_int_equal(json_parse(text, len, &json_limits_default, &json, err, sizeof err), 0);
    const cJSON *item, *message;
    int n = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(json, "cases")) {
        const cJSON *messages = cJSON_GetObjectItem(item, "messages"),
                    *ids = cJSON_GetObjectItem(item, "ids");
        const char *format = json_get_string(item, "format");
        bool dialog = format != NULL && strstr(format, "dialog") != NULL;
        struct buf b;
        buf_init(&b, 4096);
        if (messages == NULL)
            assert_int_equal(buf_puts(&b, json_get_string(item, "decoded")), 0);
        if (dialog)
            assert_int_equal(buf_puts(&b, "<|begin_of_text|>"), 0);
        cJSON_ArrayForEach(message, messages) append_turn(&b, message);
        if (dialog)
            assert_int_equal(buf_puts(&b, "<|start_header_id|>assistant<|end_header_id|>\n\n"), 0);
        struct token_list list = {0};
        assert_int_equal(tokenizer_encode_template(gguf->tokenizer, b.data, b.len, &list), 0);
        assert_int_equal(list.n, cJSON_GetArraySize(ids));
        for (size_t i = 0; i < list.n; i++)
            assert_int_equal(list.v[i], cJSON_GetArrayItem(ids, (int)i)->valueint);
        token_list_finish(&list);
        buf_finish(&b);
        n++;
    }
    assert_int_equal(n, 3);
    cJSON_Delete(json);
    free(text);
}

static void test_no_spelling_reaches_a_control_token(void **state) {
    (void)state;
    spellings_check(gguf->tokenizer, 100000, 1);
}

/* Vocabularies of other kinds are refused by name. */
static void test_other_tokenizers_are_refused(void **state) {
    (void)state;
    static const char *const others[] = {"ggml-vocab-gpt-2.gguf", "ggml-vocab-llama-spm.gguf",
                                         "ggml-vocab-bert-bge.gguf", "ggml-vocab-starcoder.gguf"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char name[128], path[4096], err[400] = "";
        (void)snprintf(name, sizeof name, "tokenizer/gguf-other/%s", others[i]);
        struct gguf *g = NULL;
        struct model m = {.path = path, .n_vocab = 1 << 20};
        if (gguf_open(shared_path(path, name), &g, err, sizeof err) < 0)
            fail_msg("%s", err);
        assert_int_equal(model_gguf_tokenizer(&m, g, err, sizeof err), -ENOTSUP);
        assert_non_null(strstr(err, "only Llama-3 BPE is supported"));
        assert_null(m.tokenizer);
        gguf_close(g);
        assert_true(model_open(path, &(struct model *){NULL}, err, sizeof err) < 0);
    }
    char path[4096], err[400] = "";
    struct model *m = NULL;
    assert_int_equal(
        model_open(shared_path(path, "tokenizer/llama2-spm/tokenizer.model"), &m, err, sizeof err), -EINVAL);
    assert_non_null(strstr(err, "it does not begin with 'GGUF'"));
}

static struct model *empty_model(const char *path) {
    struct model *m = calloc(1, sizeof *m);
    struct model_files *files = calloc(1, sizeof *files);
    assert_true(m != NULL && files != NULL);
    m->files = files;
    m->path = strdup(path);
    m->n_vocab = LLAMA3_VOCAB;
    m->bos_id = -1;
    return m;
}

static int setup(void **state) {
    (void)state;
    char path[4096], err[400] = "";
    gguf = empty_model(shared_path(path, "tokenizer/llama3/derived/llama3-vocab.gguf"));
    struct model_files *files = gguf->files;
    if (gguf_set_open(path, &files->gguf, err, sizeof err) < 0 ||
        model_gguf_tokenizer(gguf, files->gguf->parts[0], err, sizeof err) < 0)
        fail_msg("%s", err);
    (void)shared_path(path, "tokenizer/llama3/derived/tokenizer.json");
    hf = empty_model(shared_path(path, "tokenizer/llama3/derived"));
    if (model_hf_tokenizer(hf, err, sizeof err) < 0)
        fail_msg("%s", err);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    model_close(gguf);
    model_close(hf);
    return 0;
}

int main(void) {
    char path[4096];
    (void)shared_path(path, "tokenizer/llama3");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_llama_cpp_vectors),
        cmocka_unit_test(test_published_framing),
        cmocka_unit_test(test_no_spelling_reaches_a_control_token),
        cmocka_unit_test(test_other_tokenizers_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
