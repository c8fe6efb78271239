#include "agent/render.h"

#include "agent/render_compat.h"
#include "agent/tags.h"
#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct render_mark {
    enum agent_span_kind kind;
    size_t at;
};

static const char tools_before[] = "You are a function calling AI model. You are provided with function "
                                   "signatures within <tools></tools> XML "
                                   "tags. You may call one or more functions to assist with the user query. "
                                   "Don't make assumptions about what "
                                   "values to plug into functions. Here are the available tools:\n<tools>\n";
static const char tools_after[] =
    "\n</tools>\nUse the following pydantic model json schema for each tool call you will make: "
    "{\"properties\": {\"name\": {\"title\": \"Name\", \"type\": \"string\"}, \"arguments\": {\"title\": "
    "\"Arguments\", \"type\": \"object\"}}, \"required\": [\"name\", \"arguments\"], \"title\": "
    "\"FunctionCall\", \"type\": \"object\"}\nFor each function call return a json object with function name "
    "and "
    "arguments within <tool_call></tool_call> XML tags as follows:\n<tool_call>\n{\"name\": <function-name>, "
    "\"arguments\": <args-dict>}\n</tool_call>";

void render_init(struct render *r, enum agent_profile profile, size_t max) {
    *r = (struct render){.profile = profile};
    buf_init(&r->text, max);
}

void render_finish(struct render *r) {
    buf_finish(&r->text);
    free(r->marks);
    free(r->spans);
    *r = (struct render){.profile = r->profile, .text = r->text};
}

void render_clear(struct render *r) {
    buf_clear(&r->text);
    r->n_marks = 0;
    r->status = 0;
}

/* ---- spans ---- */

void render_note(struct render *r, int status) {
    if (r->status == 0)
        r->status = status;
}

void render_begin(struct render *r, enum agent_span_kind kind) {
    if (r->status < 0 || (r->n_marks > 0 && r->marks[r->n_marks - 1].kind == kind))
        return;
    if (r->n_marks > 0 && r->marks[r->n_marks - 1].at == r->text.len)
        r->n_marks--; /* an empty span */
    if (r->n_marks > 0 && r->marks[r->n_marks - 1].kind == kind)
        return;
    if (r->n_marks == r->cap_marks) {
        size_t cap = r->cap_marks == 0 ? 16 : r->cap_marks * 2;
        struct render_mark *marks = realloc(r->marks, cap * sizeof *marks);
        if (marks == NULL) {
            render_note(r, -ENOMEM);
            return;
        }
        r->marks = marks;
        r->cap_marks = cap;
    }
    r->marks[r->n_marks++] = (struct render_mark){kind, r->text.len};
}

void render_put(struct render *r, enum agent_span_kind kind, const char *text, size_t len) {
    if (len == 0)
        return;
    render_begin(r, kind);
    if (r->status == 0)
        render_note(r, buf_append(&r->text, text, len));
}

void render_trusted(struct render *r, const char *literal) {
    render_put(r, AGENT_SPAN_TRUSTED, literal, strlen(literal));
}

int render_spans(struct render *r, const struct agent_span **spans, size_t *n) {
    if (r->status < 0)
        return r->status;
    struct agent_span *all = realloc(r->spans, (r->n_marks + 1) * sizeof *all);
    if (all == NULL)
        return -ENOMEM;
    r->spans = all;
    *n = 0;
    for (size_t i = 0; i < r->n_marks; i++) {
        size_t at = r->marks[i].at, end = i + 1 < r->n_marks ? r->marks[i + 1].at : r->text.len;
        if (end > at)
            all[(*n)++] = (struct agent_span){r->marks[i].kind, r->text.data + at, end - at};
    }
    *spans = all;
    return 0;
}

/* ---- turns ---- */

static void put_tool_line(struct render *r, const struct agent_tool *tool) {
    struct buf *out = &r->text;
    render_begin(r, AGENT_SPAN_UNTRUSTED);
    if (r->status < 0)
        return;
    int rc = buf_puts(out, "{\"type\": \"function\", \"function\": {\"name\": ");
    rc = rc ? rc : json_quote(out, tool->name, strlen(tool->name), true);
    rc = rc ? rc : buf_puts(out, ", \"description\": ");
    rc = rc ? rc : json_quote(out, tool->description, strlen(tool->description), true);
    rc = rc ? rc : buf_puts(out, ", \"parameters\": ");
    rc = rc ? rc : json_respace(out, tool->schema, strlen(tool->schema), true);
    rc = rc ? rc : buf_puts(out, "}}");
    render_note(r, rc);
}

static void put_tools(struct render *r, const struct agent_tool *tools, size_t n_tools) {
    render_trusted(r, tools_before);
    for (size_t i = 0; i < n_tools; i++) {
        if (i > 0)
            render_put(r, AGENT_SPAN_UNTRUSTED, "\n", 1);
        put_tool_line(r, &tools[i]);
    }
    render_trusted(r, tools_after);
}

static void put_answer(struct render *r, const struct render_answer *answer) {
    render_trusted(r, "You are a helpful assistant that answers in JSON.");
    if (answer->schema == NULL)
        return;
    render_trusted(r, " " RENDER_SCHEMA_SENTENCE "\n" RENDER_SCHEMA_OPEN "\n");
    render_begin(r, AGENT_SPAN_UNTRUSTED);
    if (r->status == 0)
        render_note(r, json_respace(&r->text, answer->schema, strlen(answer->schema), true));
    render_trusted(r, "\n" RENDER_SCHEMA_CLOSE);
}

/* One system turn of what there is; nothing for nothing. */
static void put_system(struct render *r, const struct agent_tool *tools, size_t n_tools,
                       const struct render_answer *answer, const char *system) {
    if (n_tools == 0 && answer == NULL && system[0] == '\0')
        return;
    render_trusted(r, "<|im_start|>system\n");
    if (n_tools > 0)
        put_tools(r, tools, n_tools);
    if (n_tools > 0 && answer != NULL)
        render_trusted(r, "\n\n");
    if (answer != NULL)
        put_answer(r, answer);
    if ((n_tools > 0 || answer != NULL) && system[0] != '\0')
        render_trusted(r, "\n\n");
    render_put(r, AGENT_SPAN_UNTRUSTED, system, strlen(system));
    render_trusted(r, "<|im_end|>\n");
}

void render_prefix_for(struct render *r, const struct agent_tool *tools, size_t n_tools,
                       const struct render_answer *answer, const char *system) {
    if (system == NULL)
        system = "";
    if (r->profile == AGENT_PROFILE_STABLE) {
        put_system(r, tools, n_tools, answer, system);
        return;
    }
    render_trusted(r, "<|begin_of_text|>");
    if (n_tools > 0)
        render_compat_tools(r, tools, n_tools);
    put_system(r, NULL, 0, answer, system);
}

void render_prefix(struct render *r, const struct agent_tool *tools, size_t n_tools, const char *system) {
    render_prefix_for(r, tools, n_tools, NULL, system);
}

void render_end(struct render *r) {
    if (r->assistant_open)
        render_trusted(r, "<|im_end|>\n");
    r->assistant_open = false;
}

void render_user(struct render *r, const char *text, size_t len) {
    render_end(r);
    render_trusted(r, "<|im_start|>user\n");
    render_put(r, AGENT_SPAN_UNTRUSTED, text, len);
    render_trusted(r, "<|im_end|>\n");
}

/* Tags that a model writes itself; a turn's end and a response are not among them. */
static bool is_model_tag(enum tag_kind kind) {
    return kind != TAG_TURN && kind != TAG_RESPONSE_OPEN;
}

void render_assistant(struct render *r, const char *text, size_t len) {
    render_end(r);
    render_generate(r);
    while (len > 0 && r->status == 0) {
        const struct tag *tag = NULL;
        size_t at = tags_find(r->more, text, len, &tag);
        render_put(r, AGENT_SPAN_UNTRUSTED, text, at);
        size_t n = at;
        if (tag != NULL) {
            render_put(r, is_model_tag(tag->kind) ? AGENT_SPAN_TRUSTED : AGENT_SPAN_UNTRUSTED, tag->text,
                       tag->len);
            n += tag->len;
        }
        text += n;
        len -= n;
    }
}

void render_responses_begin(struct render *r) {
    render_end(r);
    render_trusted(r, "<|im_start|>tool\n");
}

void render_response_open(struct render *r) {
    render_trusted(r, "<tool_response>\n");
}

void render_response_close(struct render *r, const char *body, size_t len) {
    render_put(r, AGENT_SPAN_UNTRUSTED, body, len);
    render_trusted(r, "\n</tool_response>\n");
}

void render_response(struct render *r, const char *body, size_t len) {
    render_response_open(r);
    render_response_close(r, body, len);
}

void render_responses_end(struct render *r, bool last) {
    if (r->profile == AGENT_PROFILE_STABLE) {
        render_trusted(r, "<|im_end|>\n");
        return;
    }
    if (last && r->status == 0 && r->text.len > 0 && r->text.data[r->text.len - 1] == '\n')
        r->text.data[--r->text.len] = '\0'; /* no newline behind the last </tool_response> */
    render_trusted(r, "<|im_end|>");
}

void render_generate(struct render *r) {
    if (!r->assistant_open)
        render_trusted(r, "<|im_start|>assistant\n");
    r->assistant_open = true;
}

void render_section(struct render *r, const char *section) {
    char tag[TAGS_LENGTH_MAX + 2];
    snprintf(tag, sizeof tag, "<%s>\n", section);
    render_trusted(r, tag);
}

/* ---- bodies ---- */

static int body_begin(struct buf *out, bool escape, const char *name, const char *key) {
    int rc = buf_putc(out, '{');
    if (name != NULL && name[0] != '\0') {
        rc = rc ? rc : buf_puts(out, "\"name\": ");
        rc = rc ? rc : json_quote(out, name, strlen(name), escape);
        rc = rc ? rc : buf_puts(out, ", ");
    }
    return rc ? rc : buf_printf(out, "\"%s\": ", key);
}

int render_body_ok(struct buf *out, enum agent_profile profile, const char *name, const char *text,
                   size_t len, bool truncated) {
    bool escape = profile == AGENT_PROFILE_STABLE;
    int rc = body_begin(out, escape, name, "content");
    size_t before = out->len;
    int json = rc < 0 || truncated ? -EINVAL : json_respace(out, text, len, escape);
    if (rc == 0 && json == -EINVAL) {
        out->len = before;
        json = json_quote(out, text, len, escape);
    }
    rc = rc ? rc : json;
    return rc ? rc : buf_puts(out, truncated ? ", \"truncated\": true}" : "}");
}

int render_body_error(struct buf *out, enum agent_profile profile, const char *name, const char *text,
                      size_t len) {
    bool escape = profile == AGENT_PROFILE_STABLE;
    int rc = body_begin(out, escape, name, "error");
    rc = rc ? rc : json_quote(out, text, len, escape);
    return rc ? rc : buf_putc(out, '}');
}
