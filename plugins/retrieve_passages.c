#include "plugins/retrieve_passages.h"

#include <string.h>

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (unsigned char)c >= 0x80 || c == '(' || c == '"' || c == '\'';
}

static bool is_heading(const char *line, size_t len) {
    return len > 0 && line[0] == '#';
}

/* Whether a line goes on with the text of the line before: not a heading, list item, table row or quote. */
static bool continues(const char *line, size_t len) {
    size_t digits = 0;
    while (digits < len && line[digits] >= '0' && line[digits] <= '9')
        digits++;
    if (digits > 0 && digits < len && (line[digits] == '.' || line[digits] == ')') &&
        (digits + 1 == len || is_space(line[digits + 1])))
        return false;
    return is_word(line[0]);
}

/* Where to end a piece of at most max bytes: after a sentence, else at a space, else anywhere between
 * characters. */
static size_t piece_length(const char *text, size_t len, size_t max) {
    if (len <= max)
        return len;
    for (size_t i = max; i > max / 3; i--)
        if ((text[i] == ' ' || text[i] == '\n') && strchr(".!?", text[i - 1]) != NULL && text[i - 1] != '\0')
            return i;
    for (size_t i = max; i > max / 3; i--)
        if (text[i] == ' ' || text[i] == '\n')
            return i;
    size_t cut = text_cut(text, len, max);
    return cut > 0 ? cut : max;
}

static int emit(struct text *passage, size_t passage_max, int (*add)(void *arg, const char *text, size_t len),
                void *arg) {
    int status = passage->status;
    for (size_t at = 0; status == 0 && at < passage->len;) {
        size_t n = piece_length(passage->data + at, passage->len - at, passage_max);
        status = add(arg, passage->data + at, n);
        at += n;
        while (at < passage->len && (passage->data[at] == ' ' || passage->data[at] == '\n'))
            at++;
    }
    passage->len = 0;
    return status;
}

int retrieve_split(const char *data, size_t len, size_t passage_max,
                   int (*add)(void *arg, const char *text, size_t len), void *arg) {
    struct text passage;
    bool only_headings = true;
    int status = 0;
    text_init(&passage, len + 1);
    for (size_t at = 0; status == 0 && at < len;) {
        const char *line = data + at, *newline = memchr(line, '\n', len - at);
        size_t n = newline == NULL ? len - at : (size_t)(newline - line);
        at += n + 1;
        while (n > 0 && is_space(line[n - 1]))
            n--;
        while (n > 0 && is_space(line[0]))
            line++, n--;
        if (n == 0) {
            if (passage.len > 0 && !only_headings)
                status = emit(&passage, passage_max, add, arg);
            if (passage.len == 0)
                only_headings = true;
            continue;
        }
        bool heading = is_heading(line, n);
        if (heading && !only_headings) {
            status = emit(&passage, passage_max, add, arg);
            only_headings = true;
        }
        if (passage.len > 0)
            text_put(&passage, !only_headings && continues(line, n) ? " " : "\n");
        text_add(&passage, line, n);
        only_headings = only_headings && heading;
    }
    if (status == 0)
        status = emit(&passage, passage_max, add, arg);
    text_finish(&passage);
    return status;
}
