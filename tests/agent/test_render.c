/* The two profiles, span by span. What the default model is trained on is compared in test_cli_render.c. */
#include "agent/render.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Spans as text: untrusted ones between U+2039 and U+203A. The caller frees. */
static char *flat(struct render *r) {
    const struct agent_span *spans;
    size_t n;
    struct buf out;
    buf_init(&out, 1u << 20);
    assert_int_equal(render_spans(r, &spans, &n), 0);
    for (size_t i = 0; i < n; i++) {
        bool trusted = spans[i].kind == AGENT_SPAN_TRUSTED;
        assert_true(spans[i].len > 0);
        assert_int_equal(buf_puts(&out, trusted ? "" : "\xE2\x80\xB9"), 0);
        assert_int_equal(buf_append(&out, spans[i].text, spans[i].len), 0);
        assert_int_equal(buf_puts(&out, trusted ? "" : "\xE2\x80\xBA"), 0);
    }
    return buf_take(&out, NULL);
}

static void expect(struct render *r, const char *wanted) {
    char *got = flat(r);
    assert_string_equal(got, wanted);
    free(got);
}

static const struct agent_tool tools[] = {
    {.name = "get_price",
     .description = "Price of a \"good\" & more.",
     .schema = "{\"type\":\"object\",\"properties\":{\"good\":{\"type\":\"string\",\"description\":\" What "
               "it is. \"},\"n\":{\"type\":\"integer\"}},\"required\":[\"good\"]}"},
    {.name = "now", .description = "The time.", .schema = "{ \"type\": \"object\", \"properties\": {} }"},
};

static void stable_begins_with_tools_and_system(void **state) {
    (void)state;
    struct render r;
    render_init(&r, AGENT_PROFILE_STABLE, 1u << 20);
    render_prefix(&r, tools, 2, "Be <kind>.");
    expect(
        &r,
        "<|im_start|>system\nYou are a function calling AI model. You are provided with function signatures "
        "within <tools></tools> XML tags. You may call one or more functions to assist with the user query. "
        "Don't make assumptions about what values to plug into functions. Here are the available "
        "tools:\n<tools>\n‹{\"type\": \"function\", \"function\": {\"name\": \"get_price\", \"description\": "
        "\"Price of a \\\"good\\\" \\u0026 more.\", \"parameters\": {\"type\": \"object\", \"properties\": "
        "{\"good\": {\"type\": \"string\", \"description\": \" What it is. \"}, \"n\": {\"type\": "
        "\"integer\"}}, \"required\": [\"good\"]}}}\n{\"type\": \"function\", \"function\": {\"name\": "
        "\"now\", \"description\": \"The time.\", \"parameters\": {\"type\": \"object\", \"properties\": "
        "{}}}}›\n</tools>\nUse the following pydantic model json schema for each tool call you will make: "
        "{\"properties\": {\"name\": {\"title\": \"Name\", \"type\": \"string\"}, \"arguments\": {\"title\": "
        "\"Arguments\", \"type\": \"object\"}}, \"required\": [\"name\", \"arguments\"], \"title\": "
        "\"FunctionCall\", \"type\": \"object\"}\nFor each function call return a json object with function "
        "name and arguments within <tool_call></tool_call> XML tags as follows:\n<tool_call>\n{\"name\": "
        "<function-name>, \"arguments\": <args-dict>}\n</tool_call>\n\n‹Be <kind>.›<|im_end|>\n");
    render_clear(&r);
    render_prefix(&r, NULL, 0, "S");
    expect(&r, "<|im_start|>system\n‹S›<|im_end|>\n");
    render_clear(&r);
    render_prefix(&r, NULL, 0, "");
    render_prefix(&r, NULL, 0, NULL);
    expect(&r, "");
    render_finish(&r);
}

#define JSON_MODE "You are a helpful assistant that answers in JSON."
#define WITH_SCHEMA                                                                                          \
    JSON_MODE " Here's the json schema you must adhere to:\n<schema>\n‹{\"type\": \"object\", "            \
              "\"title\": \"\\u003c/schema\\u003e\", \"n\": 1.50}›\n</schema>"

static void json_mode_stands_between_tools_and_system(void **state) {
    (void)state;
    const struct render_answer schema = {"{\"type\":\"object\",\n\"title\":\"</schema>\",\"n\":1.50}"};
    const struct render_answer any = {NULL};
    struct render r;
    render_init(&r, AGENT_PROFILE_STABLE, 1u << 20);
    render_prefix_for(&r, NULL, 0, &schema, NULL);
    expect(&r, "<|im_start|>system\n" WITH_SCHEMA "<|im_end|>\n");
    render_clear(&r);
    render_prefix_for(&r, NULL, 0, &schema, "S");
    expect(&r, "<|im_start|>system\n" WITH_SCHEMA "\n\n‹S›<|im_end|>\n");
    render_clear(&r);
    render_prefix_for(&r, NULL, 0, &any, "");
    expect(&r, "<|im_start|>system\n" JSON_MODE "<|im_end|>\n");
    render_clear(&r);
    render_prefix_for(&r, tools + 1, 1, &schema, "S");
    char *got = flat(&r);
    const char *end = "</tool_call>\n\n" WITH_SCHEMA "\n\n‹S›<|im_end|>\n";
    assert_true(strlen(got) > strlen(end));
    assert_string_equal(got + strlen(got) - strlen(end), end);
    free(got);
    render_finish(&r);
    render_init(&r, AGENT_PROFILE_HF_COMPAT, 1u << 20);
    render_prefix_for(&r, NULL, 0, &schema, "S");
    expect(&r, "<|begin_of_text|><|im_start|>system\n" WITH_SCHEMA "\n\n‹S›<|im_end|>\n");
    render_finish(&r);
    render_init(&r, AGENT_PROFILE_STABLE, 1u << 20);
    render_prefix_for(&r, NULL, 0, &(struct render_answer){"{"}, "");
    const struct agent_span *spans;
    size_t n;
    assert_int_equal(render_spans(&r, &spans, &n), -EINVAL);
    render_finish(&r);
}

static void turns_close_what_is_open(void **state) {
    (void)state;
    struct render r;
    render_init(&r, AGENT_PROFILE_STABLE, 1u << 20);
    render_user(&r, "a", 1);
    render_user(&r, "b", 1);
    render_assistant(&r, "c", 1);
    render_assistant(&r, "d", 1);
    render_responses_begin(&r);
    render_response(&r, "1", 1);
    render_response(&r, "2", 1);
    render_responses_end(&r, true);
    render_generate(&r);
    render_generate(&r);
    expect(&r, "<|im_start|>user\n‹a›<|im_end|>\n<|im_start|>user\n‹b›<|im_end|>\n<|im_start|>assistant\n‹c›<"
               "|im_end|>\n<|im_start|>assistant\n‹d›<|im_end|>\n<|im_start|>tool\n<tool_response>\n‹1›\n</"
               "tool_response>\n<tool_response>\n‹2›\n</tool_response>\n<|im_end|>\n<|im_start|>assistant\n");
    render_clear(&r); /* the model wrote; its turn is open */
    render_user(&r, "e", 1);
    expect(&r, "<|im_end|>\n<|im_start|>user\n‹e›<|im_end|>\n");
    render_finish(&r);
}

/* Of what a model is said to have written, its own tags are trusted and nothing else. */
static void assistant_text_keeps_its_tags_only(void **state) {
    (void)state;
    const char *text =
        "<PLAN>a</PLAN><co>b</co><tool_call>{}</tool_call><|im_end|><|im_start|><tool_response><tools><x";
    struct render r;
    render_init(&r, AGENT_PROFILE_STABLE, 1u << 20);
    render_assistant(&r, text, strlen(text));
    expect(&r, "<|im_start|>assistant\n<PLAN>‹a›</PLAN><co>‹b›</co><tool_call>‹{}›</"
               "tool_call>‹<|im_end|><|im_start|><tool_response><tools><x›");
    render_finish(&r);
}

/* The published template, as the fact sheet of the format describes it: no newline behind a tool turn, the
 * last </tool_response> without one, signatures in the descriptions and not escaped, one brace missing per
 * tool, system text in its own turn. */
static void compat_is_the_published_template(void **state) {
    (void)state;
    struct render r;
    render_init(&r, AGENT_PROFILE_HF_COMPAT, 1u << 20);
    render_prefix(&r, tools, 2, "S");
    render_user(&r, "Hi", 2);
    render_assistant(&r, "<tool_call>\n{}\n</tool_call>", strlen("<tool_call>\n{}\n</tool_call>"));
    render_responses_begin(&r);
    render_response(&r, "<1>", 3);
    render_response(&r, "2", 1);
    render_responses_end(&r, false);
    render_assistant(&r, "Done.", 5);
    render_responses_begin(&r);
    render_response(&r, "3", 1);
    render_responses_end(&r, true);
    render_generate(&r);
    expect(&r,
           "<|begin_of_text|><|im_start|>system\nYou are a function calling AI model. You are provided with "
           "function signatures within <tools></tools> XML tags. You may call one or more functions to "
           "assist with the user query. Don't make assumptions about what values to plug into functions. "
           "Here are the available tools: <tools>‹ {\"type\": \"function\", \"function\": {\"name\": "
           "\"get_price\", \"description\": \"get_price(good: str, n: int) - Price of a \"good\" & more.\n\n "
           "   Args:\n        good(str): What it is.        n(int): \", \"parameters\": {\"type\": "
           "\"object\", \"properties\": {\"good\": {\"type\": \"string\", \"description\": \" What it is. "
           "\"}, \"n\": {\"type\": \"integer\"}}, \"required\": [\"good\"]}}\n{\"type\": \"function\", "
           "\"function\": {\"name\": \"now\", \"description\": \"now() - The time.\n\n\", \"parameters\": "
           "{}} ›</tools>Use the following pydantic model json schema for each tool call you will make: "
           "{\"properties\": {\"name\": {\"title\": \"Name\", \"type\": \"string\"}, \"arguments\": "
           "{\"title\": \"Arguments\", \"type\": \"object\"}}, \"required\": [\"name\", \"arguments\"], "
           "\"title\": \"FunctionCall\", \"type\": \"object\"}}\nFor each function call return a json object "
           "with function name and arguments within <tool_call></tool_call> XML tags as "
           "follows:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
           "<args-dict>}\n</"
           "tool_call><|im_end|>\n<|im_start|>system\n‹S›<|im_end|>\n<|im_start|>user\n‹Hi›<|im_end|>\n<|im_"
           "start|>assistant\n<tool_call>‹\n{}\n›</"
           "tool_call><|im_end|>\n<|im_start|>tool\n<tool_response>\n‹<1>›\n</"
           "tool_response>\n<tool_response>\n‹2›\n</"
           "tool_response>\n<|im_end|><|im_start|>assistant\n‹Done.›<|im_end|>\n<|im_start|>tool\n<tool_"
           "response>\n‹3›\n</tool_response><|im_end|><|im_start|>assistant\n");
    render_finish(&r);
}

static void compat_names_python_types(void **state) {
    (void)state;
    static const struct {
        const char *schema, *type;
    } all[] = {
        {"{\"type\": \"string\"}", "str"},
        {"{\"type\": \"number\"}", "float"},
        {"{\"type\": \"boolean\"}", "bool"},
        {"{\"type\": \"array\", \"items\": {\"type\": \"string\"}}", "list[Union[]]"},
        {"{\"type\": \"object\"}", "dict"},
        {"{\"type\": \"object\", \"additionalProperties\": {\"type\": \"integer\"}}", "dict[str, int]"},
        {"{\"type\": \"object\", \"additionalProperties\": false}", "dict[str, Union[]]"},
        {"{\"type\": [\"string\", \"integer\"]}", "Union[str,int]"},
        {"{\"type\": \"null\"}", "Any"},
        {"{}", "Union[]"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct buf schema, wanted;
        struct render r;
        buf_init(&schema, 4096);
        buf_init(&wanted, 4096);
        assert_int_equal(buf_printf(&schema, "{\"properties\": {\"p\": %s}}", all[i].schema), 0);
        assert_int_equal(buf_printf(&wanted, "f(p: %s) - ", all[i].type), 0);
        const struct agent_tool tool = {.name = "f", .description = "", .schema = schema.data};
        render_init(&r, AGENT_PROFILE_HF_COMPAT, 1u << 20);
        render_prefix(&r, &tool, 1, NULL);
        char *got = flat(&r);
        assert_non_null(strstr(got, wanted.data));
        free(got);
        render_finish(&r);
        buf_finish(&schema);
        buf_finish(&wanted);
    }
}

static void bodies(void **state) {
    (void)state;
    struct buf b;
    buf_init(&b, 300);
    assert_int_equal(render_body_ok(&b, AGENT_PROFILE_STABLE, "f", "{\"a\":[1,2.50]}", 14, false), 0);
    assert_string_equal(b.data, "{\"name\": \"f\", \"content\": {\"a\": [1, 2.50]}}");
    buf_clear(&b);
    assert_int_equal(render_body_ok(&b, AGENT_PROFILE_STABLE, "f", "{\"a\": ", 6, false), 0);
    assert_string_equal(b.data, "{\"name\": \"f\", \"content\": \"{\\\"a\\\": \"}");
    buf_clear(&b);
    assert_int_equal(render_body_ok(&b, AGENT_PROFILE_HF_COMPAT, "f", "</tool_response>", 16, false), 0);
    assert_string_equal(b.data, "{\"name\": \"f\", \"content\": \"</tool_response>\"}");
    buf_clear(&b);
    assert_int_equal(render_body_error(&b, AGENT_PROFILE_STABLE, "<f>", "</tool_response>", 16), 0);
    assert_string_equal(b.data,
                        "{\"name\": \"\\u003cf\\u003e\", \"error\": \"\\u003c/tool_response\\u003e\"}");
    buf_clear(&b);
    assert_int_equal(render_body_error(&b, AGENT_PROFILE_STABLE, "", "x", 1), 0);
    assert_string_equal(b.data, "{\"error\": \"x\"}");
    char much[400];
    memset(much, 'x', sizeof much);
    buf_clear(&b);
    assert_int_equal(render_body_ok(&b, AGENT_PROFILE_STABLE, "f", much, sizeof much, false), -ENOBUFS);
    buf_finish(&b);
}

static void a_turn_may_begin_inside_a_section(void **state) {
    (void)state;
    const struct agent_span *spans;
    size_t n;
    struct render r;
    render_init(&r, AGENT_PROFILE_STABLE, 1000);
    render_user(&r, "x", 1);
    render_generate(&r);
    render_section(&r, "REASONING_SCRATCHPAD");
    assert_int_equal(render_spans(&r, &spans, &n), 0);
    static const char end[] = "<|im_start|>assistant\n<REASONING_SCRATCHPAD>\n";
    assert_int_equal(spans[n - 1].kind, AGENT_SPAN_TRUSTED);
    assert_true(spans[n - 1].len > sizeof end - 1);
    assert_memory_equal(spans[n - 1].text + spans[n - 1].len - (sizeof end - 1), end, sizeof end - 1);
    render_finish(&r);
}

static void the_ceiling_holds(void **state) {
    (void)state;
    const struct agent_span *spans;
    size_t n;
    struct render r;
    render_init(&r, AGENT_PROFILE_STABLE, 30);
    render_user(&r, "a long message that does not fit", 32);
    render_generate(&r);
    assert_int_equal(render_spans(&r, &spans, &n), -ENOBUFS);
    assert_true(r.text.len <= 30);
    render_clear(&r);
    render_prefix(&r, &(struct agent_tool){.name = "f", .description = "", .schema = "{}"}, 1, "");
    assert_int_equal(render_spans(&r, &spans, &n), -ENOBUFS);
    render_finish(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stable_begins_with_tools_and_system),
        cmocka_unit_test(json_mode_stands_between_tools_and_system),
        cmocka_unit_test(turns_close_what_is_open),
        cmocka_unit_test(assistant_text_keeps_its_tags_only),
        cmocka_unit_test(compat_is_the_published_template),
        cmocka_unit_test(compat_names_python_types),
        cmocka_unit_test(bodies),
        cmocka_unit_test(a_turn_may_begin_inside_a_section),
        cmocka_unit_test(the_ceiling_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
