#include "tools/result.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/utf8.h"
#include "plugins/hermes_plugin.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *tool_status_name(enum tool_status s) {
    static const char *const names[] = {"ok",        "error",   "invalid",   "transient", "timeout",
                                        "cancelled", "crashed", "too_large", "unknown",   "unavailable"};
    return (size_t)s < sizeof names / sizeof names[0] ? names[s] : "?";
}

int result_clean(struct buf *out, const char *bytes, size_t len) {
    size_t from = 0, at = 0;
    int rc = 0;
    while (rc == 0 && at < len) {
        size_t n = bytes[at] != '\0' ? utf8_length(bytes + at, len - at) : 0;
        if (n == 0) {
            rc = buf_append(out, bytes + from, at - from);
            if (rc == 0)
                rc = buf_append(out, "\xef\xbf\xbd", 3);
            from = at + 1;
            n = 1;
        }
        at += n;
    }
    return rc == 0 ? buf_append(out, bytes + from, at - from) : rc;
}

static enum tool_status status_of(const struct tool_call *call, uint32_t status, bool cut) {
    if (cut)
        return TOOL_TOO_LARGE;
    if (status == HERMES_OK)
        return TOOL_OK; /* also when it won the race against being cancelled */
    if (status == HERMES_E_UNKNOWN)
        return TOOL_UNKNOWN;
    if (call->stop != CALL_GOES_ON)
        return call->stop == CALL_TIMED_OUT ? TOOL_TIMEOUT : TOOL_CANCELLED;
    switch (status) {
    case HERMES_E_ARGS:
        return TOOL_INVALID;
    case HERMES_E_TRANSIENT:
        return TOOL_TRANSIENT;
    case HERMES_E_CANCELLED:
        return TOOL_CANCELLED;
    case HERMES_E_DEADLINE:
        return TOOL_TIMEOUT;
    case HERMES_E_LIMIT:
        return TOOL_TOO_LARGE;
    default:
        return TOOL_ERROR;
    }
}

/* What is said when the plugin said nothing, or only the beginning of it. */
static int default_text(const struct tool_call *call, enum tool_status status, uint32_t plugin_status,
                        struct buf *out) {
    const char *name = call->tool->info.name;
    switch (status) {
    case TOOL_OK:
        return 0;
    case TOOL_TOO_LARGE:
        return buf_printf(out, "the result of %s is larger than %zu bytes; ask for less", name,
                          call->tool->max_result_bytes);
    case TOOL_TIMEOUT:
        return buf_printf(out, "%s did not finish within %u ms", name, (unsigned)call->timeout_ms);
    case TOOL_CANCELLED:
        return buf_printf(out, "%s was cancelled", name);
    case TOOL_INVALID:
        return buf_printf(out, "%s refused its arguments", name);
    case TOOL_TRANSIENT:
        return buf_printf(out, "%s could not be done now; it may work later", name);
    case TOOL_UNKNOWN:
        return buf_printf(out, "it is not known whether %s took effect", name);
    case TOOL_ERROR:
    case TOOL_CRASHED:
    case TOOL_UNAVAILABLE:
        break;
    }
    if (plugin_status > HERMES_E_INTERNAL)
        return buf_printf(out, "%s ended with the unknown status %u", name, (unsigned)plugin_status);
    return buf_printf(out, "%s failed and gave no reason", name);
}

static double milliseconds(uint64_t from_ns, uint64_t to_ns) {
    return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e6 : 0;
}

int result_of_end(const struct tool_call *call, const struct frame *frame, struct buf *text,
                  struct tool_result *result) {
    struct frame_reader r;
    size_t len;
    uint64_t now_ns = clock_mono_ns();
    frame_read(&r, frame);
    uint32_t status = frame_read_u32(&r), cut = frame_read_u32(&r);
    uint64_t entered_ns = frame_read_u64(&r), cpu_us = frame_read_u64(&r), rss_kib = frame_read_u64(&r);
    const char *bytes = frame_read_text(&r, &len);
    if (frame_done(&r) != 0 || len > call->tool->max_result_bytes)
        return -EPROTO;
    *result = (struct tool_result){.status = status_of(call, status, cut != 0), .exit_code = 0};
    int rc = cut == 0 ? result_clean(text, bytes, len) : 0;
    if (rc == 0 && text->len == 0)
        rc = default_text(call, result->status, status, text);
    if (rc != 0)
        return rc;
    struct json_limits limits = json_limits_default;
    limits.max_bytes = text->max;
    result->text = text->data != NULL ? text->data : "";
    result->len = text->len;
    result->is_json = text->len > 0 && result->status == TOOL_OK &&
                      json_check(text->data, text->len, &limits, NULL, 0) == 0;
    result->duration_ms = milliseconds(call->started_ns, now_ns);
    result->first_byte_us = entered_ns >= call->submitted_ns && entered_ns <= now_ns
                                ? (double)(entered_ns - call->submitted_ns) / 1e3
                                : -1;
    result->pid = (int)call->worker->process->pid;
    result->cpu_ms = (double)cpu_us / 1e3;
    result->max_rss_kib = rss_kib < (1u << 30) ? (long)rss_kib : 0;
    return 0;
}

void result_of_death(const struct tool_call *call, const struct worker *worker, char *text, size_t size,
                     struct tool_result *result) {
    const struct process *p = worker->process;
    const char *name = call->tool->info.name;
    *result = (struct tool_result){.status = TOOL_CRASHED,
                                   .text = text,
                                   .duration_ms = milliseconds(call->started_ns, clock_mono_ns()),
                                   .first_byte_us = -1,
                                   .pid = (int)p->pid,
                                   .exit_code = p->end.exit_code,
                                   .signal = p->end.signal,
                                   .cpu_ms = p->end.cpu_ms,
                                   .max_rss_kib = p->end.max_rss_kib};
    if (call->stop == CALL_TIMED_OUT) {
        result->status = TOOL_TIMEOUT;
        snprintf(text, size, "%s did not finish within %u ms and was killed", name,
                 (unsigned)call->timeout_ms);
    } else if (call->stop == CALL_CANCELLED) {
        result->status = TOOL_CANCELLED;
        snprintf(text, size, "%s was cancelled", name);
    } else if (p->broke != NULL) {
        snprintf(text, size, "%s crashed: its worker was killed because %s", name, p->broke);
    } else if (p->end.signal != 0) {
        snprintf(text, size, "%s crashed: its worker was ended by signal %d (%s)", name, p->end.signal,
                 strsignal(p->end.signal));
    } else {
        snprintf(text, size, "%s crashed: its worker ended with exit code %d before it answered", name,
                 p->end.exit_code);
    }
    result->len = strlen(text);
}
