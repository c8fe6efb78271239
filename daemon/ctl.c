#include "daemon/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define ASK_TIMEOUT_MS 60000
#define PATH_BYTES     4096
#define NAMED_MAX      5 /* candidates that are named for an ambiguous id */

static const struct json_limits answer_limits = {
    .max_bytes = (size_t)256 << 20, .max_nodes = 20000000, .max_depth = 128};

/* ---- what goes wrong ---- */

int ctl_fail(struct ctl *ctl, enum ctl_exit code, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ctl_term_fresh_line(&ctl->err);
    ctl_term_printf(&ctl->err, CTL_RED, "hermesctl: ");
    ctl_term_text(&ctl->err, CTL_PLAIN, text, strlen(text)); /* may quote the daemon, a tool, a person */
    ctl_term_fresh_line(&ctl->err);
    return code;
}

int ctl_fail_transport(struct ctl *ctl, int rc, const char *err) {
    if (rc == -EACCES || rc == -EPERM)
        return ctl_fail(ctl, CTL_NOT_PERMITTED, "%s", err);
    if (rc == -ENOENT || rc == -ECONNREFUSED)
        return ctl_fail(ctl, CTL_UNREACHABLE, "%s Start it with 'hermesd'.", err);
    if (rc == -ENOMEM || rc == -ENOBUFS || rc == -EINVAL)
        return ctl_fail(ctl, CTL_FAILED, "%s", err);
    return ctl_fail(ctl, CTL_UNREACHABLE, "%s", err);
}

int ctl_fail_reply(struct ctl *ctl, const struct ctl_reply *reply) {
    enum ctl_exit code = reply->status == 401 || reply->status == 403 ? CTL_NOT_PERMITTED : CTL_FAILED;
    cJSON *json = NULL;
    if (reply->body.len == 0 ||
        json_parse(reply->body.data, reply->body.len, &answer_limits, &json, NULL, 0) < 0)
        return ctl_fail(ctl, code, "hermesd answered with status %ld and no explanation.", reply->status);
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(json, "error");
    const char *message = json_get_string(error, "message");
    const char *name = json_get_string(error, "code");
    int rc = ctl_fail(ctl, code, "%s (%s)", message != NULL ? message : "the request failed",
                      name != NULL ? name : "no code");
    cJSON_Delete(json);
    return rc;
}

/* ---- asking ---- */

int ctl_ask(struct ctl *ctl, const char *method, const char *path, const char *body, cJSON **json) {
    char err[512] = "";
    struct ctl_reply reply;
    struct ctl_request request = {.method = method, .path = path, .body = body, .timeout_ms = ASK_TIMEOUT_MS};
    int rc = ctl_http_send(ctl->http, &request, &reply, err, sizeof err);
    int code = CTL_OK;
    if (rc < 0)
        code = ctl_fail_transport(ctl, rc, err);
    else if (reply.status >= 400)
        code = ctl_fail_reply(ctl, &reply);
    else if (json_parse(reply.body.data != NULL ? reply.body.data : "", reply.body.len, &answer_limits, json,
                        err, sizeof err) < 0)
        code = ctl_fail(ctl, CTL_FAILED, "hermesd sent an answer that is not JSON: %s", err);
    ctl_reply_finish(&reply);
    return code;
}

int ctl_escape(struct buf *out, const char *text) {
    int rc = 0;
    for (; rc == 0 && *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
            strchr("-_.~", c) != NULL)
            rc = buf_putc(out, (char)c);
        else
            rc = buf_printf(out, "%%%02X", c);
    }
    return rc;
}

/* A whole id needs no list: "job_" and 26 characters of Crockford's alphabet. */
static bool is_whole_id(const char *text) {
    return strncmp(text, "job_", 4) == 0 && strlen(text) == 30;
}

struct search {
    const char *part;
    int n;
    char ids[NAMED_MAX][CTL_ID_SIZE];
    char last[CTL_ID_SIZE]; /* where the next page goes on; "" = no further one */
};

static void search_page(struct search *s, const cJSON *page) {
    const cJSON *job;
    s->last[0] = '\0';
    cJSON_ArrayForEach(job, cJSON_GetObjectItemCaseSensitive(page, "data")) {
        const char *id = json_get_string(job, "id");
        if (id == NULL)
            continue;
        snprintf(s->last, sizeof s->last, "%s", id);
        if (strcasestr(id, s->part) == NULL)
            continue;
        if (s->n < NAMED_MAX)
            snprintf(s->ids[s->n], sizeof s->ids[0], "%s", id);
        s->n++;
    }
    if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(page, "has_more")))
        s->last[0] = '\0';
}

static int ambiguous(struct ctl *ctl, const struct search *s) {
    char names[NAMED_MAX * (CTL_ID_SIZE + 2)] = "";
    for (int i = 0; i < s->n && i < NAMED_MAX; i++) {
        size_t at = strlen(names);
        snprintf(names + at, sizeof names - at, "%s%s", i > 0 ? ", " : "", s->ids[i]);
    }
    return ctl_fail(ctl, CTL_USAGE, "'%s' is a part of %d ids: %s%s", s->part, s->n, names,
                    s->n > NAMED_MAX ? ", …" : "");
}

int ctl_find_job(struct ctl *ctl, const char *part, char id[CTL_ID_SIZE]) {
    if (is_whole_id(part)) {
        snprintf(id, CTL_ID_SIZE, "%s", part);
        return CTL_OK;
    }
    if (*part == '\0')
        return ctl_fail(ctl, CTL_USAGE, "The id is empty.");
    struct search s = {.part = part};
    do {
        char path[PATH_BYTES];
        cJSON *page = NULL;
        snprintf(path, sizeof path, "/v1/jobs?limit=100%s%s", s.last[0] != '\0' ? "&after=" : "", s.last);
        int code = ctl_ask(ctl, "GET", path, NULL, &page);
        if (code != CTL_OK)
            return code;
        search_page(&s, page);
        cJSON_Delete(page);
    } while (s.last[0] != '\0');
    if (s.n == 0)
        return ctl_fail(ctl, CTL_FAILED, "No job has '%s' in its id; hermesctl jobs lists them.", part);
    if (s.n > 1)
        return ambiguous(ctl, &s);
    snprintf(id, CTL_ID_SIZE, "%s", s.ids[0]);
    return CTL_OK;
}

/* ---- input and output ---- */

int ctl_print_json(struct ctl *ctl, const cJSON *json, bool one_line) {
    char *text = one_line ? cJSON_PrintUnformatted(json) : cJSON_Print(json);
    if (text == NULL)
        return ctl_fail(ctl, CTL_FAILED, "Memory is out.");
    fprintf(ctl->out.file, "%s\n", text);
    fflush(ctl->out.file);
    free(text);
    return CTL_OK;
}

int ctl_read_stdin(struct buf *text) {
    for (;;) {
        char *at;
        int rc = buf_reserve(text, 65536, &at);
        if (rc < 0)
            return rc == -ENOBUFS ? -E2BIG : rc;
        ssize_t n = read(STDIN_FILENO, at, 65536);
        if (n == 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            buf_commit(text, (size_t)n);
    }
}
