#include "agent/shapes.h"

#include <stdio.h>
#include <string.h>

#define P SHAPES_PARSE
#define N SHAPES_NORMALISE
#define E SHAPES_ERROR
#define T SHAPES_TEXT
#define S SHAPES_STREAM
#define O SHAPES_OPTION
#define L SHAPES_LOOP

const struct shape shapes_table[SHAPES_COUNT] = {
    {1, "well_formed", P, ""},
    {2, "no_space", P, ""},
    {3, "arguments_first", P, ""},
    {4, "inner_name", P, "only keys of the outer object count"},
    {5, "pretty_printed", P, ""},
    {6, "parallel", P, "the order is kept"},
    {7, "separators", N, "; and , between calls, outside of strings, are dropped"},
    {8, "text_before", P, "the text is kept"},
    {9, "text_after", P, "the text is kept"},
    {10, "unclosed", N, "the model ended its turn behind complete JSON"},
    {11, "unclosed_before_next", N, "closed by the next <tool_call> when the JSON is complete"},
    {12, "stray_markers", N, "markers outside of JSON are dropped"},
    {13, "wrong_close", N, "complete JSON, and nothing but markup behind it"},
    {14, "text_in_block", E, "not guessed whether the text belongs to the call"},
    {15, "half_opener", N, "<tool_call without > before {; one call only"},
    {16, "outer_brace_missing", N, "only between both tags and with the arguments complete"},
    {17, "extra_closers", N, "dropped up to the tag"},
    {18, "close_tag_in_string", P, "a tag inside a string is data"},
    {19, "open_tag_in_string", P, "a tag inside a string is data"},
    {20, "turn_end_in_string", P, "only the token ends a turn, and text outside of JSON"},
    {21, "braces_in_string", P, ""},
    {22, "raw_control", N, "escaped"},
    {23, "invalid_escape", N, "the backslash before punctuation is dropped; before a letter it is an error"},
    {24, "unescaped_quotes", E, "where the string ends would be guessed"},
    {25, "apostrophes", P, "quotes are never replaced as text"},
    {26, "python_literal", N, "read by the rules of the literal"},
    {27, "python_only", E, "sets, tuples, bytes, complex numbers are no JSON"},
    {28, "trailing_comma", N, ""},
    {29, "keys_and_comments", N, "bare keys and comments, outside of strings"},
    {30, "no_number", E, "NaN, Infinity, 4.2.3"},
    {31, "big_number", P, "kept as written; the schema decides"},
    {32, "duplicate_keys", E, "equal values are one, and logged as repaired"},
    {33, "unicode_escapes", P, "decoded before keys are compared"},
    {34, "lone_surrogate", N, "becomes U+FFFD"},
    {35, "string_arguments", N, "decoded once when the text is an object"},
    {36, "scalar_arguments", E, "arguments are an object for every tool"},
    {37, "no_arguments", N, "{} when the tool requires none"},
    {38, "empty_arguments", P, ""},
    {39, "parameters_key", N,
     "parameters; params and args are an error that names the key, as two of them are"},
    {40, "wrong_name_key", E, "names the right key"},
    {41, "openai_nesting", N, ""},
    {42, "array_of_calls", N, "each is a call"},
    {43, "several_objects", N, "equal ones are one call, others several"},
    {44, "function_markup", N, "values typed by the schema"},
    {45, "function_element", E, "names the right form"},
    {46, "foreign_wrapper", O, "off: a hint when the whole message is a call of a known tool"},
    {47, "fenced_call", O, "off: text"},
    {48, "bare_call", O, "off: text"},
    {49, "sample_in_text", T, ""},
    {50, "bracketed_call", E, "text, and a hint when the whole message is that"},
    {51, "pseudo_call", T, "lines of a scratchpad are trace only"},
    {52, "rehearsal", T, "recorded, never run"},
    {53, "unclosed_reasoning", O, "off: close the section, then call"},
    {54, "opened_by_prompt", P, "reading starts inside the section"},
    {55, "tag_in_argument", P, "data"},
    {56, "unknown_name", E, "with the catalogue; siblings run"},
    {57, "name_variant", N, "when exactly one tool matches"},
    {58, "empty_name", E, "without the catalogue"},
    {59, "prefix_names", P, "exact match"},
    {60, "schema_misfit", E, "path and expected type"},
    {61, "string_scalar", N, "only where the schema's type is one that is no string"},
    {62, "extra_keys", P, "the schema decides"},
    {63, "cut_off", E, "never run"},
    {64, "died_in_call", E, "never run, never {}"},
    {65, "partial_tag", S, "held back"},
    {66, "calls_in_one_piece", S, "same as byte by byte"},
    {67, "end_in_one_token", S, "by position, not by token"},
    {68, "own_response", S, "reading stops"},
    {69, "spelled_turn_end", S, "reading stops"},
    {70, "same_call_again", L, "same result: forbidden, then ends the job"},
    {71, "narrated_call", L, "one nudge, then the answer stands and is marked as narrated"},
    {72, "empty_answer", L, "one nudge behind a result"},
    {73, "echoed_syntax", E, "results are never read for calls"},
    {74, "fenced_json", N, "JSON mode: one fence, or text around one object, is taken off"},
    {75, "too_deep", E, "with the limit"},
};

void shapes_add(struct shapes_set *set, enum shapes_row row) {
    set->bits[row / 64] |= (uint64_t)1 << (row % 64);
}

void shapes_merge(struct shapes_set *set, const struct shapes_set *more) {
    set->bits[0] |= more->bits[0];
    set->bits[1] |= more->bits[1];
}

bool shapes_has(const struct shapes_set *set, int row) {
    return (set->bits[row / 64] >> (row % 64) & 1) != 0;
}

bool shapes_any(const struct shapes_set *set) {
    return (set->bits[0] | set->bits[1]) != 0;
}

void shapes_names(const struct shapes_set *set, char *text, size_t size) {
    size_t at = 0;
    if (size > 0)
        text[0] = '\0';
    for (int i = 0; i < SHAPES_COUNT; i++) {
        const struct shape *row = &shapes_table[i];
        if (!shapes_has(set, row->row) || at + strlen(row->name) + 3 > size)
            continue;
        at += (size_t)snprintf(text + at, size - at, "%s%s", at > 0 ? ", " : "", row->name);
    }
}
