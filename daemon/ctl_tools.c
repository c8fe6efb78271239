/* tools, call, status. */
#include "daemon/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES  1024
#define BODY_MAX    ((size_t)8 << 20)
#define CALL_WAIT_S 3600L

static const char *text_or(const cJSON *object, const char *key, const char *otherwise) {
    const char *text = json_get_string(object, key);
    return text != NULL ? text : otherwise;
}

static bool is_true(const cJSON *object, const char *key) {
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static double number(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

static int tool_path(struct ctl *ctl, const char *name, const char *tail, struct buf *path) {
    buf_init(path, PATH_BYTES);
    int rc = buf_puts(path, "/v1/tools/");
    if (rc == 0)
        rc = ctl_escape(path, name);
    if (rc == 0)
        rc = buf_puts(path, tail);
    return rc == 0 && *name != '\0' ? CTL_OK
                                    : ctl_fail(ctl, CTL_USAGE, "'%.60s' is no name of a tool.", name);
}

/* ---- tools ---- */

static void print_list(struct ctl *ctl, const cJSON *tools) {
    const cJSON *tool;
    size_t longest = 4;
    int width = ctl_term_width(&ctl->out);
    cJSON_ArrayForEach(tool, tools) {
        size_t len = strlen(text_or(tool, "name", ""));
        longest = len > longest ? len : longest;
    }
    cJSON_ArrayForEach(tool, tools) {
        const char *about = text_or(tool, "description", "");
        int left = width - (int)longest - 2;
        ctl_term_printf(&ctl->out, CTL_BOLD, "%-*s", (int)longest, text_or(tool, "name", "?"));
        ctl_term_printf(&ctl->out, CTL_PLAIN, "  ");
        ctl_term_line(&ctl->out, CTL_PLAIN, about, strlen(about), left > 24 ? (size_t)left : 24);
        ctl_term_fresh_line(&ctl->out);
    }
}

static void print_tool(struct ctl *ctl, const cJSON *tool) {
    const char *about = text_or(tool, "description", "");
    ctl_term_printf(&ctl->out, CTL_BOLD, "%s\n", text_or(tool, "name", "?"));
    ctl_term_text(&ctl->out, CTL_PLAIN, about, strlen(about));
    ctl_term_fresh_line(&ctl->out);
    fprintf(ctl->out.file, "\nplugin       %s %s\n", text_or(tool, "plugin", "?"),
            text_or(tool, "plugin_version", ""));
    fprintf(ctl->out.file, "repeatable   %s\n",
            is_true(tool, "read_only")    ? "yes: it changes nothing"
            : is_true(tool, "idempotent") ? "yes: once is as good as twice"
                                          : "no: after a crash its outcome is reported as unknown");
    if (is_true(tool, "poller"))
        fprintf(ctl->out.file, "poller       yes: asking again is no loop\n");
    fprintf(ctl->out.file, "time limit   %.0f ms\n", number(tool, "timeout_ms"));
    fprintf(ctl->out.file, "confinement  %s\n\narguments\n", text_or(tool, "confinement", "unknown"));
    const cJSON *schema = cJSON_GetObjectItemCaseSensitive(tool, "parameters");
    if (schema != NULL)
        (void)ctl_print_json(ctl, schema, false);
}

int ctl_tools(struct ctl *ctl) {
    const struct ctl_options *o = ctl->options;
    struct buf path;
    cJSON *json = NULL;
    int code;
    if (o->n_words == 1) {
        code = tool_path(ctl, o->words[0], "", &path);
        if (code == CTL_OK)
            code = ctl_ask(ctl, "GET", path.data, NULL, &json);
        buf_finish(&path);
    } else {
        code = ctl_ask(ctl, "GET", "/v1/tools", NULL, &json);
    }
    if (code != CTL_OK)
        return code;
    if (o->json)
        code = ctl_print_json(ctl, json, false);
    else if (o->n_words == 1)
        print_tool(ctl, json);
    else
        print_list(ctl, cJSON_GetObjectItemCaseSensitive(json, "data"));
    cJSON_Delete(json);
    return code;
}

/* ---- call ---- */

/* {"arguments": …} from what was typed; checked here, so that a typing mistake is a usage error with its
 * place. */
static int make_body(struct ctl *ctl, struct buf *body) {
    const struct ctl_options *o = ctl->options;
    const char *text = o->n_words == 2 ? o->words[1] : "{}";
    struct buf typed;
    char err[256] = "";
    buf_init(&typed, BODY_MAX);
    buf_init(body, BODY_MAX + 64);
    int rc = strcmp(text, "-") == 0 ? ctl_read_stdin(&typed) : buf_puts(&typed, text);
    if (rc < 0) {
        buf_finish(&typed);
        return ctl_fail(ctl, CTL_USAGE, "The arguments cannot be read: %s.", strerror(-rc));
    }
    cJSON *arguments = NULL;
    int code = CTL_OK;
    const struct json_limits limits = {.max_bytes = BODY_MAX, .max_nodes = 100000, .max_depth = 63};
    if (json_parse(typed.data != NULL ? typed.data : "", typed.len, &limits, &arguments, err, sizeof err) < 0)
        code = ctl_fail(ctl, CTL_USAGE, "The arguments are not JSON: %s", err);
    else if (!cJSON_IsObject(arguments))
        code = ctl_fail(ctl, CTL_USAGE,
                        "The arguments must be a JSON object, for example '{\"name\": \"Ada\"}'.");
    else if (buf_puts(body, "{\"arguments\": ") < 0 || buf_append(body, typed.data, typed.len) < 0 ||
             buf_putc(body, '}') < 0)
        code = ctl_fail(ctl, CTL_FAILED, "Memory is out.");
    cJSON_Delete(arguments);
    buf_finish(&typed);
    return code;
}

static int print_result(struct ctl *ctl, const cJSON *result) {
    bool is_error = is_true(result, "is_error");
    const char *output = text_or(result, "output", "");
    if (ctl->options->json) {
        int code = ctl_print_json(ctl, result, false);
        return is_error ? CTL_FAILED : code;
    }
    if (is_error)
        return ctl_fail(ctl, CTL_FAILED, "%s: %s: %s", ctl->options->words[0],
                        text_or(result, "status", "error"), output);
    ctl_term_text(&ctl->out, CTL_PLAIN, output, strlen(output));
    ctl_term_fresh_line(&ctl->out);
    if (!ctl->options->quiet)
        ctl_term_printf(&ctl->err, CTL_DIM, "%.2f ms in process %.0f\n", number(result, "duration_ms"),
                        number(result, "pid"));
    return CTL_OK;
}

int ctl_call(struct ctl *ctl) {
    struct buf path, body;
    struct ctl_reply reply;
    char err[512] = "";
    cJSON *json = NULL;
    int code = make_body(ctl, &body);
    if (code != CTL_OK) {
        buf_finish(&body);
        return code;
    }
    code = tool_path(ctl, ctl->options->words[0], "/call", &path);
    if (code == CTL_OK) {
        /* a tool may take long; its own time limit ends it */
        struct ctl_request request = {
            .method = "POST", .path = path.data, .body = body.data, .timeout_ms = CALL_WAIT_S * 1000};
        int rc = ctl_http_send(ctl->http, &request, &reply, err, sizeof err);
        if (rc < 0)
            code = ctl_fail_transport(ctl, rc, err);
        else if (reply.status >= 400)
            code = ctl_fail_reply(ctl, &reply);
        else if (json_parse(reply.body.data != NULL ? reply.body.data : "", reply.body.len,
                            &(struct json_limits){
                                .max_bytes = BODY_MAX * 8, .max_nodes = 10000000, .max_depth = 128},
                            &json, err, sizeof err) < 0)
            code = ctl_fail(ctl, CTL_FAILED, "hermesd sent an answer that is not JSON: %s", err);
        else
            code = print_result(ctl, json);
        ctl_reply_finish(&reply);
    }
    cJSON_Delete(json);
    buf_finish(&path);
    buf_finish(&body);
    return code;
}

/* ---- status ---- */

static void print_status(struct ctl *ctl, const cJSON *health) {
    const cJSON *jobs = cJSON_GetObjectItemCaseSensitive(health, "jobs");
    const char *status = text_or(health, "status", "?");
    double up = number(health, "uptime_s");
    ctl_term_printf(&ctl->out, strcmp(status, "ok") == 0 ? CTL_GREEN : CTL_YELLOW, "%s", status);
    fprintf(ctl->out.file, "  hermesd %s at %s, up %.0f s\n", text_or(health, "version", "?"),
            ctl_http_where(ctl->http), up);
    fprintf(ctl->out.file, "model  %s\njobs   %.0f working, %.0f waiting\n", text_or(health, "model", "?"),
            number(jobs, "working"), number(jobs, "queued"));
    fprintf(ctl->out.file, "tools  %.0f\n", number(health, "tools"));
}

int ctl_status(struct ctl *ctl) {
    struct ctl_request request = {.method = "GET", .path = "/health", .timeout_ms = 10000};
    struct ctl_reply reply;
    char err[512] = "";
    cJSON *health = NULL;
    int code = CTL_OK;
    int rc = ctl_http_send(ctl->http, &request, &reply, err, sizeof err);
    if (rc < 0)
        code = ctl_fail_transport(ctl, rc, err);
    else if (reply.status != 200 && reply.status != 503)
        code = ctl_fail_reply(ctl, &reply);
    else if (json_parse(reply.body.data != NULL ? reply.body.data : "", reply.body.len, &json_limits_default,
                        &health, err, sizeof err) < 0)
        code = ctl_fail(ctl, CTL_FAILED, "hermesd sent an answer that is not JSON: %s", err);
    else if (json_get_string(health, "status") == NULL)
        code = ctl_fail_reply(ctl, &reply); /* a 503 of another kind */
    else {
        if (ctl->options->json)
            code = ctl_print_json(ctl, health, false);
        else
            print_status(ctl, health);
        code = code == CTL_OK && reply.status != 200 ? CTL_FAILED : code;
    }
    cJSON_Delete(health);
    ctl_reply_finish(&reply);
    return code;
}
