/* The command line handles as a person uses them: what goes to standard output, what to standard error, exit
 * codes. */
#include "base/json.h"
#include "engine/cli_model.h"
#include "engine/cli_tokenize.h"
#include "tests/engine/fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char model[256];

/* Output of one call. */
static char out[1 << 20], complaint[4096];

static int replace(int fd, const char *path, int flags) {
    int kept = dup(fd), other = open(path, flags, 0600);
    assert_true(kept >= 0 && other >= 0);
    assert_int_equal(dup2(other, fd), fd);
    (void)close(other);
    return kept;
}

static void put_back(int fd, int kept) {
    assert_int_equal(dup2(kept, fd), fd);
    (void)close(kept);
}

static void read_back(const char *path, char *text, size_t size) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    text[fread(text, 1, size - 1, f)] = '\0';
    (void)fclose(f);
    (void)unlink(path);
}

/* Calls `fn` with the words up to NULL, `input` on standard input. */
static int call(int (*fn)(int, char **), const char *input, ...) {
    char in_path[256], out_path[256], err_path[256];
    char *argv[16];
    int argc = 0;
    va_list words;
    va_start(words, input);
    for (char *word; argc < 15 && (word = va_arg(words, char *)) != NULL;)
        argv[argc++] = word;
    va_end(words);
    argv[argc] = NULL;
    fixture_path(in_path, "stdin");
    fixture_path(out_path, "stdout");
    fixture_path(err_path, "stderr");
    fixture_write(in_path, input, strlen(input));
    (void)fflush(stdout);
    (void)fflush(stderr);
    rewind(stdin);
    clearerr(stdin);
    int in = replace(0, in_path, O_RDONLY), o = replace(1, out_path, O_WRONLY | O_CREAT | O_TRUNC),
        e = replace(2, err_path, O_WRONLY | O_CREAT | O_TRUNC);
    int rc = fn(argc, argv);
    (void)fflush(stdout);
    (void)fflush(stderr);
    put_back(0, in);
    put_back(1, o);
    put_back(2, e);
    (void)unlink(in_path);
    read_back(out_path, out, sizeof out);
    read_back(err_path, complaint, sizeof complaint);
    return rc;
}

static void test_tokens_of_text_and_template(void **state) {
    (void)state;
    assert_int_equal(call(cli_tokenize, "", "tokenize", "-m", model, "hello", "hello<|im_end|>", NULL), 0);
    assert_non_null(strstr(out, "259\t\"hello\"\n"));
    assert_null(strstr(out, "control"));
    assert_int_equal(call(cli_tokenize, "", "tokenize", "-m", model, "--template", "hello<|im_end|>", NULL),
                     0);
    assert_string_equal(out, "259\t\"hello\"\n261\t\"<|im_end|>\"\tcontrol\n");
    assert_int_equal(
        call(cli_tokenize, "", "tokenize", "--ids", "--template", "--model", model, "<|im_end|>hell", NULL),
        0);
    assert_string_equal(out, "261,258\n");
    assert_string_equal(complaint, "");
}

static void test_text_from_standard_input(void **state) {
    (void)state;
    assert_int_equal(call(cli_tokenize, "hello", "tokenize", "-m", model, "--ids", NULL), 0);
    assert_string_equal(out, "259\n");
    assert_int_equal(call(cli_tokenize, "", "tokenize", "-m", model, "--ids", NULL), 0);
    assert_string_equal(out, "\n");
}

static void test_tokenize_refuses(void **state) {
    (void)state;
    assert_int_equal(call(cli_tokenize, "", "tokenize", "hello", NULL), 2);
    assert_non_null(strstr(complaint, "usage: hermesd tokenize"));
    assert_int_equal(call(cli_tokenize, "", "tokenize", "-m", model, "--nonsense", NULL), 2);
    assert_int_equal(call(cli_tokenize, "", "tokenize", "-m", "/nonexistent.gguf", "hello", NULL), 1);
    assert_non_null(strstr(complaint, "/nonexistent.gguf"));
    assert_string_equal(out, "");
}

static double number_at(const cJSON *o, const char *a, const char *b) {
    const cJSON *item = cJSON_GetObjectItem(cJSON_GetObjectItem(o, a), b);
    assert_true(cJSON_IsNumber(item));
    return item->valuedouble;
}

static void test_inspect_as_json(void **state) {
    (void)state;
    char err[300];
    cJSON *o = NULL;
    assert_int_equal(call(cli_model, "", "model", "inspect", model, "--json", NULL), 0);
    if (json_parse(out, strlen(out), &json_limits_default, &o, err, sizeof err) < 0)
        fail_msg("%s in %s", err, out);
    /* 264 x 8 + 2 x (8 x 8 + 4 x 8 + 4 x 8 + 8 x 8 + 3 x 12 x 8 + 2 x 8) + 8 */
    assert_int_equal((int)cJSON_GetObjectItem(o, "parameters")->valuedouble,
                     264 * 8 + 2 * (192 + 288 + 16) + 8);
    assert_int_equal((int)number_at(o, "shape", "layers"), 2);
    assert_int_equal((int)number_at(o, "shape", "kv_heads"), 2);
    assert_int_equal((int)number_at(o, "shape", "context"), 64);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(cJSON_GetObjectItem(o, "shape"), "tied_head")));
    /* keys and values of 2 layers, 2 heads of 2 numbers of 2 bytes */
    assert_int_equal((int)number_at(o, "memory_bytes", "kv_per_token"), 2 * 2 * 2 * 2 * 2);
    assert_int_equal((int)number_at(o, "memory_bytes", "weights"),
                     2 * (264 * 8 + 2 * (192 + 288)) + 4 * (2 * 16 + 8));
    const cJSON *in = cJSON_GetObjectItem(cJSON_GetObjectItem(o, "memory_bytes"), "kv_per_token_in");
    assert_int_equal(cJSON_GetObjectItem(in, "f32")->valueint, 2 * 2 * 2 * 2 * 4);
    assert_int_equal(cJSON_GetObjectItem(in, "f16")->valueint, 2 * 2 * 2 * 2 * 2);
    assert_int_equal(cJSON_GetObjectItem(in, "q8")->valueint, 2 * 2 * 2 * (2 + 4));
    assert_true(number_at(o, "memory_bytes", "tokens_that_fit") > 1000);
    assert_int_equal((int)number_at(o, "tokenizer", "tokens"), FIXTURE_VOCAB);
    assert_int_equal((int)number_at(o, "tokenizer", "added_tokens"), 4);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(o, "tensors")), 2 * 9 + 2);
    const cJSON *first = cJSON_GetObjectItem(o, "tensors")->child;
    assert_string_equal(json_get_string(first, "name"), "token_embd.weight");
    assert_string_equal(json_get_string(first, "type"), "F16");
    cJSON_Delete(o);
}

static void test_inspect_for_people(void **state) {
    (void)state;
    assert_int_equal(call(cli_model, "", "model", "inspect", model, NULL), 0);
    assert_non_null(strstr(out, "2 layers, width 8, 4 heads of 2 sharing 2"));
    assert_non_null(strstr(out, "tied to the embedding"));
    assert_non_null(strstr(out, "32 bytes per token\n"));
    assert_non_null(strstr(out, "(kv f32: 64, q8: 48)\n"));
    assert_non_null(strstr(out, "264 tokens, 4 of them added"));
    assert_non_null(strstr(out, "260 \"<|begin_of_text|>\""));
    assert_non_null(strstr(out, "blk.1.ffn_down.weight"));
    assert_int_equal(call(cli_model, "", "model", "inspect", model, "--plan=2x1", NULL), 0);
    assert_non_null(strstr(out, "plan        2 devices"));
    assert_int_equal(call(cli_model, "", "model", "inspect", model, "--plan", NULL), 0);
    assert_non_null(strstr(out, "(80.0 GB)"));
}

/* Weights without a tokenizer that we know are shown all the same. */
static void test_inspect_without_a_tokenizer(void **state) {
    (void)state;
    assert_int_equal(call(cli_model, "", "model", "inspect", "tests/data/rope-model/rope-model.gguf", NULL),
                     0);
    assert_non_null(strstr(out, "tokenizer   not usable: "));
    assert_non_null(strstr(out, "output.weight"));
}

static void test_logits(void **state) {
    (void)state;
    char err[300];
    cJSON *o = NULL;
    assert_int_equal(
        call(cli_model, "", "model", "logits", "-m", model, "--ids", "1,2,3", "--top", "5", NULL), 0);
    assert_int_equal(json_parse(out, strlen(out), &json_limits_default, &o, err, sizeof err), 0);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(o, "top")), 5);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(o, "ids")), 3);
    cJSON_Delete(o);
    assert_int_equal(call(cli_model, "", "model", "logits", "-m", model, "--ids", "1", "--top", "0", NULL),
                     0);
    assert_int_equal(json_parse(out, strlen(out), &json_limits_default, &o, err, sizeof err), 0);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(o, "logits")), FIXTURE_VOCAB);
    cJSON_Delete(o);
}

static void test_model_refuses(void **state) {
    (void)state;
    static const char *const bad[] = {"", "1,", ",1", "1 2", "-1", "a", "99999999999999999999", "1,,2"};
    assert_int_equal(call(cli_model, "", "model", NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "erase", model, NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "inspect", NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "inspect", model, model, NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "inspect", model, "--plan=2", NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "inspect", model, "--plan=2x80", "--json", NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "logits", "-m", model, NULL), 2);
    assert_int_equal(
        call(cli_model, "", "model", "logits", "-m", model, "--ids", "1", "--devices", "0", NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "inspect", model, "--cuda-module", "x.so", NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "logits", "-m", model, "--ids", "1", "--cuda-module",
                          "/nonexistent.so", "--devices", "0,0", NULL),
                     2);
    assert_int_equal(call(cli_model, "", "model", "logits", "-m", model, "--ids", "1", "--cuda-module",
                          "/nonexistent.so", "--devices", "0,1", NULL),
                     1);
    assert_int_equal(call(cli_model, "", "model", "logits", "-m", model, "--ids", "1", "--top", "-1", NULL),
                     2);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(call(cli_model, "", "model", "logits", "-m", model, "--ids", bad[i], NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "logits", "-m", model, "--ids", "264", NULL), 1);
    assert_non_null(strstr(complaint, "Token 264 is not one of the model's 264 tokens."));
    assert_int_equal(call(cli_model, "", "model", "inspect", "/nonexistent.gguf", NULL), 1);
    assert_non_null(strstr(complaint, "/nonexistent.gguf"));
    assert_string_equal(out, "");
}

static void test_quantize(void **state) {
    (void)state;
    char made[256], err[300];
    cJSON *o = NULL;
    fixture_path(made, "cli-made.gguf");
    assert_int_equal(call(cli_model, "", "model", "quantize", model, made, "Q8_0", "--dry-run", NULL), 0);
    assert_non_null(strstr(out, "\"blk.1.ffn_down.weight\" F16 -> F16, 8 x 12"));
    assert_non_null(strstr(out, "would be "));
    assert_int_equal(access(made, F_OK), -1);
    assert_int_equal(call(cli_model, "", "model", "quantize", "--json", model, made, "bf16", NULL), 0);
    char *last = strstr(out, "{\"file\"");
    assert_non_null(last);
    assert_int_equal(json_parse(last, strlen(last), &json_limits_default, &o, err, sizeof err), 0);
    assert_int_equal(cJSON_GetObjectItem(o, "tensors")->valueint, 21);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(o, "written")));
    cJSON_Delete(o);
    char *end = strchr(out, '\n');
    *end = '\0';
    assert_int_equal(json_parse(out, strlen(out), &json_limits_default, &o, err, sizeof err), 0);
    assert_string_equal(json_get_string(o, "tensor"), "token_embd.weight");
    assert_string_equal(json_get_string(o, "to"), "BF16");
    assert_true(cJSON_GetObjectItem(o, "rms")->valuedouble > 0);
    assert_true(cJSON_GetObjectItem(o, "rms_error")->valuedouble >= 0);
    cJSON_Delete(o);
    assert_int_equal(call(cli_model, "", "model", "inspect", made, NULL), 0);
    assert_int_equal(call(cli_model, "", "model", "quantize", model, made, "BF16", NULL), 1);
    assert_non_null(strstr(complaint, "is there already"));
    assert_string_equal(out, "");
    assert_int_equal(unlink(made), 0);
    assert_int_equal(call(cli_model, "", "model", "quantize", model, made, NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "quantize", model, made, "Q8_0", "more", NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "quantize", model, made, "Q8_0", "-t", "x", NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "quantize", model, made, "Q9", NULL), 1);
    assert_non_null(strstr(complaint, "'Q9' is none of the types"));
    assert_int_equal(call(cli_model, "", "model", "quantize", model, "/nonexistent/x", "F16", NULL), 1);
    assert_non_null(strstr(complaint, "'/nonexistent/x' cannot be written"));
}

static void test_verify(void **state) {
    (void)state;
    assert_int_equal(call(cli_model, "", "model", "verify", model, NULL), 0);
    assert_non_null(strstr(out, ": good, 0 problems, 3 warnings\n"));
    assert_int_equal(call(cli_model, "", "model", "verify", "--json", "/nonexistent.gguf", NULL), 1);
    assert_non_null(strstr(out, "\"ok\": false"));
    assert_string_equal(complaint, "");
    assert_int_equal(call(cli_model, "", "model", "verify", NULL), 2);
    assert_int_equal(call(cli_model, "", "model", "verify", model, model, NULL), 2);
}

static int setup(void **state) {
    (void)state;
    struct fixture f;
    fixture_gguf(&f, NULL);
    fixture_write(fixture_path(model, "cli.gguf"), f.bytes.data, f.bytes.len);
    fixture_finish(&f);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return unlink(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens_of_text_and_template),
        cmocka_unit_test(test_text_from_standard_input),
        cmocka_unit_test(test_tokenize_refuses),
        cmocka_unit_test(test_inspect_as_json),
        cmocka_unit_test(test_inspect_for_people),
        cmocka_unit_test(test_inspect_without_a_tokenizer),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_model_refuses),
        cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_verify),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
