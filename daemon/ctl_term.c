#include "daemon/ctl_term.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool is_set(const char *name) {
    const char *value = getenv(name);
    return value != NULL && *value != '\0';
}

static bool wants_color(const struct ctl_term *t, enum ctl_color color) {
    if (color != CTL_COLOR_AUTO)
        return color == CTL_COLOR_ALWAYS;
    if (is_set("NO_COLOR"))
        return false;
    const char *force = getenv("CLICOLOR_FORCE");
    if (force != NULL && *force != '\0' && strcmp(force, "0") != 0)
        return true;
    const char *term = getenv("TERM");
    return t->is_terminal && term != NULL && strcmp(term, "dumb") != 0;
}

void ctl_term_init(struct ctl_term *t, FILE *file, enum ctl_color color) {
    *t = (struct ctl_term){.file = file, .is_terminal = isatty(fileno(file)) == 1};
    t->color = wants_color(t, color);
}

static void begin_style(struct ctl_term *t, enum ctl_style style) {
    static const char *const codes[] = {
        [CTL_DIM] = "\033[2m",  [CTL_BOLD] = "\033[1m",    [CTL_GREEN] = "\033[32m",
        [CTL_RED] = "\033[31m", [CTL_YELLOW] = "\033[33m", [CTL_CYAN] = "\033[36m"};
    if (t->color && style != CTL_PLAIN)
        fputs(codes[style], t->file);
}

static void end_style(struct ctl_term *t, enum ctl_style style) {
    if (t->color && style != CTL_PLAIN)
        fputs("\033[0m", t->file);
}

static void put_bytes(struct ctl_term *t, const char *text, size_t len) {
    fwrite(text, 1, len, t->file);
    for (size_t i = 0; i < len; i++)
        t->column = text[i] == '\n' ? 0 : t->column + 1;
}

/* C0, DEL, and C1 (which some terminals obey in UTF-8 too). */
static bool is_control(const char *text, size_t length) {
    unsigned char c = (unsigned char)text[0];
    if (length == 1)
        return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
    return length == 2 && c == 0xc2 && (unsigned char)text[1] < 0xa0;
}

static void put_safely(struct ctl_term *t, const char *text, size_t len) {
    if (!t->is_terminal) {
        put_bytes(t, text, len);
        return;
    }
    for (size_t i = 0; i < len;) {
        size_t length = utf8_length(text + i, len - i);
        size_t n = length != 0 ? length : 1;
        if (length != 0 && !is_control(text + i, length)) {
            put_bytes(t, text + i, n);
        } else {
            for (size_t k = 0; k < n; k++) {
                char shown[8];
                int size = snprintf(shown, sizeof shown, "\\x%02x", (unsigned char)text[i + k]);
                put_bytes(t, shown, (size_t)size);
            }
        }
        i += n;
    }
}

void ctl_term_text(struct ctl_term *t, enum ctl_style style, const char *text, size_t len) {
    begin_style(t, style);
    put_safely(t, text, len);
    end_style(t, style);
    fflush(t->file);
}

void ctl_term_line(struct ctl_term *t, enum ctl_style style, const char *text, size_t len, size_t max) {
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
        len--;
    size_t end = len;
    if (end > max) {
        end = max;
        while (end > 0 && ((unsigned char)text[end] & 0xC0) == 0x80)
            end--;
    }
    begin_style(t, style);
    for (size_t i = 0; i < end;) {
        size_t run = i;
        while (run < end && text[run] != '\n' && text[run] != '\t' && text[run] != '\r')
            run++;
        put_safely(t, text + i, run - i);
        if (run < end)
            put_bytes(t, " ", 1);
        i = run < end ? run + 1 : run;
    }
    if (end < len)
        put_bytes(t, "…", strlen("…"));
    end_style(t, style);
    fflush(t->file);
}

void ctl_term_printf(struct ctl_term *t, enum ctl_style style, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    begin_style(t, style);
    put_bytes(t, text, strlen(text));
    end_style(t, style);
    fflush(t->file);
}

void ctl_term_fresh_line(struct ctl_term *t) {
    if (t->column > 0)
        put_bytes(t, "\n", 1);
    fflush(t->file);
}

int ctl_term_width(const struct ctl_term *t) {
    struct winsize size;
    if (t->is_terminal && ioctl(fileno(t->file), TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
        return size.ws_col;
    return 100;
}
