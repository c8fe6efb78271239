#include "daemon/ctl_sse.h"

#include <stdio.h>
#include <string.h>

#define EVENT_MAX ((size_t)64 << 20)

void ctl_sse_init(struct ctl_sse *s, int (*event)(void *arg, const char *type, const char *data, size_t len),
                  void *arg) {
    *s = (struct ctl_sse){.event = event, .arg = arg};
    buf_init(&s->line, EVENT_MAX);
    buf_init(&s->data, EVENT_MAX);
}

void ctl_sse_finish(struct ctl_sse *s) {
    buf_finish(&s->line);
    buf_finish(&s->data);
}

void ctl_sse_restart(struct ctl_sse *s) {
    buf_clear(&s->line);
    buf_clear(&s->data);
    s->type[0] = '\0';
    s->has_data = s->after_cr = false;
}

static int end_of_event(struct ctl_sse *s) {
    int rc = 0;
    if (s->has_data)
        rc = s->event(s->arg, s->type[0] != '\0' ? s->type : "message",
                      s->data.data != NULL ? s->data.data : "", s->data.len);
    buf_clear(&s->data);
    s->type[0] = '\0';
    s->has_data = false;
    return rc;
}

static int field(struct ctl_sse *s, const char *name, size_t n, const char *value) {
    if (n == 5 && memcmp(name, "event", 5) == 0) {
        snprintf(s->type, sizeof s->type, "%s", value);
    } else if (n == 2 && memcmp(name, "id", 2) == 0) {
        snprintf(s->id, sizeof s->id, "%s", value);
    } else if (n == 4 && memcmp(name, "data", 4) == 0) {
        int rc = s->has_data ? buf_putc(&s->data, '\n') : 0;
        s->has_data = true;
        return rc < 0 ? rc : buf_puts(&s->data, value);
    }
    return 0; /* comments and unknown fields */
}

static int end_of_line(struct ctl_sse *s) {
    if (s->line.len == 0)
        return end_of_event(s);
    const char *line = s->line.data;
    const char *colon = memchr(line, ':', s->line.len);
    size_t n = colon != NULL ? (size_t)(colon - line) : s->line.len;
    const char *value = colon != NULL ? colon + 1 : "";
    int rc = field(s, line, n, *value == ' ' ? value + 1 : value);
    buf_clear(&s->line);
    return rc;
}

int ctl_sse_feed(struct ctl_sse *s, const char *bytes, size_t len) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < len;) {
        if (s->after_cr && bytes[i] == '\n') {
            s->after_cr = false;
            i++;
            continue;
        }
        s->after_cr = false;
        size_t end = i;
        while (end < len && bytes[end] != '\n' && bytes[end] != '\r')
            end++;
        rc = buf_append(&s->line, bytes + i, end - i);
        if (rc == 0 && end < len) {
            s->after_cr = bytes[end] == '\r';
            rc = end_of_line(s);
            end++;
        }
        i = end;
    }
    return rc;
}
