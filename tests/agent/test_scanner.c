/* The scanner: every case as a whole, cut in two at each place, and byte by byte; then noise. */
#include "agent/scanner.h"
#include "base/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Events as text: visible text as it is, [PLAN:text] or [PLAN:text~] for a truncated section, (json) for a
 * call, (!raw) for a bad one, (?PLAN json) for a rehearsed one, # for a stop. */
struct record {
    struct buf out;
    bool stopped, in_call;
    const char *section;
    size_t last_at;
};

/* One complete value, and nothing but space, closers and the beginning of a closing tag behind it. */
static bool is_whole(const struct scanner_event *e) {
    long n = json_value_span(e->raw, e->raw_len);
    for (size_t i = n > 0 ? (size_t)n : 0; n > 0 && i < e->raw_len; i++)
        if (strchr(" \n}]</tol", e->raw[i]) == NULL)
            return false;
    return n > 0;
}

static int record(void *arg, const struct scanner_event *e) {
    struct record *r = arg;
    assert_true(!r->stopped);
    assert_true(e->at >= r->last_at || e->type == SCANNER_CALL_OPEN || e->type == SCANNER_SECTION_OPEN);
    r->last_at = e->at;
    assert_true(!r->in_call || e->type == SCANNER_CALL);
    switch (e->type) {
    case SCANNER_TEXT:
        assert_null(r->section);
        return buf_append(&r->out, e->text, e->len);
    case SCANNER_SECTION_OPEN:
        assert_null(r->section);
        r->section = e->section;
        return buf_printf(&r->out, "[%s:", e->section);
    case SCANNER_SECTION_TEXT:
        assert_non_null(r->section);
        return buf_append(&r->out, e->text, e->len);
    case SCANNER_SECTION_CLOSE:
        assert_ptr_equal(r->section, e->section);
        r->section = NULL;
        return buf_puts(&r->out, e->truncated ? "~]" : "]");
    case SCANNER_CALL_OPEN:
        r->in_call = true;
        return 0;
    case SCANNER_CALL:
        assert_ptr_equal(r->section, e->section);
        assert_true(r->in_call == (e->section == NULL));
        r->in_call = false;
        if (e->error != NULL || !is_whole(e))
            return buf_printf(&r->out, "(!%.*s)", (int)e->raw_len, e->raw);
        int n = (int)json_value_span(e->raw, e->raw_len);
        if (e->section != NULL)
            return buf_printf(&r->out, "(?%s %.*s)", e->section, n, e->raw);
        return buf_printf(&r->out, "(%.*s)", n, e->raw);
    case SCANNER_STOP:
        r->stopped = true;
        return buf_puts(&r->out, "#");
    }
    return -1;
}

/* Feeds pieces that end at the given offsets; the caller frees. */
static bool json_mode;

static char *scan(const char *text, size_t len, const size_t *cuts, size_t n_cuts) {
    struct record r = {0};
    struct scanner s;
    buf_init(&r.out, 64u << 20);
    scanner_init(&s, NULL, record, &r);
    if (json_mode)
        scanner_expect_json(&s);
    size_t from = 0;
    for (size_t i = 0; i <= n_cuts; i++) {
        size_t to = i < n_cuts ? cuts[i] : len;
        char *piece = malloc(to - from + 1); /* of its own size, so that reading past it is seen */
        memcpy(piece, text + from, to - from);
        assert_int_equal(scanner_feed(&s, piece, to - from), 0);
        free(piece);
        from = to;
    }
    assert_int_equal(scanner_end(&s), 0);
    assert_int_equal(s.offset, len);
    assert_null(r.section);
    assert_false(r.in_call);
    scanner_finish(&s);
    return buf_take(&r.out, NULL);
}

static void expect(const char *text, const char *wanted) {
    size_t len = strlen(text);
    char *got = scan(text, len, NULL, 0);
    assert_string_equal(got, wanted);
    free(got);
    for (size_t cut = 0; cut <= len; cut++) {
        got = scan(text, len, &cut, 1);
        assert_string_equal(got, wanted);
        free(got);
    }
    size_t *all = calloc(len + 1, sizeof *all);
    for (size_t i = 0; i < len; i++)
        all[i] = i + 1;
    got = scan(text, len, all, len);
    assert_string_equal(got, wanted);
    free(got);
    free(all);
}

struct example {
    const char *text, *wanted;
};
#define CALL_A  "{\"name\": \"a\", \"arguments\": {}}"
#define CALL_B  "{\"arguments\": {\"name\": \"x\"}, \"name\": \"b\"}"
#define OPEN    "<tool_call>"
#define CLOSE   "</tool_call>"
#define BLOCK_A OPEN "\n" CALL_A "\n" CLOSE

static void expect_all(const struct example *examples, size_t n) {
    for (size_t i = 0; i < n; i++)
        expect(examples[i].text, examples[i].wanted);
}
#define EXPECT_ALL(examples) expect_all(examples, sizeof(examples) / sizeof *(examples))

static void well_formed_calls(void **state) {
    (void)state;
    static const struct example all[] = {
        {"", ""},
        {"Hello.", "Hello."},
        {BLOCK_A, "(\n" CALL_A ")"},
        {OPEN CALL_A CLOSE, "(" CALL_A ")"},
        {"\n" OPEN CALL_A CLOSE "\n", "\n(" CALL_A ")\n"},
        {OPEN CALL_B CLOSE, "(" CALL_B ")"},
        {BLOCK_A "\n" OPEN CALL_B CLOSE, "(\n" CALL_A ")\n(" CALL_B ")"},
        {BLOCK_A BLOCK_A, "(\n" CALL_A ")(\n" CALL_A ")"},
        {"First this. " BLOCK_A " then that.", "First this. (\n" CALL_A ") then that."},
        {OPEN "{\n  \"name\":\n \"a\",\n\t\"arguments\": { }\n}" CLOSE,
         "({\n  \"name\":\n \"a\",\n\t\"arguments\": { }\n})"},
        {OPEN
         "{\"arguments\": {\"s\": \"</tool_call> <tool_call> <|im_end|> </PLAN> <tool_response>\"}}" CLOSE
         "x",
         "({\"arguments\": {\"s\": \"</tool_call> <tool_call> <|im_end|> </PLAN> <tool_response>\"}})x"},
        {OPEN "{\"a\": \"val{{{ue1 /{a,b \\\"}} \\\\\"}" CLOSE, "({\"a\": \"val{{{ue1 /{a,b \\\"}} \\\\\"})"},
        {OPEN "{\"a\": \"it's\"}" CLOSE, "({\"a\": \"it's\"})"},
        {"I say <co>this</co>.", "I say <co>this</co>."},
        {"a < b <tool_cal <tool_calls> <<PLAN <", "a < b <tool_cal <tool_calls> <<PLAN <"},
        {"<" OPEN CALL_A CLOSE, "<(" CALL_A ")"},
        {"<tool" OPEN CALL_A CLOSE "</tool", "<tool(" CALL_A ")</tool"},
        {"<tools>x</tools>", "<tools>x</tools>"},
        {"caf\xC3\xA9 " OPEN "{\"a\": \"\xE2\x82\xAC\"}" CLOSE, "caf\xC3\xA9 ({\"a\": \"\xE2\x82\xAC\"})"},
    };
    EXPECT_ALL(all);
}

static void sections(void **state) {
    (void)state;
    static const struct example all[] = {
        {"<PLAN>\n1. x\n</PLAN>\nDone.", "[PLAN:\n1. x\n]\nDone."},
        {"<think>a</think>b<scratch_pad>c</scratch_pad>", "[think:a]b[scratch_pad:c]"},
        {"<SCRATCHPAD>a</SCRATCHPAD><REASONING>b</REASONING><INNER_MONOLOGUE>c</"
         "INNER_MONOLOGUE><EXECUTION>d</EXECUTION>",
         "[SCRATCHPAD:a][REASONING:b][INNER_MONOLOGUE:c][EXECUTION:d]"},
        {"<REFLECTION>a</REFLECTION><THINKING>b</THINKING><SOLUTION>c</SOLUTION><EXPLANATION>d</EXPLANATION>"
         "<UNIT_TEST>e</UNIT_TEST><REASONING_SCRATCHPAD>f</REASONING_SCRATCHPAD><scratchpad>g</scratchpad>",
         "[REFLECTION:a][THINKING:b][SOLUTION:c][EXPLANATION:d][UNIT_TEST:e][REASONING_SCRATCHPAD:f]["
         "scratchpad:g]"},
        {"<plan>x</plan>", "<plan>x</plan>"},
        {"<PLAN></PLAN>", "[PLAN:]"},
        {"<PLAN>a<PLAN>b</PLAN>c</PLAN>d", "[PLAN:a<PLAN>b</PLAN>c]d"},
        {"<PLAN>a</PLAN>b<PLAN>c", "[PLAN:a]b[PLAN:c~]"},
        {"<PLAN>a<think>b</PLAN>c", "[PLAN:a<think>b]c"},
        {"<PLAN>never closed", "[PLAN:never closed~]"},
        {"<PLAN>never closed</PLA", "[PLAN:never closed</PLA~]"},
        {"x</PLAN>y", "x</PLAN>y"},
        {"<PLAN>p</PLAN>\n" BLOCK_A, "[PLAN:p]\n(\n" CALL_A ")"},
        {"<think>" BLOCK_A "</think>no", "[think:(?think \n" CALL_A ")" BLOCK_A "]no"},
        {"<think>" OPEN CALL_A "</think>no", "[think:(?think " CALL_A ")" OPEN CALL_A "]no"},
        {"<think>" BLOCK_A, "[think:(?think \n" CALL_A ")" BLOCK_A "~]"},
        {"<think>" OPEN "{\"a\": \"</think>\"}" CLOSE "</think>",
         "[think:(?think {\"a\": \"</think>\"})" OPEN "{\"a\": \"</think>\"}" CLOSE "]"},
        {"<think>I write " OPEN " now</think>", "[think:I write " OPEN " now]"},
        {"<think>" OPEN "</think>ok", "[think:" OPEN "]ok"},
        {"<think>" OPEN "{'a': 1}" CLOSE "</think>ok",
         "[think:(?think {'a': 1})" OPEN "{'a': 1}" CLOSE "]ok"},
        {"<think>" OPEN "{\"a\": \"x}</think>ok " BLOCK_A, "[think:" OPEN "{\"a\": \"x}]ok (\n" CALL_A ")"},
        {"<think>stray " CLOSE "</think>", "[think:stray " CLOSE "]"},
    };
    EXPECT_ALL(all);
}

static void calls_that_are_not_quite(void **state) {
    (void)state;
    static const struct example all[] = {
        /* the end is certain without the tag */
        {OPEN CALL_A, "(" CALL_A ")"},
        {OPEN CALL_A "\n</tool", "(" CALL_A ")"},
        {OPEN CALL_A "\n" OPEN CALL_B CLOSE, "(" CALL_A ")(" CALL_B ")"},
        {OPEN CALL_A "</think>", "(" CALL_A ")"},
        {OPEN CALL_A "<PLAN>x</PLAN>", "(" CALL_A ")[PLAN:x]"},
        {OPEN CALL_A "}} \n" CLOSE, "(" CALL_A ")"},
        /* markers alone */
        {OPEN "\n" OPEN CALL_A CLOSE CLOSE, "(" CALL_A ")"},
        {"some text " CLOSE " trailing", "some text  trailing"},
        /* no calls: an error, and the rest is read on */
        {OPEN CLOSE "x", "(!)x"},
        {OPEN " \n", "(! \n)"},
        {OPEN, "(!)"},
        {OPEN "prose" CLOSE "x", "(!prose)x"},
        {OPEN "prose", "(!prose)"},
        {OPEN "prose </tool", "(!prose </tool)"},
        {OPEN "prose" BLOCK_A, "(!prose)(\n" CALL_A ")"},
        {OPEN "<co>" CLOSE, "(!<co>)"},
        {OPEN "<function=f><parameter=k>v</parameter></function>" CLOSE "x",
         "(!<function=f><parameter=k>v</parameter></function>)x"},
        {OPEN "{'name': 'a', 'arguments': {'q': 'say \"hi'}}" CLOSE "\n" BLOCK_A,
         "(!{'name': 'a', 'arguments': {'q': 'say \"hi'}})\n(\n" CALL_A ")"},
        {OPEN "{<PLAN>" CLOSE, "(!{<PLAN>)"},
        {OPEN CALL_A " and more" CLOSE "x", "(!" CALL_A " and more)x"},
        {OPEN CALL_A "\n" CALL_B CLOSE, "(!" CALL_A "\n" CALL_B ")"},
        {OPEN "{\"name\": \"a\", \"arguments\": {}" CLOSE "x", "(!{\"name\": \"a\", \"arguments\": {})x"},
        {OPEN "{\"name\": \"a\", \"arguments\": {\"q\": \"cut",
         "(!{\"name\": \"a\", \"arguments\": {\"q\": \"cut)"},
        {OPEN "{\"q\": \"He said \"hi\"\"\"}" CLOSE " " BLOCK_A " end",
         "(!{\"q\": \"He said \"hi\"\"\"}) (\n" CALL_A ") end"},
        {OPEN "[" CALL_A ", " CALL_A "]" CLOSE, "([" CALL_A ", " CALL_A "])"},
    };
    EXPECT_ALL(all);
}

/* Where JSON ends that is not quite JSON. */
static void other_notations_end_where_they_end(void **state) {
    (void)state;
    static const struct example all[] = {
        {OPEN "{'s': '</tool_call>}', 't': \"it's\"}" CLOSE "x", "(!{'s': '</tool_call>}', 't': \"it's\"})x"},
        {OPEN "{name: \"a\", // </tool_call> }\n arguments: {}}" CLOSE "x",
         "(!{name: \"a\", // </tool_call> }\n arguments: {}})x"},
        {OPEN "{/* } <tool_call> */\"name\": \"a\"}" CLOSE "x", "(!{/* } <tool_call> */\"name\": \"a\"})x"},
        {OPEN "{\"u\": http://x}" CLOSE "y", "({\"u\": http://x})y"},
        {OPEN "{\"name\": \"a\", \"arguments\": {\"x\": 1}" CLOSE "y " BLOCK_A,
         "(!{\"name\": \"a\", \"arguments\": {\"x\": 1})y (\n" CALL_A ")"},
        {OPEN "{\"name\": \"a\", " BLOCK_A, "(!{\"name\": \"a\", )(\n" CALL_A ")"},
        {OPEN "{\"name\": <|im_end|>x", "(!{\"name\": )#"},
        {OPEN "{\"name\": \"a\" < <tool_ </tool_call", "(!{\"name\": \"a\" < <tool_ </tool_call)"},
        /* an opening tag that was cut */
        {"<tool_call" CALL_A CLOSE "x", "(" CALL_A ")x"},
        {"<tool_call \n" CALL_A CLOSE "x", "(" CALL_A ")x"},
        {"<tool_call is a tag", "<tool_call is a tag"},
        {"<tool_call \n", "<tool_call \n"},
        {"<tool_call <tool_call>" CALL_A, "<tool_call (" CALL_A ")"},
        {"<tool_call                    {}", "<tool_call                    {}"},
        {"<think><tool_call{}</think>", "[think:<tool_call{}]"},
        /* what only separates two calls is no text */
        {BLOCK_A ";\n" BLOCK_A, "(\n" CALL_A ")(\n" CALL_A ")"},
        {BLOCK_A ", " BLOCK_A, "(\n" CALL_A ")(\n" CALL_A ")"},
        {BLOCK_A "; and " BLOCK_A, "(\n" CALL_A "); and (\n" CALL_A ")"},
        {BLOCK_A ";;" BLOCK_A, "(\n" CALL_A ");;(\n" CALL_A ")"},
        {BLOCK_A "; ", "(\n" CALL_A "); "},
        {BLOCK_A ";<PLAN>x</PLAN>", "(\n" CALL_A ");[PLAN:x]"},
        {BLOCK_A ";" CLOSE BLOCK_A, "(\n" CALL_A ")(\n" CALL_A ")"},
        {BLOCK_A "                    ;" BLOCK_A, "(\n" CALL_A ")                    ;(\n" CALL_A ")"},
    };
    EXPECT_ALL(all);
}

static void a_section_opened_by_the_prompt(void **state) {
    (void)state;
    struct record r = {0};
    struct scanner s;
    static const char text[] = "I think.</think>Answer.";
    buf_init(&r.out, 1u << 20);
    scanner_init(&s, NULL, record, &r);
    assert_int_equal(scanner_begin_in(&s, "nothing"), -EINVAL);
    assert_int_equal(scanner_begin_in(&s, "think"), 0);
    for (size_t i = 0; i < sizeof text - 1; i++)
        assert_int_equal(scanner_feed(&s, text + i, 1), 0);
    assert_int_equal(scanner_end(&s), 0);
    assert_string_equal(r.out.data, "[think:I think.]Answer.");
    scanner_finish(&s);
    buf_finish(&r.out);
}

/* Tags in strings of an answer's JSON are data; everywhere else they are what they always are. */
static void json_is_followed_where_it_is_expected(void **state) {
    (void)state;
    static const struct example all[] = {
        {"{\"a\": \"<PLAN><tool_call>{}<|im_end|>\"}", "{\"a\": \"<PLAN><tool_call>{}<|im_end|>\"}"},
        {"[\"\\\"<think>\", {}]\n", "[\"\\\"<think>\", {}]\n"},
        {" \"<think> \\\" <PLAN>\" <think>x", " \"<think> \\\" <PLAN>\" [think:x~]"},
        {"say \"<think>\"", "say \"[think:\"~]"},
        {"<b>\"<think>\"", "<b>\"[think:\"~]"},
        {"{'a': '<PLAN>', /* <PLAN> */ 'b': 1}", "{'a': '<PLAN>', /* <PLAN> */ 'b': 1}"},
        {"```json\n{\"a\": \"<PLAN>\"}\n```", "```json\n{\"a\": \"<PLAN>\"}\n```"},
        {"Here: {\"a\": \"<PLAN>\"} and [\"</PLAN>\"]<|im_end|>x",
         "Here: {\"a\": \"<PLAN>\"} and [\"</PLAN>\"]#"},
        {"{\"a\": 1}<tool_response>x", "{\"a\": 1}#"},
        {"{1 {\"a\": \"<PLAN>\"}", "{1 {\"a\": \"<PLAN>\"}"},
        {"{x <PLAN>y</PLAN>", "{x [PLAN:y]"},
        {"{" BLOCK_A, "{(\n" CALL_A ")"},
        {"<PLAN>{\"a\": \"</PLAN>\"}", "[PLAN:{\"a\": \"]\"}"},
        {"<PLAN>\n{</PLAN>\n{\"a\": \"</PLAN>\"}", "[PLAN:\n{]\n{\"a\": \"</PLAN>\"}"},
        {BLOCK_A "\n" BLOCK_A "{\"a\": \"<PLAN>\"}", "(\n" CALL_A ")\n(\n" CALL_A "){\"a\": \"<PLAN>\"}"},
        {"<tool_call" CALL_A, "(" CALL_A ")"},
        {"<tool_cal{\"a\": \"<PLAN>\"}", "<tool_cal{\"a\": \"<PLAN>\"}"},
        {"{\"a\": \"<PL", "{\"a\": \"<PL"},
    };
    json_mode = true;
    EXPECT_ALL(all);
    json_mode = false;
    expect("{\"a\": \"<PLAN>\"}", "{\"a\": \"[PLAN:\"}~]");
}

static void what_the_model_must_not_write(void **state) {
    (void)state;
    static const struct example all[] = {
        {BLOCK_A "\n<tool_response>\n{\"name\": \"a\"}\n</tool_response>" BLOCK_A, "(\n" CALL_A ")\n#"},
        {"Done.<|im_end|>\n<|im_start|>user\nAnd?", "Done.#"},
        {"Done.<|im_start|>user", "Done.#"},
        {"Done.<|end_of_text|>", "Done.#"},
        {"Done.<|eot_id|>", "Done.#"},
        {"Done.<|im_en", "Done.<|im_en"},
        {"<PLAN>a<tool_response>b</PLAN>c", "[PLAN:a~]#"},
        {OPEN CALL_A "<tool_response>x", "(" CALL_A ")#"},
        {OPEN "bad<|im_end|>x", "(!bad)#"},
        {OPEN "<|im_end|>x", "(!)#"},
        {"<PLAN>" OPEN CALL_A "<|im_end|>x", "[PLAN:(?PLAN " CALL_A ")" OPEN CALL_A "~]#"},
    };
    EXPECT_ALL(all);
}

/* A call above the ceiling is an error; it neither leaks into the text nor takes the rest of the turn with
 * it. */
static void long_calls_end_in_an_error(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, 8u << 20);
    assert_int_equal(buf_puts(&text, OPEN "{\"name\": \"a\", \"arguments\": {\"s\": \""), 0);
    for (int i = 0; i < 30000; i++)
        assert_int_equal(buf_puts(&text, "{ \\\" </tool_call>"), 0);
    assert_int_equal(buf_puts(&text, "\"}}" CLOSE "rest " BLOCK_A), 0);
    char *got = scan(text.data, text.len, NULL, 0);
    assert_memory_equal(got, "(!{\"name\"", 9);
    size_t len = strlen(got);
    assert_true(len > SCANNER_CALL_MAX && len < SCANNER_CALL_MAX + 100);
    const char *end = ")rest (\n" CALL_A ")";
    assert_string_equal(got + len - strlen(end), end);
    free(got);
    buf_finish(&text);
}

/* Endless unclosed calls: the number of times the rest is read again is limited. */
static void recovery_is_limited(void **state) {
    (void)state;
    struct buf text;
    buf_init(&text, 8u << 20);
    for (int i = 0; i < 4000; i++) /* every tag is inside a string */
        assert_int_equal(buf_puts(&text, OPEN "{\"a\\\": " CLOSE), 0);
    char *got = scan(text.data, text.len, NULL, 0);
    assert_memory_equal(got, "(!{\"a\\\": )(!{\"a", 15);
    free(got);
    buf_finish(&text);
}

static uint32_t next_random(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* Noise made of tags, halves of tags, brackets, quotes and any bytes: the events of record() stay in order,
 * and the cut does not matter. 100,000 pieces. */
static void noise_keeps_the_invariants(void **state) {
    (void)state;
    static const char *const parts[] = {OPEN,
                                        CLOSE,
                                        OPEN CALL_A CLOSE,
                                        "{",
                                        "}",
                                        "\"",
                                        "\\",
                                        "[",
                                        "]",
                                        "<PLAN>",
                                        "</PLAN>",
                                        "<think>",
                                        "</think>",
                                        "<tool_",
                                        "<",
                                        "</",
                                        "call>",
                                        "\n",
                                        " ",
                                        "text",
                                        "{\"",
                                        "\"}",
                                        CALL_A,
                                        CALL_B,
                                        "<co>",
                                        "{'",
                                        "'",
                                        "//",
                                        "/*",
                                        "*/",
                                        ";",
                                        ":",
                                        "\"name\"",
                                        "<tool_call",
                                        "</SCRATCHPAD>",
                                        "<SCRATCHPAD>",
                                        "\xC3\xA9",
                                        "<|im_",
                                        "<tool_response",
                                        "<tool_response>"};
    const uint32_t n_parts = sizeof parts / sizeof *parts;
    uint64_t seed = 42;
    for (int turn = 0; turn < 4000; turn++) {
        struct buf text;
        size_t cuts[25];
        buf_init(&text, 1u << 16);
        for (int i = 0; i < 25; i++) {
            uint32_t r = next_random(&seed);
            char any[4] = {(char)(r >> 8), (char)(r >> 12), (char)(r >> 16), (char)(r >> 20)};
            if (r % 8 == 0)
                assert_int_equal(buf_append(&text, any, 1 + r % 4), 0);
            else /* the last part, which stops everything, is rare */
                assert_int_equal(buf_puts(&text, parts[next_random(&seed) % (n_parts - (r % 64 != 1))]), 0);
            cuts[i] = text.len;
        }
        char *whole = scan(text.data, text.len, NULL, 0);
        char *pieces = scan(text.data, text.len, cuts, 25);
        assert_string_equal(whole, pieces);
        for (int i = 0; i < 25; i++)
            cuts[i] = cuts[i] * (size_t)(i + 1) / 26;
        char *others = scan(text.data, text.len, cuts, 25);
        assert_string_equal(whole, others);
        free(whole);
        free(pieces);
        free(others);
        buf_finish(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed_calls),
        cmocka_unit_test(sections),
        cmocka_unit_test(calls_that_are_not_quite),
        cmocka_unit_test(json_is_followed_where_it_is_expected),
        cmocka_unit_test(what_the_model_must_not_write),
        cmocka_unit_test(long_calls_end_in_an_error),
        cmocka_unit_test(recovery_is_limited),
        cmocka_unit_test(noise_keeps_the_invariants),
        cmocka_unit_test(other_notations_end_where_they_end),
        cmocka_unit_test(a_section_opened_by_the_prompt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
