/* Public recordings that lie beside the repository (../shared/data, or the folder HERMESD_SHARED names):
 * prompts of the published template byte for byte, and what other programs expect of outputs of Hermes
 * models. Skipped where they are not. */
#include "agent/repair.h"
#include "agent/scanner.h"
#include "base/json.h"
#include "daemon/cli_render.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static FILE *open_shared(const char *name) {
    const char *root = getenv("HERMESD_SHARED");
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", root != NULL ? root : "../shared/data", name);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        printf("skipped: there is no %s (HERMESD_SHARED names another folder)\n", path);
        exit(77);
    }
    return f;
}

/* Calls `check` for each line; the number of lines. */
static int each_line(const char *name, void (*check)(const cJSON *line, const char *text)) {
    FILE *f = open_shared(name);
    char *text = NULL;
    size_t cap = 0;
    int n = 0;
    for (ssize_t len; (len = getline(&text, &cap, f)) > 0; n++) {
        cJSON *line;
        assert_int_equal(json_parse(text, (size_t)len, NULL, &line, NULL, 0), 0);
        check(line, text);
        cJSON_Delete(line);
    }
    free(text);
    fclose(f);
    return n;
}

static void check_prompt(const cJSON *line, const char *text) {
    struct buf out;
    buf_init(&out, 1u << 20);
    assert_int_equal(cli_render_text(text, strlen(text), AGENT_PROFILE_HF_COMPAT, false, &out, NULL, 0), 0);
    assert_string_equal(out.data, json_get_string(line, "rendered"));
    buf_finish(&out);
}

static void prompts_of_the_published_template(void **state) {
    (void)state;
    assert_int_equal(each_line("hermes-function-calling/rendered-hermes3.jsonl", check_prompt), 60);
}

/* ---- outputs ---- */

struct output {
    struct buf visible, reasoning;
    cJSON *calls; /* [{"name", "arguments"}] of those that can run */
};

static void add_calls(const struct repair_calls *calls, struct output *o) {
    for (size_t i = 0; i < calls->n; i++) {
        if (calls->all[i].error != NULL)
            continue;
        cJSON *one = cJSON_CreateObject();
        cJSON_AddStringToObject(one, "name", calls->all[i].name);
        cJSON_AddItemToObject(one, "arguments", cJSON_Parse(calls->all[i].arguments));
        cJSON_AddItemToArray(o->calls, one);
    }
}

static int collect(void *arg, const struct scanner_event *e) {
    struct output *o = arg;
    if (e->type == SCANNER_TEXT)
        return buf_append(&o->visible, e->text, e->len);
    if (e->type == SCANNER_SECTION_TEXT)
        return buf_append(&o->reasoning, e->text, e->len);
    if (e->type != SCANNER_CALL || e->error != NULL || e->section != NULL)
        return 0;
    const struct repair_block block = {.raw = e->raw, .len = e->raw_len, .closed = e->closed};
    const struct repair_tools none = {0};
    struct repair_calls calls;
    assert_int_equal(repair_read(&block, &none, &calls), 0);
    add_calls(&calls, o);
    repair_finish(&calls);
    return 0;
}

static void scan(const char *text, size_t cut, struct output *o) {
    struct scanner s;
    buf_init(&o->visible, 1u << 20);
    buf_init(&o->reasoning, 1u << 20);
    o->calls = cJSON_CreateArray();
    scanner_init(&s, NULL, collect, o);
    assert_int_equal(scanner_feed(&s, text, cut), 0);
    assert_int_equal(scanner_feed(&s, text + cut, strlen(text) - cut), 0);
    assert_int_equal(scanner_end(&s), 0);
    scanner_finish(&s);
}

static bool same_trimmed(const char *a, const char *b) {
    static const char space[] = " \t\r\n";
    a += strspn(a, space);
    b += strspn(b, space);
    size_t n = strlen(a), m = strlen(b);
    while (n > 0 && strchr(space, a[n - 1]) != NULL)
        n--;
    while (m > 0 && strchr(space, b[m - 1]) != NULL)
        m--;
    return n == m && memcmp(a, b, n) == 0;
}

static void compare(const cJSON *line, const struct output *o) {
    const cJSON *expected = cJSON_GetObjectItemCaseSensitive(line, "expected");
    const char *content = json_get_string(expected, "content"),
               *match = json_get_string(line, "content_match");
    const char *visible = o->visible.data != NULL ? o->visible.data : "", *id = json_get_string(line, "id");
    if (!cJSON_Compare(o->calls, cJSON_GetObjectItemCaseSensitive(expected, "tool_calls"), true))
        fail_msg("%s: other calls: %s", id, cJSON_PrintUnformatted(o->calls));
    if ((strcmp(match, "exact") == 0 || strcmp(match, "trim") == 0) && !same_trimmed(visible, content))
        fail_msg("%s: other text: '%s', not '%s'", id, visible, content);
    const cJSON *part;
    if (strcmp(match, "contains") == 0)
        cJSON_ArrayForEach(part, cJSON_GetObjectItemCaseSensitive(expected, "content"))
            assert_non_null(strstr(visible, part->valuestring));
    const char *reasoning = json_get_string(line, "reasoning");
    if (reasoning != NULL && !same_trimmed(o->reasoning.data != NULL ? o->reasoning.data : "", reasoning))
        fail_msg("%s: other reasoning: '%s'", id, o->reasoning.data);
}

/* Where other programs disagree and ours is another choice (agent/README.md says why): a text as arguments is
 * an error, decoded or not. */
static bool is_other_choice(const cJSON *line) {
    static const char *const ids[] = {"dev-066", "dev-067"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (strcmp(json_get_string(line, "id"), ids[i]) == 0)
            return true;
    return false;
}

/* What a job with lenient_calls makes of a whole message: the tools are those that are expected. */
static void read_message(const cJSON *line, const char *text, struct output *o) {
    struct agent_tool tools[8];
    struct repair_tools known = {.all = tools};
    struct repair_calls calls;
    int row;
    const cJSON *expected = cJSON_GetObjectItemCaseSensitive(line, "expected"), *one;
    cJSON_ArrayForEach(one, cJSON_GetObjectItemCaseSensitive(expected, "tool_calls")) {
        assert_true(known.n < 8);
        tools[known.n++] = (struct agent_tool){.name = json_get_string(one, "name"), .schema = "{}"};
    }
    assert_int_equal(repair_message(text, strlen(text), &known, &calls, &row), 0);
    if (row != 0) {
        add_calls(&calls, o);
        buf_clear(&o->visible);
        assert_int_equal(buf_puts(&o->visible, ""), 0);
    }
    repair_finish(&calls);
}

static int n_checked;

/* Every tier, at every cut. */
static void check_output(const cJSON *line, const char *unused) {
    (void)unused;
    bool lenient = strcmp(json_get_string(line, "tier"), "lenient") == 0;
    const char *input = json_get_string(line, "input");
    bool opened = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(line, "thinking_forced_open"));
    struct buf text;
    buf_init(&text, 1u << 20);
    assert_int_equal(buf_printf(&text, "%s%s", opened ? "<think>" : "", input), 0);
    n_checked++;
    for (size_t cut = 0; cut <= text.len; cut++) {
        struct output o;
        scan(text.data, cut, &o);
        if (lenient && cJSON_GetArraySize(o.calls) == 0)
            read_message(line, text.data, &o);
        if (is_other_choice(line))
            assert_int_equal(cJSON_GetArraySize(o.calls), 0);
        else
            compare(line, &o);
        buf_finish(&o.visible);
        buf_finish(&o.reasoning);
        cJSON_Delete(o.calls);
    }
    buf_finish(&text);
}

static void outputs_of_hermes_models(void **state) {
    (void)state;
    n_checked = 0;
    each_line("hermes-outputs/dev.jsonl", check_output);
    assert_true(n_checked >= 68);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_of_the_published_template),
        cmocka_unit_test(outputs_of_hermes_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
