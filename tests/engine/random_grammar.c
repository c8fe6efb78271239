#include "tests/engine/random_grammar.h"

#include <string.h>

static uint64_t random_state = 1;

void random_begin(uint64_t seed) {
    random_state = 0x9E3779B97F4A7C15u * seed;
}

uint32_t random_below(uint32_t n) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % n;
}

/* The rest of a name that is not `word`, with its quote: any characters are the beginning of one. */
static uint32_t other_than(struct grammar_builder *b, const char *word) {
    static const struct grammar_range beyond = {0x80, 0x10FFFF};
    unsigned char next = *word == '\0' ? 'x' : (unsigned char)*word; /* behind the whole word all goes on */
    uint32_t any[] = {grammar_string(b, 0, GRAMMAR_FOREVER), grammar_literal(b, "\"", 1)};
    uint32_t rest = grammar_sequence(b, any, 2), codes[7];
    for (size_t i = 0; i < 7; i++)
        codes[i] = grammar_literal(b, &"bfnrt\"\\"[i], 1);
    uint32_t escaped[] = {grammar_literal(b, "\\", 1), grammar_choice(b, codes, 7), rest};
    uint32_t ranges[] = {grammar_byte(b, ' ', '!'), grammar_byte(b, '#', '['), grammar_byte(b, ']', 0x7F),
                         grammar_chars(b, &beyond, 1)};
    if (*word != '\0') {
        ranges[1] = grammar_byte(b, '#', (unsigned char)(next - 1));
        ranges[2] = grammar_byte(b, (unsigned char)(next + 1), 0x7F);
        uint32_t more[] = {ranges[2], grammar_byte(b, ']', 0x60), grammar_byte(b, '#', '[')};
        ranges[1] = grammar_choice(b, &more[1], 2);
        if (next > 'a') {
            uint32_t lower[] = {ranges[1], grammar_byte(b, 'a', (unsigned char)(next - 1))};
            ranges[1] = grammar_choice(b, lower, 2);
        }
    }
    uint32_t plain[] = {grammar_choice(b, ranges, 4), rest};
    uint32_t ways[4] = {grammar_sequence(b, plain, 2), grammar_sequence(b, escaped, 3)};
    size_t n = 2;
    if (*word != '\0') {
        uint32_t along[] = {grammar_literal(b, word, 1), other_than(b, word + 1)};
        ways[n++] = grammar_literal(b, "\"", 1);
        ways[n++] = grammar_sequence(b, along, 2);
    }
    return grammar_open(b, grammar_choice(b, ways, n));
}

/* Characters of a pattern, again and again: some of all kinds, whole kinds or parts of them, beyond ASCII or
 * not, counted or not. */
static uint32_t random_pattern(struct grammar_builder *b) {
    static const struct grammar_range sets[][5] = {
        {{'a', 'z'}},
        {{'a', 'z'}, {'A', 'Z'}, {'0', '9'}, {'_', '_'}, {'-', '-'}},
        {{'A', 'Z'}, {'.', '9'}},
        {{'0', '9'}, {'a', 'f'}},
        {{' ', '!'}, {'#', '['}, {']', '~'}},
        {{' ', '!'}, {'#', '['}, {']', 0x7F}, {0x80, 0x10FFFF}},
        {{'!', '!'}, {'#', '['}, {']', '~'}, {0x80, 0x10FFFF}},
        {{'a', 'y'}, {' ', '/'}, {0x80, 0xFF}},
        {{' ', ' '}, {'a', 'z'}, {'=', '='}, {0x3042, 0x9FFF}},
    };
    static const uint32_t most[] = {1,
                                    2,
                                    3,
                                    5,
                                    15,
                                    16,
                                    17,
                                    18,
                                    30,
                                    62,
                                    63,
                                    64,
                                    70,
                                    300,
                                    GRAMMAR_FOREVER,
                                    GRAMMAR_FOREVER,
                                    GRAMMAR_FOREVER};
    const struct grammar_range *set = sets[random_below(sizeof sets / sizeof *sets)];
    size_t n = 0;
    while (n < 5 && set[n].last != 0)
        n++;
    uint32_t max = most[random_below(sizeof most / sizeof *most)], min = random_below(4);
    return grammar_repeat(b, grammar_chars(b, set, n), min < max ? min : max, max);
}

uint32_t random_grammar(struct grammar_builder *b, int depth) {
    static const char *const texts[] = {"\"", "the ", "a", "\": ", ", \"", "{\"name\": \"", "\\n", "<", "\n"};
    static const uint32_t most[] = {1, 5, 12, 20, 28, 40, 64, 90, 300, GRAMMAR_FOREVER};
    uint32_t items[4], n = 2 + random_below(3), min;
    switch (random_below(depth > 0 ? 12 : 8)) {
    case 0:
    case 1:
        n = random_below(sizeof texts / sizeof *texts);
        return grammar_literal(b, texts[n], strlen(texts[n]));
    case 2:
        return random_below(2) == 0 ? grammar_byte(b, 'a', (unsigned char)('b' + random_below(24)))
                                    : grammar_byte(b, '0', '9');
    case 3:
        return grammar_string(b, random_below(5), most[random_below(sizeof most / sizeof *most)]);
    case 4:
        return other_than(b, random_below(2) == 0 ? "the" : "name");
    case 5:
        return random_below(2) == 0 ? grammar_text_until(b, "<tool_call>") : grammar_tag(b, "</tool_call>");
    case 6:
        items[0] = random_pattern(b);
        items[1] = grammar_literal(b, random_below(2) == 0 ? "\"" : "-", 1);
        return grammar_sequence(b, items, 2);
    case 7:
        items[0] = grammar_literal(b, "\"", 1);
        items[1] = grammar_string(b, random_below(3), most[random_below(sizeof most / sizeof *most)]);
        items[2] = items[0];
        return grammar_sequence(b, items, 3);
    case 8:
    case 9:
        for (uint32_t i = 0; i < n; i++)
            items[i] = random_grammar(b, depth - 1);
        return grammar_sequence(b, items, n);
    case 10:
        for (uint32_t i = 0; i < n; i++)
            items[i] = random_grammar(b, depth - 1);
        return grammar_choice(b, items, n);
    default:
        items[0] = grammar_byte(b, 'a', 'z');
        items[1] = random_grammar(b, depth - 1);
        min = random_below(3);
        return grammar_repeat(b, grammar_sequence(b, items, 2), min,
                              random_below(2) == 0 ? GRAMMAR_FOREVER : min + random_below(9));
    }
}
