/* Where the JSON of a call ends, also when it is not quite JSON. */
#include "agent/scanner.h"

#include <string.h>

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* A quote of Python's begins a string where a value or a key may stand; elsewhere it is an apostrophe. */
static bool may_quote(const struct scanner_lex *x) {
    return x->token != '\0' && strchr("{[,:(", x->token) != NULL;
}

/* What may stand behind the first '{': a key of any kind, a comment, or its end. */
static bool may_follow(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c != '\0' && strchr("\"'}_$/", c) != NULL);
}

/* One byte inside a string or a comment. */
static void inside(struct scanner_lex *x, char c) {
    char end = x->quote == SCANNER_STRING ? '"' : '\'';
    if (x->quote == SCANNER_LINE_COMMENT) {
        if (c == '\n')
            x->quote = SCANNER_PLAIN;
    } else if (x->quote == SCANNER_COMMENT) {
        bool ends = c == '/' && x->last == '*';
        x->quote = ends ? SCANNER_PLAIN : SCANNER_COMMENT;
        x->last = ends ? ' ' : c;
    } else if (x->escaped) {
        x->escaped = false;
    } else if (c == '\\') {
        x->escaped = true;
    } else if (c == end) {
        x->quote = SCANNER_PLAIN;
        x->last = x->token = c;
    }
}

/* A '/' that may begin a comment is remembered as `last`; one in a word is not ("http://"). */
static bool begins_comment(const struct scanner_lex *x, char c) {
    return x->last == '/' && (c == '/' || c == '*');
}

static char last_of(const struct scanner_lex *x, char c) {
    if (c != '/')
        return c;
    return is_space(x->last) || (x->last != '\0' && strchr("{[,]}\"'", x->last) != NULL) ? '/' : 'x';
}

enum scanner_lexed scanner_lex(struct scanner_lex *x, const char *text, size_t len, bool tags, size_t *used) {
    size_t i = 0;
    for (; i < len; i++) {
        char c = text[i];
        if (x->quote != SCANNER_PLAIN) {
            inside(x, c);
            continue;
        }
        if (c == '<' && tags)
            break;
        if (begins_comment(x, c)) {
            x->quote = c == '/' ? SCANNER_LINE_COMMENT : SCANNER_COMMENT;
            x->last = ' ';
            continue;
        }
        if (x->at_first && !is_space(c) && !may_follow(c)) {
            *used = i;
            return SCANNER_NO_JSON;
        }
        x->at_first = x->at_first && (is_space(c) || c == '/');
        if (c == '"') {
            x->quote = SCANNER_STRING;
        } else if (c == '\'' && may_quote(x)) {
            x->quote = SCANNER_PYTHON;
        } else if (c == '{' || c == '[') {
            x->at_first = c == '{' && x->depth == 0;
            x->depth++;
        } else if ((c == '}' || c == ']') && --x->depth == 0) {
            *used = i + 1;
            return SCANNER_CLOSED;
        }
        x->last = last_of(x, c);
        x->token = is_space(c) ? x->token : c;
    }
    *used = i;
    return SCANNER_GOES_ON;
}
