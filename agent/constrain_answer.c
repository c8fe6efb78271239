/* The grammar of a turn whose answer is JSON. */
#include "agent/constrain_inner.h"

#include "agent/tags.h"

#include <errno.h>
#include <stdio.h>

#define SECTIONS_MAX 8  /* of one turn */
#define KINDS_MAX    64 /* of sections */
#define SPACE_MAX    2  /* line breaks and blanks between parts */

static uint32_t space(struct constrain *c) {
    uint32_t one = constrain_either(c, grammar_byte(c->b, '\n', '\n'), grammar_byte(c->b, ' ', ' '));
    return grammar_repeat(c->b, one, 0, SPACE_MAX);
}

/* The rest of an open section, with what may stand behind it. */
static uint32_t rest_of(struct constrain *c, const char *section) {
    char tag[TAGS_LENGTH_MAX + 1];
    (void)snprintf(tag, sizeof tag, "</%s>", section);
    return constrain_two(c, grammar_text_until(c->b, tag), space(c));
}

static uint32_t section(struct constrain *c, const char *name) {
    char tag[TAGS_LENGTH_MAX + 1];
    (void)snprintf(tag, sizeof tag, "<%s>", name);
    return constrain_two(c, grammar_tag(c->b, tag), rest_of(c, name));
}

static uint32_t sections(struct constrain *c, const struct tags_more *more) {
    uint32_t kinds[KINDS_MAX];
    size_t n = 0;
    for (const char *name; n < KINDS_MAX && (name = tags_section_at(more, n)) != NULL; n++)
        kinds[n] = section(c, name);
    return grammar_repeat(c->b, constrain_once(c, grammar_choice(c->b, kinds, n)), 0, SECTIONS_MAX);
}

/* One call or several, with nothing but space between and behind them. */
static uint32_t calls(struct constrain *c, const struct constrain_tool *tools, size_t n) {
    uint32_t call = constrain_two(c, grammar_tag(c->b, "<tool_call>"), constrain_calls(c, tools, n));
    uint32_t one = constrain_once(c, constrain_two(c, call, space(c)));
    return grammar_repeat(c->b, one, 1, GRAMMAR_FOREVER);
}

int constrain_answer(const struct constrain_tool *tools, size_t n, const struct schema *answer,
                     const struct tags_more *more, const char *open_section, struct grammar **out,
                     struct constrain_report *report, char *err, size_t errlen) {
    struct constrain c;
    if (constrain_begin(&c, false, report) < 0)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the grammar of the answer.");
    uint32_t root = n > 0 ? calls(&c, tools, n) : GRAMMAR_NONE;
    c.tool = NULL;
    uint32_t value = c.status == 0 ? constrain_unique(&c, constrain_root(&c, answer)) : GRAMMAR_NONE;
    root = n > 0 ? constrain_two(&c, sections(&c, more), constrain_either(&c, root, value)) : value;
    if (open_section != NULL)
        root = constrain_two(&c, rest_of(&c, open_section), root);
    return constrain_end(&c, root, out, err, errlen);
}
