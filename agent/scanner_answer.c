/* Where the JSON of an answer ends, so that a tag inside a string of it is data. */
#include "agent/scanner.h"

#include <string.h>

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* A bracket begins JSON wherever it stands, also in a fence or behind a word of introduction; a quote does
 * where the answer begins, elsewhere it is prose. */
static bool begins(const struct scanner_answer *a, char c) {
    return c == '{' || c == '[' || (c == '"' && !a->begun);
}

/* Bytes up to where JSON may begin or a tag may. */
static size_t before(struct scanner_answer *a, const char *text, size_t len) {
    size_t n = 0;
    while (n < len && text[n] != '<' && !begins(a, text[n])) {
        a->begun = a->begun || !is_space(text[n]);
        n++;
    }
    return n;
}

/* Bytes of a string that is the whole answer, with its closing quote. */
static size_t string_bytes(struct scanner_answer *a, const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (a->lex.escaped) {
            a->lex.escaped = false;
        } else if (text[i] == '\\') {
            a->lex.escaped = true;
        } else if (text[i] == '"') {
            a->state = SCANNER_ANSWER_NONE;
            return i + 1;
        }
    }
    return len;
}

static size_t json_bytes(struct scanner_answer *a, const char *text, size_t len) {
    size_t used = 0;
    /* A '<' where none can stand in JSON: it was no JSON, and a tag counts. */
    if (scanner_lex(&a->lex, text, len, true, &used) != SCANNER_GOES_ON || used < len)
        a->state = SCANNER_ANSWER_NONE;
    return used;
}

size_t scanner_answer_bytes(struct scanner_answer *a, const char *text, size_t len) {
    if (!a->on)
        return 0;
    if (a->state == SCANNER_ANSWER_STRING)
        return string_bytes(a, text, len);
    size_t used = a->state == SCANNER_ANSWER_JSON ? json_bytes(a, text, len) : 0;
    if (used == 0)
        used = before(a, text, len);
    if (used > 0 || *text == '<')
        return used;
    a->begun = true;
    a->lex = (struct scanner_lex){0};
    a->state = *text == '"' ? SCANNER_ANSWER_STRING : SCANNER_ANSWER_JSON;
    return *text == '"' ? 1 : json_bytes(a, text, len);
}
