#include "agent/tags.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
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

#define N_TABLE (sizeof table / sizeof *table)

static size_t count(const struct tags_more *more) {
    return N_TABLE + (more != NULL ? more->n : 0);
}

static const struct tag *at_index(const struct tags_more *more, size_t i) {
    return i < N_TABLE ? &table[i] : &more->tags[i - N_TABLE];
}

static bool is_name(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              c == '-'))
            return false;
    }
    return len > 0 && len <= TAGS_NAME_MAX;
}

/* One of the two tags of a section. */
static void put(struct tags_more *m, enum tag_kind kind, const char *text, const char *section) {
    size_t len = strlen(text);
    memcpy(m->texts[m->n], text, len + 1);
    m->tags[m->n] = (struct tag){kind, m->texts[m->n], len, section};
    m->n++;
}

static int add(struct tags_more *m, const char *text, size_t len) {
    if (!is_name(text, len))
        return -EINVAL;
    char tag[TAGS_LENGTH_MAX + 1];
    const struct tag *known = NULL;
    (void)snprintf(tag, sizeof tag, "<%.*s>", (int)len, text);
    if (tags_match(m, tag, len + 2, &known) == TAGS_WHOLE)
        return known->kind == TAG_SECTION_OPEN ? 0 : -EINVAL;
    if (m->n == 2 * TAGS_MORE_MAX)
        return -EINVAL;
    char *name = m->names[m->n / 2];
    memcpy(name, text, len);
    name[len] = '\0';
    put(m, TAG_SECTION_OPEN, tag, name);
    (void)snprintf(tag, sizeof tag, "</%.*s>", (int)len, text);
    put(m, TAG_SECTION_CLOSE, tag, name);
    return 0;
}

int tags_more_read(struct tags_more *more, const char *names, const char **bad) {
    *more = (struct tags_more){.n = 0};
    while (names != NULL && *names != '\0') {
        size_t len = strcspn(names, ",");
        *bad = names;
        int rc = add(more, names, len);
        if (rc < 0 || (names[len] == ',' && names[len + 1] == '\0'))
            return -EINVAL;
        names += len + (names[len] == ',');
    }
    return 0;
}

enum tags_match tags_match(const struct tags_more *more, const char *text, size_t len,
                           const struct tag **tag) {
    for (size_t i = 0; i < count(more); i++) {
        const struct tag *t = at_index(more, i);
        if (len > t->len || memcmp(text, t->text, len) != 0)
            continue;
        if (len < t->len)
            return TAGS_PREFIX;
        *tag = t;
        return TAGS_WHOLE;
    }
    return TAGS_NO;
}

size_t tags_find(const struct tags_more *more, const char *text, size_t len, const struct tag **tag) {
    for (size_t at = 0; at < len; at++) {
        const char *found = memchr(text + at, '<', len - at);
        if (found == NULL)
            return len;
        at = (size_t)(found - text);
        for (size_t i = 0; i < count(more); i++) {
            const struct tag *t = at_index(more, i);
            if (t->len <= len - at && memcmp(found, t->text, t->len) == 0) {
                *tag = t;
                return at;
            }
        }
    }
    return len;
}

const char *tags_section(const struct tags_more *more, const char *name) {
    const char *known;
    for (size_t i = 0; (known = tags_section_at(more, i)) != NULL; i++)
        if (strcmp(known, name) == 0)
            return known;
    return NULL;
}

const char *tags_section_at(const struct tags_more *more, size_t index) {
    for (size_t i = 0; i < count(more); i++)
        if (at_index(more, i)->kind == TAG_SECTION_OPEN && index-- == 0)
            return at_index(more, i)->section;
    return NULL;
}
