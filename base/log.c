#include "base/log.h"
#include "base/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static _Atomic int threshold = LOG_INFO;
static const char *const names[] = {"debug", "info", "warn", "error"};

void log_set_level(enum log_level level) {
    atomic_store(&threshold, (int)level);
}

int log_level_parse(const char *name, enum log_level *level) {
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) == 0) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

/* One write(2) per line: lines of several threads never mix. */
void log_write(enum log_level level, const char *fmt, ...) {
    if ((int)level < atomic_load(&threshold))
        return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);

    char when[CLOCK_TEXT_SIZE];
    clock_format(clock_wall_ns(), when);
    char line[sizeof text * 4 + 64];
    int at = snprintf(line, sizeof line, "%s %-5s ", when, names[level]);
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c >= 0x20 && c != 0x7f)
            line[at++] = (char)c;
        else if (c == '\n' || c == '\t')
            at += snprintf(line + at, sizeof line - (size_t)at, c == '\n' ? "\\n" : "\\t");
        else
            at += snprintf(line + at, sizeof line - (size_t)at, "\\x%02x", c);
    }
    line[at++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, (size_t)at);
    (void)written; /* a log that cannot be written has nowhere to complain */
}
