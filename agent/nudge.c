#include "agent/nudge.h"

#include <string.h>

#define NARRATION_MAX 600 /* a longer text is an answer */

static bool contains(const char *text, size_t len, const char *what) {
    return memmem(text, len, what, strlen(what)) != NULL;
}

static bool announces(const char *text, size_t len) {
    static const char *const words[] = {"I will ",        "I'll ",         "Let me ",   "let me ",
                                        "I am going to ", "I'm going to ", "I need to "};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (contains(text, len, words[i]))
            return true;
    return false;
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The name stands there as a tool's: in code quotes, called, or named as one. "I will add salt" is none. */
static bool names(const char *text, size_t len, const char *tool) {
    size_t n = strlen(tool);
    for (size_t i = 0; i + n <= len; i++) {
        if (memcmp(text + i, tool, n) != 0 || (i > 0 && is_word(text[i - 1])))
            continue;
        const char *after = text + i + n;
        size_t left = len - i - n;
        if (left > 0 && is_word(*after))
            continue;
        if ((left > 0 && (*after == '(' || *after == '`')) || (left >= 5 && memcmp(after, " tool", 5) == 0) ||
            (left >= 9 && memcmp(after, " function", 9) == 0))
            return true;
    }
    return false;
}

const char *nudge_text(const char *answer, size_t len, const struct agent_tool *tools, size_t n_tools,
                       int calls) {
    if (len == 0)
        return calls > 0 ? "Your turn was empty. Write the answer for the user now." : NULL;
    if (calls > 0 || len > NARRATION_MAX || !announces(answer, len))
        return NULL;
    for (size_t i = 0; i < n_tools; i++)
        if (names(answer, len, tools[i].name))
            return "You wrote about a call but made none. Make the call now, or write the final answer.";
    return NULL;
}
