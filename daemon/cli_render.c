#include "daemon/cli_render.h"

#include "agent/rawjson.h"
#include "agent/render.h"
#include "base/help.h"
#include "base/json.h"
#include "daemon/job_format.h"
#include "daemon/job_problem.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_BYTES_MAX  (16u * 1024 * 1024)
#define PROMPT_BYTES_MAX (64u * 1024 * 1024)
#define TOOLS_MAX        1024

static const struct json_limits input_limits = {
    .max_bytes = INPUT_BYTES_MAX, .max_nodes = 2000000, .max_depth = 64};

struct input {
    struct rawjson system, tools, messages; /* empty when absent */
    struct agent_tool *all;                 /* owned, with their strings */
    size_t n_tools;
    struct job_format format; /* owned; of the answer */
};

static struct rawjson member(struct rawjson object, const char *key) {
    struct rawjson value = {0};
    return rawjson_get(object, key, &value) ? value : (struct rawjson){0};
}

/* {"type": "function", "function": {…}} is what it wraps. */
static struct rawjson unwrapped(struct rawjson value) {
    struct rawjson inner = member(value, "function");
    return rawjson_type(inner) == '{' ? inner : value;
}

/* The characters of a string, "" for null and nothing; the caller frees. NULL for other values (-EINVAL) and
 * -ENOMEM. */
static int text_of(struct rawjson value, char **out) {
    char type = rawjson_type(value);
    if (type != '"' && type != 0 && type != 'n')
        return -EINVAL;
    *out = type == '"' ? rawjson_string(value) : strdup("");
    return *out != NULL ? 0 : -ENOMEM;
}

/* ---- tools ---- */

static int read_tools(struct input *in, char *err, size_t errlen) {
    struct rawjson item;
    size_t at = 0;
    if (rawjson_type(in->tools) != '[' && rawjson_type(in->tools) != 0 && rawjson_type(in->tools) != 'n')
        return err_set(err, errlen, -EINVAL, "\"tools\" must be a list.");
    in->all = calloc(TOOLS_MAX, sizeof *in->all);
    if (in->all == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the tools.");
    while (rawjson_next(in->tools, &at, NULL, &item)) {
        struct rawjson tool = unwrapped(item), schema = member(tool, "parameters");
        char *name = NULL, *description = NULL;
        if (in->n_tools == TOOLS_MAX)
            return err_set(err, errlen, -EINVAL, "More than %d tools.", TOOLS_MAX);
        int rc = text_of(member(tool, "name"), &name);
        rc = rc ? rc : text_of(member(tool, "description"), &description);
        if (rc == 0 && (name[0] == '\0' || rawjson_type(schema) != '{'))
            rc = -EINVAL;
        in->all[in->n_tools] = (struct agent_tool){
            .name = name,
            .description = description,
            .schema = rc == 0 ? strndup(schema.text, schema.len) : NULL,
        };
        if (in->all[in->n_tools++].schema == NULL)
            return err_set(err, errlen, rc ? rc : -ENOMEM,
                           "Tool %zu must have a name, a description and parameters (an object).",
                           in->n_tools);
    }
    return 0;
}

static void input_finish(struct input *in) {
    for (size_t i = 0; i < in->n_tools; i++) {
        free((char *)in->all[i].name);
        free((char *)in->all[i].description);
        free((char *)in->all[i].schema);
    }
    free(in->all);
    job_format_finish(&in->format);
}

/* The member as a job has it; the schema is not compiled, only shown. */
static int read_format(struct input *in, const char *json, size_t len, char *err, size_t errlen) {
    struct job_problem problem = {0};
    int rc = job_format_read(json, len, &in->format, &problem);
    if (rc == -ENOMEM)
        return err_set(err, errlen, rc, "Not enough memory for the format of the answer.");
    return rc == 0 ? 0 : err_set(err, errlen, rc, "%s.", problem.message);
}

/* ---- messages ---- */

static int put_call(struct buf *out, struct rawjson call) {
    struct rawjson name = member(call, "name"), arguments = member(call, "arguments");
    char *plain = NULL, *decoded = NULL;
    int rc = text_of(name, &plain);
    rc = rc ? rc : buf_puts(out, "<tool_call>\n{\"name\": ");
    rc = rc ? rc : json_quote(out, plain, strlen(plain), false);
    rc = rc ? rc : buf_puts(out, ", \"arguments\": ");
    if (rc == 0 && rawjson_type(arguments) == '"') {
        rc = text_of(arguments, &decoded);
        rc = rc ? rc : buf_puts(out, decoded);
    } else if (rc == 0) {
        rc = rawjson_type(arguments) == 0 ? buf_puts(out, "{}")
                                          : json_respace(out, arguments.text, arguments.len, false);
    }
    free(plain);
    free(decoded);
    return rc ? rc : buf_puts(out, "}\n</tool_call>");
}

static int put_assistant(struct render *r, struct rawjson message) {
    struct rawjson calls = member(message, "tool_calls"), call;
    struct buf text;
    char *content = NULL;
    buf_init(&text, INPUT_BYTES_MAX * 2);
    int rc = text_of(member(message, "content"), &content);
    size_t at = 0;
    bool any = rawjson_type(calls) == '[';
    if (rc == 0 && (!any || r->profile == AGENT_PROFILE_STABLE)) /* the template drops text beside calls */
        rc = buf_puts(&text, content);
    while (rc == 0 && any && rawjson_next(calls, &at, NULL, &call)) {
        if (text.len > 0 && text.data[text.len - 1] != '\n')
            rc = buf_putc(&text, '\n');
        rc = rc ? rc : put_call(&text, unwrapped(call));
    }
    if (rc == 0)
        render_assistant(r, text.data != NULL ? text.data : "", text.len);
    free(content);
    buf_finish(&text);
    return rc;
}

/* In the stable profile no tag can be spelled inside a body that is JSON; one that is not goes as it is. */
static int put_body(struct render *r, const char *text) {
    struct buf body;
    buf_init(&body, INPUT_BYTES_MAX * 6);
    int rc = -EINVAL;
    if (r->profile == AGENT_PROFILE_STABLE)
        rc = json_respace(&body, text, strlen(text), true);
    if (rc == 0)
        render_response(r, body.data, body.len);
    else if (rc == -EINVAL)
        render_response(r, text, strlen(text));
    buf_finish(&body);
    return rc == -EINVAL ? 0 : rc;
}

/* One body of a tool turn from the message's content. */
static int put_content(struct render *r, struct rawjson message) {
    char *content = NULL, *name = NULL;
    struct buf body;
    buf_init(&body, INPUT_BYTES_MAX * 6);
    int rc = text_of(member(message, "content"), &content);
    rc = rc ? rc : text_of(member(message, "name"), &name);
    if (rc == 0 && name[0] != '\0') {
        rc = render_body_ok(&body, r->profile, name, content, strlen(content), false);
        if (rc == 0)
            render_response(r, body.data, body.len);
    } else if (rc == 0) {
        rc = put_body(r, content);
    }
    buf_finish(&body);
    free(content);
    free(name);
    return rc;
}

static int put_tool_message(struct render *r, struct rawjson message) {
    struct rawjson responses = member(message, "responses"), body;
    size_t at = 0;
    if (rawjson_type(responses) != '[')
        return put_content(r, message);
    while (rawjson_next(responses, &at, NULL, &body)) {
        char *text = NULL;
        int rc = text_of(body, &text);
        rc = rc ? rc : put_body(r, text);
        free(text);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static bool has_role(struct rawjson message, const char *role) {
    char *text = NULL;
    bool same = text_of(member(message, "role"), &text) == 0 && strcmp(text, role) == 0;
    free(text);
    return same;
}

static int put_user(struct render *r, struct rawjson message) {
    char *content = NULL;
    int rc = text_of(member(message, "content"), &content);
    if (rc == 0)
        render_user(r, content, strlen(content));
    free(content);
    return rc;
}

static int put_messages(struct render *r, struct rawjson messages, bool skip_first, char *err,
                        size_t errlen) {
    struct rawjson message = {0}, next = {0};
    size_t at = 0, n = 0;
    bool in_tools = false, more = rawjson_next(messages, &at, NULL, &next);
    while (more) {
        message = next;
        more = rawjson_next(messages, &at, NULL, &next);
        bool tool = has_role(message, "tool");
        int rc = 0;
        if (tool && !in_tools)
            render_responses_begin(r);
        in_tools = tool;
        if (tool)
            rc = put_tool_message(r, message);
        else if (has_role(message, "user"))
            rc = put_user(r, message);
        else if (has_role(message, "assistant"))
            rc = put_assistant(r, message);
        else if (n > 0 || !skip_first)
            rc = -EINVAL;
        if (tool && (!more || !has_role(next, "tool"))) {
            render_responses_end(r, !more);
            in_tools = false;
        }
        n++;
        if (rc < 0)
            return err_set(err, errlen, rc,
                           "Message %zu cannot be rendered: its role must be user, assistant or tool (system "
                           "only as the first), and its texts strings.",
                           n);
    }
    if (r->profile == AGENT_PROFILE_HF_COMPAT)
        render_end(r);
    if (r->profile == AGENT_PROFILE_HF_COMPAT || n == 0 || !has_role(message, "assistant"))
        render_generate(r);
    return 0;
}

/* ---- output ---- */

static int put_output(struct render *r, bool as_spans, struct buf *out) {
    const struct agent_span *spans;
    size_t n;
    int rc = render_spans(r, &spans, &n);
    if (rc < 0 || !as_spans)
        return rc < 0 ? rc : buf_append(out, r->text.data, r->text.len);
    struct json_writer w;
    json_writer_begin(&w, out);
    json_array_begin(&w);
    for (size_t i = 0; i < n; i++) {
        json_object_begin(&w);
        json_key(&w, "trusted");
        json_bool(&w, spans[i].kind == AGENT_SPAN_TRUSTED);
        json_key(&w, "text");
        json_string_n(&w, spans[i].text, spans[i].len);
        json_object_end(&w);
    }
    json_array_end(&w);
    rc = json_writer_end(&w);
    return rc ? rc : buf_putc(out, '\n');
}

static int render_input(struct input *in, struct render *r, char *err, size_t errlen) {
    struct rawjson first;
    size_t at = 0;
    char *system = NULL;
    if (rawjson_type(in->messages) != '[')
        return err_set(err, errlen, -EINVAL, "\"messages\" must be a list.");
    bool in_list = rawjson_type(in->system) == 0 && rawjson_next(in->messages, &at, NULL, &first) &&
                   has_role(first, "system");
    int rc = text_of(in_list ? member(first, "content") : in->system, &system);
    if (rc < 0)
        return err_set(err, errlen, rc, "The system text must be a string.");
    rc = read_tools(in, err, errlen);
    if (rc == 0) {
        const struct render_answer answer = {.schema = in->format.schema};
        render_prefix_for(r, in->all, in->n_tools, in->format.json ? &answer : NULL, system);
        rc = put_messages(r, in->messages, in_list, err, errlen);
    }
    free(system);
    return rc;
}

int cli_render_text(const char *json, size_t len, enum agent_profile profile, bool spans, struct buf *out,
                    char *err, size_t errlen) {
    int rc = json_check(json, len, &input_limits, err, errlen);
    if (rc < 0)
        return rc == -ENOMEM ? rc : -EINVAL;
    struct rawjson whole = rawjson_of(json, len);
    if (rawjson_type(whole) != '{')
        return err_set(err, errlen, -EINVAL, "The conversation must be a JSON object.");
    struct input in = {.system = member(whole, "system"),
                       .tools = member(whole, "tools"),
                       .messages = member(whole, "messages")};
    struct render r;
    render_init(&r, profile, PROMPT_BYTES_MAX);
    rc = read_format(&in, json, len, err, errlen);
    rc = rc ? rc : render_input(&in, &r, err, errlen);
    if (rc == 0) {
        rc = put_output(&r, spans, out);
        if (rc < 0)
            err_set(err, errlen, rc, "The prompt does not fit: %s.", strerror(-rc));
    }
    render_finish(&r);
    input_finish(&in);
    return rc;
}

/* ---- the command ---- */

static int usage(FILE *to) {
    fprintf(to, "Usage: hermesd render [--profile stable|hf-compat] [--spans] < conversation.json\n");
    return to == stdout ? 0 : 2;
}

int cli_render(int argc, char **argv) {
    if (help_is_wanted(argc, argv))
        return usage(stdout);
    static const struct option options[] = {
        {"profile", required_argument, NULL, 'p'}, {"spans", no_argument, NULL, 's'}, {0}};
    enum agent_profile profile = AGENT_PROFILE_STABLE;
    bool spans = false;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's')
            spans = true;
        else if (option == 'p' && strcmp(optarg, "hf-compat") == 0)
            profile = AGENT_PROFILE_HF_COMPAT;
        else if (option == 'p' && strcmp(optarg, "stable") == 0)
            profile = AGENT_PROFILE_STABLE;
        else
            return usage(stderr);
    }
    if (optind < argc)
        return usage(stderr);
    struct buf in, out;
    char err[300] = "";
    buf_init(&in, INPUT_BYTES_MAX + 64 * 1024);
    buf_init(&out, PROMPT_BYTES_MAX * 2);
    int rc = buf_read_to_end(&in, stdin);
    if (rc < 0)
        err_set(err, sizeof err, rc, "Standard input cannot be read: %s.", strerror(-rc));
    rc = rc ? rc
            : cli_render_text(in.data != NULL ? in.data : "", in.len, profile, spans, &out, err, sizeof err);
    if (rc == 0 && (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0))
        rc = err_set(err, sizeof err, -EIO, "Standard output cannot be written.");
    if (rc < 0)
        fprintf(stderr, "hermesd render: %s\n", err);
    buf_finish(&in);
    buf_finish(&out);
    return rc < 0 ? 1 : 0;
}
