#include "agent/repair_string.h"

#include <errno.h>
#include <string.h>

struct reader {
    const char *text;
    size_t len, at;
    struct buf *out;
    struct shapes_set *repaired;
    bool python;
    const char *what;
};

static int bad(struct reader *r, const char *what) {
    r->what = what;
    return -EINVAL;
}

/* `digits` hexadecimal digits at `at`; -1 where they are not. */
static long hex(const struct reader *r, size_t at, int digits) {
    long value = 0;
    if (at + (size_t)digits > r->len)
        return -1;
    for (int i = 0; i < digits; i++) {
        char c = r->text[at + (size_t)i];
        if (c >= '0' && c <= '9')
            value = value * 16 + (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            value = value * 16 + ((c | 0x20) - 'a') + 10;
        else
            return -1;
    }
    return value;
}

/* A code point as an escape. */
static int put_code(struct reader *r, long code) {
    if (code > 0xFFFF)
        return buf_printf(r->out, "\\u%04lx\\u%04lx", 0xD800 + ((code - 0x10000) >> 10),
                          0xDC00 + ((code - 0x10000) & 0x3FF));
    return buf_printf(r->out, "\\u%04lx", code);
}

/* \uXXXX at the backslash: copied, a surrogate without its other half replaced. */
static int unicode(struct reader *r) {
    long code = hex(r, r->at + 2, 4);
    if (code < 0)
        return bad(r, "four hexadecimal digits were expected");
    size_t n = 6;
    if (code >= 0xD800 && code <= 0xDBFF && r->at + 7 < r->len && r->text[r->at + 6] == '\\' &&
        r->text[r->at + 7] == 'u') {
        long low = hex(r, r->at + 8, 4);
        n = low >= 0xDC00 && low <= 0xDFFF ? 12 : 6;
    }
    int rc;
    if (code >= 0xD800 && code <= 0xDFFF && n == 6) {
        shapes_add(r->repaired, SHAPE_LONE_SURROGATE);
        rc = buf_puts(r->out, "\\ufffd");
    } else {
        rc = buf_append(r->out, r->text + r->at, n);
    }
    r->at += n;
    return rc;
}

/* Escapes that only Python has. One it does not know stands for itself, backslash included. */
static int python_escape(struct reader *r, char c) {
    int digits = c == 'x' ? 2 : c == 'U' ? 8 : 0;
    long code = digits > 0 ? hex(r, r->at + 2, digits) : c == 'a' ? 7 : c == 'v' ? 11 : -1;
    if (digits > 0 && (code <= 0 || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)))
        return bad(r, "an escape that stands for no character");
    if ((c >= '0' && c <= '7') || c == 'N')
        return bad(r, "an escape that is not understood");
    if (code > 0) {
        r->at += 2 + (size_t)digits;
        return put_code(r, code);
    }
    r->at += c == '\n' ? 2 : 1;
    return c == '\n' ? 0 : buf_puts(r->out, "\\\\");
}

static int escape(struct reader *r) {
    if (r->at + 1 >= r->len) {
        r->at = r->len;
        return bad(r, "unfinished escape");
    }
    char c = r->text[r->at + 1];
    if (c == 'u')
        return unicode(r);
    if (c == '\'' && r->python) {
        r->at += 2;
        return buf_putc(r->out, '\'');
    }
    if (c != '\0' && strchr(r->python ? "\"\\bfnrt" : "\"\\/bfnrt", c) != NULL) {
        r->at += 2;
        return buf_append(r->out, r->text + r->at - 2, 2);
    }
    if (r->python)
        return python_escape(r, c);
    /* "\d" most likely means a backslash, "\$" a dollar: only the second one is certain. */
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (unsigned char)c < 0x20)
        return bad(r, "an escape that JSON does not have; a backslash is written \\\\");
    shapes_add(r->repaired, SHAPE_INVALID_ESCAPE);
    r->at++;
    return 0;
}

static int control(struct reader *r, char c) {
    static const char from[] = "\b\f\n\r\t", to[] = "bfnrt";
    shapes_add(r->repaired, SHAPE_RAW_CONTROL);
    r->at++;
    const char *found = c != '\0' ? strchr(from, c) : NULL;
    return found != NULL ? buf_printf(r->out, "\\%c", to[found - from])
                         : buf_printf(r->out, "\\u%04x", (unsigned)(unsigned char)c);
}

static int body(struct reader *r, char quote) {
    int rc = 0;
    while (rc == 0) {
        size_t from = r->at;
        while (r->at < r->len && (unsigned char)r->text[r->at] >= 0x20 && r->text[r->at] != '\\' &&
               r->text[r->at] != '"' && r->text[r->at] != quote)
            r->at++;
        if (r->at > from && (rc = buf_append(r->out, r->text + from, r->at - from)) < 0)
            return rc;
        if (r->at >= r->len)
            return bad(r, "unfinished string");
        char c = r->text[r->at];
        if (c == quote) {
            r->at++;
            return buf_putc(r->out, '"');
        }
        if (c == '\\') {
            rc = escape(r);
        } else if (c == '"') {
            r->at++;
            rc = buf_puts(r->out, "\\\"");
        } else {
            rc = control(r, c);
        }
    }
    return rc;
}

int repair_string(const char *text, size_t len, size_t *at, struct buf *out, struct shapes_set *repaired,
                  const char **what) {
    char quote = text[*at];
    struct reader r = {
        .text = text, .len = len, .at = *at + 1, .out = out, .repaired = repaired, .python = quote == '\''};
    if (r.python)
        shapes_add(repaired, SHAPE_PYTHON_LITERAL);
    int rc = buf_putc(out, '"');
    rc = rc ? rc : body(&r, quote);
    *at = r.at;
    *what = r.what;
    return rc;
}
