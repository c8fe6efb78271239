#include "agent/tags.h"

#include <string.h>

#define PLAIN(kind, text)                                                                                    \
    { kind, text, sizeof text - 1, NULL }
#define SECTION(name)                                                                                        \
    {TAG_SECTION_OPEN, "<" name ">", sizeof name + 1, name}, {                                               \
        TAG_SECTION_CLOSE, "</" name ">", sizeof name + 2, name                                              \
    }

/* The ten sections of Hermes 3, and the other spellings that its relatives write. */
static const struct tag table[] = {
    PLAIN(TAG_CALL_OPEN, "<tool_call>"),
    PLAIN(TAG_CALL_CLOSE, "</tool_call>"),
    PLAIN(TAG_RESPONSE_OPEN, "<tool_response>"),
    PLAIN(TAG_CITATION, "<co>"),
    PLAIN(TAG_CITATION, "</co>"),
    PLAIN(TAG_TURN, "<|im_end|>"),
    PLAIN(TAG_TURN, "<|im_start|>"),
    PLAIN(TAG_TURN, "<|eot_id|>"),
    PLAIN(TAG_TURN, "<|end_of_text|>"),
    SECTION("SCRATCHPAD"),
    SECTION("REASONING"),
    SECTION("INNER_MONOLOGUE"),
    SECTION("PLAN"),
    SECTION("EXECUTION"),
    SECTION("REFLECTION"),
    SECTION("THINKING"),
    SECTION("SOLUTION"),
    SECTION("EXPLANATION"),
    SECTION("UNIT_TEST"),
    SECTION("REASONING_SCRATCHPAD"),
    SECTION("scratch_pad"),
    SECTION("scratchpad"),
    SECTION("think"),
};

enum tags_match tags_match(const char *text, size_t len, const struct tag **tag) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct tag *t = &table[i];
        if (len > t->len || memcmp(text, t->text, len) != 0)
            continue;
        if (len < t->len)
            return TAGS_PREFIX;
        *tag = t;
        return TAGS_WHOLE;
    }
    return TAGS_NO;
}

size_t tags_find(const char *text, size_t len, const struct tag **tag) {
    for (size_t at = 0; at < len; at++) {
        const char *found = memchr(text + at, '<', len - at);
        if (found == NULL)
            return len;
        at = (size_t)(found - text);
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
            const struct tag *t = &table[i];
            if (t->len <= len - at && memcmp(found, t->text, t->len) == 0) {
                *tag = t;
                return at;
            }
        }
    }
    return len;
}

const char *tags_section(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].section != NULL && strcmp(table[i].section, name) == 0)
            return table[i].section;
    return NULL;
}

const char *tags_section_at(size_t index) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].kind == TAG_SECTION_OPEN && index-- == 0)
            return table[i].section;
    return NULL;
}
