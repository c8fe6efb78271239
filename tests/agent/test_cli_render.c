/* `hermesd render`, and with it that agent/render writes the bytes the default model is trained on.
 *
 * tests/data/render-golden.jsonl was written by the Python twin, models/render.py:
 *   models/generate.py --sample 60 --seed 3 --json > tests/data/render-golden.jsonl */
#include "daemon/cli_render.h"

#include "agent/tags.h"
#include "base/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define BOS     "<|begin_of_text|>"
#define LINES   60
#define OPENING "<|im_start|>assistant\n"

static char *render(const char *json, enum agent_profile profile, bool spans) {
    char err[300] = "";
    struct buf out;
    buf_init(&out, 16u << 20);
    int rc = cli_render_text(json, strlen(json), profile, spans, &out, err, sizeof err);
    if (rc != 0)
        print_message("%s\n", err);
    assert_int_equal(rc, 0);
    return buf_take(&out, NULL);
}

/* One byte for each byte of the text: 't' or 'u'. */
static char *trust_of(const cJSON *spans, size_t len) {
    char *map = calloc(len + 1, 1);
    size_t at = 0;
    const cJSON *span;
    cJSON_ArrayForEach(span, spans) {
        size_t n = strlen(json_get_string(span, "text"));
        bool trusted = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(span, "trusted"));
        assert_true(at + n <= len);
        memset(map + at, trusted ? 't' : 'u', n);
        at += n;
    }
    assert_int_equal(at, len);
    return map;
}

/* The twin calls all that the model wrote trusted; we trust only the tags in it, which come out as the same
 * tokens. */
static void distrust_assistant(const cJSON *golden, const char *text, char *map) {
    const cJSON *message;
    const char *at = text;
    cJSON_ArrayForEach(message, cJSON_GetObjectItemCaseSensitive(golden, "messages")) {
        if (strcmp(json_get_string(message, "role"), "assistant") != 0)
            continue;
        const char *content = json_get_string(message, "content");
        at = strstr(at, OPENING);
        assert_non_null(at);
        at += sizeof OPENING - 1;
        assert_memory_equal(at, content, strlen(content));
        for (size_t i = 0, n = strlen(content); i < n;) {
            const struct tag *tag = NULL;
            size_t plain = tags_find(NULL, content + i, n - i, &tag);
            memset(map + (at - text) + i, 'u', plain);
            i += plain + (tag != NULL ? tag->len : 0);
        }
        at += strlen(content);
    }
}

static void compare_line(const char *line) {
    cJSON *golden, *spans;
    assert_int_equal(json_parse(line, strlen(line), NULL, &golden, NULL, 0), 0);
    const char *wanted = json_get_string(golden, "text");
    assert_memory_equal(wanted, BOS, sizeof BOS - 1);
    wanted += sizeof BOS - 1;
    char *text = render(line, AGENT_PROFILE_STABLE, false), *json = render(line, AGENT_PROFILE_STABLE, true);
    assert_string_equal(text, wanted);
    assert_int_equal(json_parse(json, strlen(json), NULL, &spans, NULL, 0), 0);
    char *ours = trust_of(spans, strlen(text));
    char *theirs = trust_of(cJSON_GetObjectItemCaseSensitive(golden, "spans"), strlen(text) + sizeof BOS - 1);
    distrust_assistant(golden, text, theirs + sizeof BOS - 1);
    assert_string_equal(ours, theirs + sizeof BOS - 1);
    cJSON_Delete(golden);
    cJSON_Delete(spans);
    free(text);
    free(json);
    free(ours);
    free(theirs);
}

static void renders_what_the_model_is_trained_on(void **state) {
    (void)state;
    FILE *f = fopen("tests/data/render-golden.jsonl", "r");
    assert_non_null(f);
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    int lines = 0;
    for (; (n = getline(&line, &cap, f)) > 0; lines++) {
        if (line[n - 1] == '\n')
            line[n - 1] = '\0';
        compare_line(line);
    }
    free(line);
    fclose(f);
    assert_int_equal(lines, LINES);
}

#define CONVERSATION                                                                                         \
    "{\"system\": \"Be <brief>.\", \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", "    \
    "\"description\": \"a < b\", \"parameters\": "                                                           \
    "{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"number\","                                       \
    "\"default\":1.50}}}}}], \"messages\": [{\"role\": \"user\", \"content\": \"Go <|im_end|>\"}, "          \
    "{\"role\": \"assistant\", \"content\": \"Now.\", \"tool_calls\": [{\"function\": {\"name\": \"f\", "    \
    "\"arguments\": {\"x\":2.0}}}, {\"name\": \"f\", \"arguments\": \"{\\\"x\\\": 3}\"}]}, "                 \
    "{\"role\": \"tool\", \"name\": \"f\", \"content\": \"<4>\"}, {\"role\": \"tool\", \"content\": "        \
    "\"{\\\"v\\\":\\\"<5>\\\"}\"}]}"

static void renders_openai_messages(void **state) {
    (void)state;
    char *text = render(CONVERSATION, AGENT_PROFILE_STABLE, false);
    const char *tail =
        "\n</tool_call>\n\nBe <brief>.<|im_end|>\n<|im_start|>user\nGo "
        "<|im_end|><|im_end|>\n<|im_start|>assistant\n"
        "Now.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 2.0}}\n</tool_call>\n"
        "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": "
        "3}}\n</tool_call><|im_end|>\n<|im_start|>tool\n"
        "<tool_response>\n{\"name\": \"f\", \"content\": \"\\u003c4\\u003e\"}\n</tool_response>\n"
        "<tool_response>\n{\"v\": "
        "\"\\u003c5\\u003e\"}\n</tool_response>\n<|im_end|>\n<|im_start|>assistant\n";
    assert_true(strlen(text) > strlen(tail));
    assert_string_equal(text + strlen(text) - strlen(tail), tail);
    assert_non_null(
        strstr(text, "<tools>\n{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": "
                     "\"a \\u003c b\", \"parameters\": {\"type\": \"object\", \"properties\": {\"x\": "
                     "{\"type\": \"number\", \"default\": 1.50}}}}}\n</tools>"));
    free(text);
    text = render(CONVERSATION, AGENT_PROFILE_HF_COMPAT, false);
    assert_null(strstr(text, "Now."));
    free(text);
}

static void empty_stays_empty(void **state) {
    (void)state;
    char *text =
        render("{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}", AGENT_PROFILE_STABLE, false);
    assert_string_equal(text, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    free(text);
    text =
        render("{\"system\": \"\", \"tools\": [], \"messages\": [{\"role\": \"user\", \"content\": \"\"}]}",
               AGENT_PROFILE_STABLE, true);
    assert_string_equal(
        text,
        "[{\"trusted\": true, \"text\": \"<|im_start|>user\\n<|im_end|>\\n<|im_start|>assistant\\n\"}]\n");
    free(text);
    text = render("{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", "
                  "\"content\": \"Hi\"}]}",
                  AGENT_PROFILE_STABLE, false);
    assert_string_equal(
        text, "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    free(text);
}

#define JSON_MODE(format)                                                                                    \
    "{\"response_format\": " format ", \"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}"
#define SAID "<|im_start|>system\nYou are a helpful assistant that answers in JSON."
#define REST "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"

static void renders_json_mode(void **state) {
    (void)state;
    char *text = render(JSON_MODE("{\"type\": \"json_object\"}"), AGENT_PROFILE_STABLE, false);
    assert_string_equal(text, SAID REST);
    free(text);
    text = render(JSON_MODE("{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"minimum\":1.50,"
                            "\"title\":\"</schema>\"}}}"),
                  AGENT_PROFILE_STABLE, true);
    assert_string_equal(
        text,
        "[{\"trusted\": true, \"text\": \"<|im_start|>system\\nYou are a helpful assistant that answers "
        "in JSON. Here's the json schema you must adhere to:\\n<schema>\\n\"}, {\"trusted\": false, "
        "\"text\": \"{\\\"minimum\\\": 1.50, \\\"title\\\": "
        "\\\"\\\\u003c/schema\\\\u003e\\\"}\"}, {\"trusted\": true, \"text\": "
        "\"\\n</schema><|im_end|>\\n<|im_start|>user\\n\"}, {\"trusted\": false, \"text\": \"Hi\"}, "
        "{\"trusted\": true, \"text\": \"<|im_end|>\\n<|im_start|>assistant\\n\"}]\n");
    free(text);
    text = render(JSON_MODE("{\"type\": \"text\"}"), AGENT_PROFILE_STABLE, false);
    assert_string_equal(text, REST + strlen("<|im_end|>\n"));
    free(text);
    text = render(JSON_MODE("{\"type\": \"json_object\"}"), AGENT_PROFILE_HF_COMPAT, false);
    assert_string_equal(text, BOS SAID REST);
    free(text);
}

static void refuses_what_it_cannot_render(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"messages\": 3}",
        "{\"messages\": [{}]}",
        "{\"messages\": [{\"role\": \"robot\"}]}",
        "{\"messages\": [{\"role\": \"user\", \"content\": 3}]}",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"system\", \"content\": "
        "\"a\"}]}",
        "{\"system\": 1, \"messages\": []}",
        "{\"tools\": 1, \"messages\": []}",
        "{\"tools\": [{\"name\": \"f\"}], \"messages\": []}",
        "{\"tools\": [{\"name\": 1, \"parameters\": {}}], \"messages\": []}",
        "{\"messages\": [{\"role\": \"tool\", \"responses\": [1]}]}",
        "{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{\"name\": 1}]}]}",
        "{\"response_format\": 1, \"messages\": []}",
        "{\"response_format\": {\"type\": \"xml\"}, \"messages\": []}",
        "{\"response_format\": {\"type\": \"json_schema\"}, \"messages\": []}",
        "{\"messages\": [}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char err[300] = "";
        struct buf out;
        buf_init(&out, 1u << 20);
        assert_int_equal(
            cli_render_text(bad[i], strlen(bad[i]), AGENT_PROFILE_STABLE, false, &out, err, sizeof err),
            -EINVAL);
        assert_true(strlen(err) > 10);
        assert_int_equal(out.len, 0);
        buf_finish(&out);
    }
}

/* The command itself, with files in place of the standard streams. */
static int command(const char *input, char *argv[], char *output, size_t size) {
    char in_path[] = "/tmp/hermesd-render-in-XXXXXX", out_path[] = "/tmp/hermesd-render-out-XXXXXX";
    int in = mkstemp(in_path), out = mkstemp(out_path);
    assert_true(in >= 0 && out >= 0);
    assert_int_equal(write(in, input, strlen(input)), (ssize_t)strlen(input));
    fflush(stdout);
    int keep_in = dup(0), keep_out = dup(1), keep_err = dup(2), argc = 0;
    assert_int_equal(lseek(in, 0, SEEK_SET), 0);
    dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    while (argv[argc] != NULL)
        argc++;
    clearerr(stdin);
    int rc = cli_render(argc, argv);
    fflush(stdout);
    dup2(keep_in, 0);
    dup2(keep_out, 1);
    dup2(keep_err, 2);
    ssize_t n = pread(out, output, size - 1, 0);
    output[n < 0 ? 0 : n] = '\0';
    close(in), close(out), close(keep_in), close(keep_out), close(keep_err);
    unlink(in_path);
    unlink(out_path);
    return rc;
}

static void the_command_reads_and_writes(void **state) {
    (void)state;
    char output[4096];
    const char *hi = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}";
    char *plain[] = {"render", NULL}, *compat[] = {"render", "--profile", "hf-compat", "--spans", NULL};
    char *wrong[] = {"render", "--profile", "best", NULL}, *more[] = {"render", "file", NULL};
    assert_int_equal(command(hi, plain, output, sizeof output), 0);
    assert_string_equal(output, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    assert_int_equal(command(hi, compat, output, sizeof output), 0);
    assert_string_equal(
        output, "[{\"trusted\": true, \"text\": \"<|begin_of_text|><|im_start|>user\\n\"}, {\"trusted\": "
                "false, \"text\": \"Hi\"}, {\"trusted\": true, \"text\": "
                "\"<|im_end|>\\n<|im_start|>assistant\\n\"}]\n");
    assert_int_equal(command(hi, wrong, output, sizeof output), 2);
    assert_int_equal(command(hi, more, output, sizeof output), 2);
    assert_int_equal(command("nonsense", plain, output, sizeof output), 1);
    assert_non_null(strstr(output, "hermesd render: JSON:"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(renders_what_the_model_is_trained_on),
        cmocka_unit_test(renders_openai_messages),
        cmocka_unit_test(empty_stays_empty),
        cmocka_unit_test(renders_json_mode),
        cmocka_unit_test(refuses_what_it_cannot_render),
        cmocka_unit_test(the_command_reads_and_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
