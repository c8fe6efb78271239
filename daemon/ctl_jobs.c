/* jobs, show, cancel. */
#include "daemon/ctl.h"
#include "daemon/ctl_view.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE_MAX   100
#define PATH_BYTES 1024

static const char *text_or(const cJSON *object, const char *key, const char *otherwise) {
    const char *text = json_get_string(object, key);
    return text != NULL ? text : otherwise;
}

static enum ctl_style style_of(const char *status) {
    if (strcmp(status, "completed") == 0)
        return CTL_GREEN;
    if (strcmp(status, "failed") == 0)
        return CTL_RED;
    return strcmp(status, "working") == 0 || strcmp(status, "input_required") == 0 ? CTL_YELLOW : CTL_DIM;
}

/* ---- jobs ---- */

/* Milliseconds since 1970 of "2026-11-23T05:00:00.123Z"; < 0 for anything else. */
static double time_of(const char *text) {
    struct tm tm = {0};
    int ms = 0;
    if (text == NULL || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
                               &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &ms) < 6)
        return -1;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    return (double)timegm(&tm) * 1000 + ms;
}

static void format_duration(const cJSON *job, char text[16]) {
    double from = time_of(json_get_string(job, "started_at")),
           to = time_of(json_get_string(job, "finished_at"));
    snprintf(text, 16, "-");
    if (from < 0 || to < 0)
        return;
    double s = (to - from) / 1000;
    if (s < 100)
        snprintf(text, 16, "%.1fs", s);
    else
        snprintf(text, 16, "%.0fm%02.0fs", floor(s / 60), fmod(floor(s), 60));
}

static void print_row(struct ctl *ctl, const cJSON *job) {
    char duration[16];
    const char *id = text_or(job, "id", "?"), *status = text_or(job, "status", "?");
    const char *created = text_or(job, "created_at", ""), *title = text_or(job, "title", "");
    int width = ctl_term_width(&ctl->out);
    format_duration(job, duration);
    ctl_term_text(&ctl->out, CTL_PLAIN, id, strlen(id));
    ctl_term_printf(&ctl->out, style_of(status), "  %-9.14s", status);
    ctl_term_printf(&ctl->out, CTL_DIM, "  %.10s %.8s  %7s  ", created,
                    strlen(created) > 18 ? created + 11 : "", duration);
    int left = width - 30 - 11 - 22 - 11;
    ctl_term_line(&ctl->out, CTL_PLAIN, title, strlen(title), left > 16 ? (size_t)left : 16);
    ctl_term_fresh_line(&ctl->out);
}

/* One page; *all keeps its jobs. False when it was the last. */
static int fetch_page(struct ctl *ctl, int limit, cJSON **page) {
    struct buf path;
    buf_init(&path, PATH_BYTES * 4);
    int rc = buf_printf(&path, "/v1/jobs?limit=%d", limit);
    if (rc == 0 && ctl->options->status != NULL) {
        rc = buf_puts(&path, "&status=");
        if (rc == 0)
            rc = ctl_escape(&path, ctl->options->status);
    }
    if (rc == 0 && *page != NULL) {
        rc = buf_puts(&path, "&after=");
        if (rc == 0)
            rc = ctl_escape(&path, text_or(*page, "last_id", ""));
    }
    cJSON *next = NULL;
    int code = rc < 0 ? ctl_fail(ctl, CTL_USAGE, "The status is too long.")
                      : ctl_ask(ctl, "GET", path.data, NULL, &next);
    buf_finish(&path);
    if (code == CTL_OK) {
        cJSON_Delete(*page);
        *page = next;
    }
    return code;
}

static bool has_more(const cJSON *page) {
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(page, "has_more")) &&
           json_get_string(page, "last_id") != NULL;
}

/* The pages as one list of the API's shape. */
static int fetch_list(struct ctl *ctl, cJSON **list) {
    cJSON *page = NULL, *data = cJSON_CreateArray();
    int left = ctl->options->limit, code = data != NULL ? CTL_OK : CTL_FAILED;
    bool more = true;
    while (code == CTL_OK && more && left > 0) {
        code = fetch_page(ctl, left < PAGE_MAX ? left : PAGE_MAX, &page);
        cJSON *jobs = code == CTL_OK ? cJSON_GetObjectItemCaseSensitive(page, "data") : NULL;
        int n = cJSON_GetArraySize(jobs);
        while (cJSON_GetArraySize(jobs) > 0)
            cJSON_AddItemToArray(data, cJSON_DetachItemFromArray(jobs, 0));
        left -= n;
        more = code == CTL_OK && n > 0 && has_more(page);
    }
    if (code != CTL_OK) {
        cJSON_Delete(page);
        cJSON_Delete(data);
        return code;
    }
    const char *first = json_get_string(cJSON_GetArrayItem(data, 0), "id");
    cJSON_DeleteItemFromObjectCaseSensitive(page, "first_id");
    cJSON_DeleteItemFromObjectCaseSensitive(page, "data");
    if (first != NULL)
        cJSON_AddStringToObject(page, "first_id", first);
    if (!cJSON_AddItemToObject(page, "data", data))
        cJSON_Delete(data);
    *list = page;
    return CTL_OK;
}

int ctl_jobs(struct ctl *ctl) {
    cJSON *list = NULL;
    int code = fetch_list(ctl, &list);
    if (code != CTL_OK)
        return code;
    const cJSON *jobs = cJSON_GetObjectItemCaseSensitive(list, "data"), *job;
    if (ctl->options->json) {
        code = ctl_print_json(ctl, list, false);
    } else {
        cJSON_ArrayForEach(job, jobs) {
            print_row(ctl, job);
        }
        if (cJSON_GetArraySize(jobs) == 0 && !ctl->options->quiet)
            fprintf(ctl->err.file, "There are no jobs.\n");
        else if (has_more(list) && !ctl->options->quiet)
            fprintf(ctl->err.file, "There are more; -n N shows them.\n");
    }
    cJSON_Delete(list);
    return code;
}

/* ---- show ---- */

static void print_field(struct ctl *ctl, const char *name, const char *value) {
    if (value == NULL)
        return;
    ctl_term_printf(&ctl->out, CTL_DIM, "%-10s", name);
    ctl_term_text(&ctl->out, CTL_PLAIN, value, strlen(value));
    ctl_term_fresh_line(&ctl->out);
}

static void print_usage(struct ctl *ctl, const cJSON *job) {
    const cJSON *usage = cJSON_GetObjectItemCaseSensitive(job, "usage");
    char text[160];
    snprintf(text, sizeof text, "%.0f in (%.0f of them cached), %.0f out (%.0f of them reasoning)",
             cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(usage, "input_tokens")),
             cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(usage, "cached_tokens")),
             cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(usage, "output_tokens")),
             cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(usage, "reasoning_tokens")));
    if (cJSON_IsObject(usage))
        print_field(ctl, "tokens", text);
    snprintf(text, sizeof text, "%.0f turns, %.0f calls",
             cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(job, "turns")),
             cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(job, "tool_calls")));
    print_field(ctl, "work", text);
}

static void print_job(struct ctl *ctl, const cJSON *job) {
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(job, "error");
    const cJSON *result = cJSON_GetObjectItemCaseSensitive(job, "result");
    print_field(ctl, "id", json_get_string(job, "id"));
    print_field(ctl, "status", json_get_string(job, "status"));
    print_field(ctl, "title", json_get_string(job, "title"));
    print_field(ctl, "model", json_get_string(job, "model"));
    print_field(ctl, "created", json_get_string(job, "created_at"));
    print_field(ctl, "started", json_get_string(job, "started_at"));
    print_field(ctl, "finished", json_get_string(job, "finished_at"));
    print_usage(ctl, job);
    print_field(ctl, "error", json_get_string(error, "code"));
    print_field(ctl, "", json_get_string(error, "message"));
    const char *text = json_get_string(result, "text");
    if (text != NULL) {
        fputc('\n', ctl->out.file);
        ctl_term_text(&ctl->out, CTL_PLAIN, text, strlen(text));
        ctl_term_fresh_line(&ctl->out);
        ctl_view_notes(&ctl->out, result);
    }
}

static int job_path(struct ctl *ctl, const char *part, const char *tail, char path[PATH_BYTES]) {
    char id[CTL_ID_SIZE];
    struct buf escaped;
    int code = ctl_find_job(ctl, part, id);
    if (code != CTL_OK)
        return code;
    buf_init(&escaped, PATH_BYTES / 2);
    if (ctl_escape(&escaped, id) < 0)
        code = ctl_fail(ctl, CTL_USAGE, "The id is too long.");
    else
        snprintf(path, PATH_BYTES, "/v1/jobs/%s%s", escaped.data, tail);
    buf_finish(&escaped);
    return code;
}

int ctl_show(struct ctl *ctl) {
    char path[PATH_BYTES];
    cJSON *job = NULL;
    int code = job_path(ctl, ctl->options->words[0], "", path);
    if (code == CTL_OK)
        code = ctl_ask(ctl, "GET", path, NULL, &job);
    if (code != CTL_OK)
        return code;
    if (ctl->options->json)
        code = ctl_print_json(ctl, job, false);
    else
        print_job(ctl, job);
    cJSON_Delete(job);
    return code;
}

/* ---- cancel ---- */

static int cancel_one(struct ctl *ctl, const char *part) {
    char path[PATH_BYTES];
    cJSON *job = NULL;
    int code = job_path(ctl, part, "/cancel", path);
    if (code == CTL_OK)
        code = ctl_ask(ctl, "POST", path, NULL, &job);
    if (code != CTL_OK)
        return code;
    if (ctl->options->json)
        code = ctl_print_json(ctl, job, ctl->options->n_words > 1);
    else if (!ctl->options->quiet)
        fprintf(ctl->err.file, "%s: %s\n", text_or(job, "id", "?"), text_or(job, "status", "?"));
    cJSON_Delete(job);
    return code;
}

int ctl_cancel(struct ctl *ctl) {
    int worst = CTL_OK;
    for (int i = 0; i < ctl->options->n_words; i++) {
        int code = cancel_one(ctl, ctl->options->words[i]);
        if (code == CTL_UNREACHABLE)
            return code;
        worst = code > worst ? code : worst;
    }
    return worst;
}
