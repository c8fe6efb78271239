#include "base/json.h"
#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_markup(char c) {
    return c == '<' || c == '>' || c == '&';
}

static int put_escape(struct buf *out, unsigned char c) {
    switch (c) {
    case '"':
        return buf_puts(out, "\\\"");
    case '\\':
        return buf_puts(out, "\\\\");
    case '\n':
        return buf_puts(out, "\\n");
    case '\r':
        return buf_puts(out, "\\r");
    case '\t':
        return buf_puts(out, "\\t");
    default:
        return buf_printf(out, "\\u%04x", c);
    }
}

int json_quote(struct buf *out, const char *text, size_t len, bool escape_markup) {
    int rc = buf_putc(out, '"');
    for (size_t at = 0; at < len && rc == 0;) {
        unsigned char c = (unsigned char)text[at];
        size_t n = utf8_length(text + at, len - at);
        if (n == 0) {
            rc = buf_puts(out, "\xEF\xBF\xBD");
            n = 1;
        } else if (c < 0x20 || c == 0x7F || c == '"' || c == '\\' || (escape_markup && is_markup((char)c))) {
            rc = put_escape(out, c);
        } else {
            rc = buf_append(out, text + at, n);
        }
        at += n;
    }
    return rc == 0 ? buf_putc(out, '"') : rc;
}

int json_respace(struct buf *out, const char *text, size_t len, bool escape_markup) {
    const struct json_limits wide = {.max_bytes = len, .max_nodes = len + 1, .max_depth = 64};
    int rc = json_check(text, len, &wide, NULL, 0);
    if (rc < 0)
        return rc == -E2BIG ? -EINVAL : rc;
    bool in_string = false;
    for (size_t at = 0; at < len && rc == 0; at++) {
        char c = text[at];
        if (in_string && c == '\\') {
            rc = buf_append(out, text + at, 2);
            at++;
        } else if (in_string && escape_markup && is_markup(c)) {
            rc = put_escape(out, (unsigned char)c);
        } else if (in_string || c == '"') {
            if (c == '"')
                in_string = !in_string;
            rc = buf_putc(out, c);
        } else if (c == ',' || c == ':') {
            rc = buf_append(out, c == ',' ? ", " : ": ", 2);
        } else if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
            rc = buf_putc(out, c);
        }
    }
    return rc;
}

void json_writer_begin(struct json_writer *w, struct buf *out) {
    *w = (struct json_writer){.out = out, .first = true};
}

static void keep(struct json_writer *w, int rc) {
    if (w->status == 0)
        w->status = rc;
}

/* The comma that goes before a value or a key. */
static void separate(struct json_writer *w) {
    if (!w->first && !w->key && w->depth > 0)
        keep(w, buf_append(w->out, ", ", 2));
    w->first = false;
    w->key = false;
}

static void open_level(struct json_writer *w, char c) {
    separate(w);
    keep(w, buf_putc(w->out, c));
    w->depth++;
    w->first = true;
}

static void close_level(struct json_writer *w, char c) {
    keep(w, buf_putc(w->out, c));
    w->depth--;
    w->first = false;
}

void json_object_begin(struct json_writer *w) {
    open_level(w, '{');
}

void json_object_end(struct json_writer *w) {
    close_level(w, '}');
}

void json_array_begin(struct json_writer *w) {
    open_level(w, '[');
}

void json_array_end(struct json_writer *w) {
    close_level(w, ']');
}

void json_key(struct json_writer *w, const char *key) {
    separate(w);
    keep(w, json_quote(w->out, key, strlen(key), false));
    keep(w, buf_append(w->out, ": ", 2));
    w->key = true;
}

void json_string_n(struct json_writer *w, const char *text, size_t len) {
    separate(w);
    keep(w, json_quote(w->out, text, len, false));
}

void json_string(struct json_writer *w, const char *text) {
    if (text == NULL)
        json_null(w);
    else
        json_string_n(w, text, strlen(text));
}

void json_int(struct json_writer *w, int64_t value) {
    separate(w);
    keep(w, buf_printf(w->out, "%lld", (long long)value));
}

void json_number(struct json_writer *w, double value) {
    if (!isfinite(value)) {
        json_null(w);
        return;
    }
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    separate(w);
    keep(w, buf_puts(w->out, text));
}

void json_bool(struct json_writer *w, bool value) {
    separate(w);
    keep(w, buf_puts(w->out, value ? "true" : "false"));
}

void json_null(struct json_writer *w) {
    separate(w);
    keep(w, buf_puts(w->out, "null"));
}

void json_raw(struct json_writer *w, const char *text, size_t len) {
    separate(w);
    keep(w, buf_append(w->out, text, len));
}

int json_writer_end(struct json_writer *w) {
    return w->status;
}
