#include "tools/format_idn.h"

#include <stdint.h>

#define LABEL_MAX 64 /* characters; a label has at most 63 bytes */

struct range {
    uint32_t first, last;
};
#define ANY_OF(c, ranges) in_ranges(c, ranges, sizeof(ranges) / sizeof((ranges)[0]))

static bool in_ranges(uint32_t c, const struct range *ranges, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    return false;
}

/* ---- Punycode ---- */

enum { BASE = 36, T_MIN = 1, T_MAX = 26, SKEW = 38, DAMP = 700, FIRST_BIAS = 72, FIRST_N = 128 };

static uint32_t adapt(uint32_t delta, uint32_t points, bool first) {
    uint32_t k = 0;
    delta = first ? delta / DAMP : delta / 2;
    delta += delta / points;
    for (; delta > (BASE - T_MIN) * T_MAX / 2; k += BASE)
        delta /= BASE - T_MIN;
    return k + (BASE - T_MIN + 1) * delta / (delta + SKEW);
}

static uint32_t digit(char c) {
    char lower = (char)(c | 0x20);
    return c >= '0' && c <= '9'           ? (uint32_t)(c - '0') + 26
           : lower >= 'a' && lower <= 'z' ? (uint32_t)(lower - 'a')
                                          : BASE;
}

/* One number of variable length at *at, added to *i. False when it is none or too large. */
static bool read_delta(const char *text, size_t len, size_t *at, uint32_t bias, uint32_t *i) {
    uint64_t weight = 1, sum = *i;
    for (uint32_t k = BASE;; k += BASE) {
        uint32_t d = *at < len ? digit(text[*at]) : BASE;
        if (d == BASE)
            return false;
        ++*at;
        sum += d * weight;
        uint32_t t = k <= bias ? T_MIN : k >= bias + T_MAX ? T_MAX : k - bias;
        if (sum > 0x7fffffff)
            return false;
        if (d < t)
            break;
        weight *= BASE - t;
        if (weight > 0x7fffffff)
            return false;
    }
    *i = (uint32_t)sum;
    return true;
}

/* The number of characters, 0 for what is no Punycode. */
static size_t decode(const char *text, size_t len, uint32_t out[LABEL_MAX]) {
    size_t count = 0, at = 0, plain = len;
    uint32_t n = FIRST_N, i = 0, bias = FIRST_BIAS;
    while (plain > 0 && text[plain - 1] != '-')
        plain--;
    for (; count + 1 < plain; count++)
        out[count] = (unsigned char)text[count];
    at = plain;
    while (at < len) {
        uint32_t before = i;
        if (count + 1 >= LABEL_MAX || !read_delta(text, len, &at, bias, &i))
            return 0;
        uint32_t points = (uint32_t)count + 1;
        bias = adapt(i - before, points, before == 0);
        n += i / points;
        i %= points;
        if (n > 0x10FFFF || (n >= 0xD800 && n <= 0xDFFF))
            return 0;
        for (size_t k = count; k > i; k--)
            out[k] = out[k - 1];
        out[i++] = n;
        count++;
    }
    return count;
}

/* ---- RFC 5892 ---- */

static const struct range disallowed[] = {{0x0640, 0x0640}, {0x07FA, 0x07FA}, {0x302E, 0x302F},
                                          {0x3031, 0x3035}, {0x303B, 0x303B}, {0x0080, 0x00B6},
                                          {0x00B8, 0x00DE}, {0x00F7, 0x00F7}, {0x2010, 0x206F},
                                          {0xD800, 0xF8FF}, {0xFE00, 0xFE0F}, {0xFF00, 0xFFEF}};
/* Where combining marks stand in the blocks that have many. */
static const struct range marks[] = {
    {0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x05BF, 0x05BF}, {0x05C1, 0x05C2},
    {0x05C4, 0x05C5}, {0x0610, 0x061A}, {0x064B, 0x065F}, {0x0670, 0x0670}, {0x06D6, 0x06DC},
    {0x06DF, 0x06E4}, {0x06E7, 0x06E8}, {0x06EA, 0x06ED}, {0x0711, 0x0711}, {0x0730, 0x074A},
    {0x0900, 0x0903}, {0x093A, 0x093C}, {0x093E, 0x094F}, {0x0951, 0x0957}, {0x0962, 0x0963},
    {0x0981, 0x0983}, {0x09BC, 0x09BC}, {0x09BE, 0x09CD}, {0x0A01, 0x0A03}, {0x0A3C, 0x0A51},
    {0x0A81, 0x0A83}, {0x0ABC, 0x0ABC}, {0x0ABE, 0x0ACD}, {0x0B01, 0x0B03}, {0x0B3C, 0x0B3C},
    {0x0B3E, 0x0B57}, {0x0BBE, 0x0BCD}, {0x0C00, 0x0C04}, {0x0C3E, 0x0C56}, {0x0CBE, 0x0CCD},
    {0x0D3E, 0x0D4D}, {0x0DCA, 0x0DDF}, {0x0E31, 0x0E31}, {0x0E34, 0x0E3A}, {0x0E47, 0x0E4E},
    {0x0EB1, 0x0EB1}, {0x0EB4, 0x0EBC}, {0x0F71, 0x0F84}, {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF},
    {0x20D0, 0x20FF}, {0x302A, 0x302F}, {0x3099, 0x309A}, {0xFE20, 0xFE2F}};
static const struct range viramas[] = {
    {0x094D, 0x094D}, {0x09CD, 0x09CD}, {0x0A4D, 0x0A4D}, {0x0ACD, 0x0ACD}, {0x0B4D, 0x0B4D},
    {0x0BCD, 0x0BCD}, {0x0C4D, 0x0C4D}, {0x0CCD, 0x0CCD}, {0x0D3B, 0x0D3C}, {0x0D4D, 0x0D4D},
    {0x0DCA, 0x0DCA}, {0x0E3A, 0x0E3A}, {0x0EBA, 0x0EBA}, {0x0F84, 0x0F84}, {0x1039, 0x103A},
    {0x1714, 0x1715}, {0x1734, 0x1734}, {0x17D2, 0x17D2}, {0x1A60, 0x1A60}, {0x1B44, 0x1B44},
    {0x1BAA, 0x1BAB}, {0x1BF2, 0x1BF3}, {0x2D7F, 0x2D7F}, {0xA806, 0xA806}, {0xA8C4, 0xA8C4},
    {0xA953, 0xA953}, {0xA9C0, 0xA9C0}, {0xAAF6, 0xAAF6}, {0xABED, 0xABED}};
/* Arabic letters that join the one behind them, and those that can be joined. */
static const struct range joins_behind[] = {
    {0x0620, 0x0620}, {0x0626, 0x0626}, {0x0628, 0x0628}, {0x062A, 0x062E}, {0x0633, 0x063F},
    {0x0641, 0x0647}, {0x0649, 0x064A}, {0x066E, 0x066F}, {0x0678, 0x0687}, {0x069A, 0x06BF},
    {0x06C1, 0x06C2}, {0x06CC, 0x06CC}, {0x06CE, 0x06CE}, {0x06D0, 0x06D1}, {0x06FA, 0x06FC},
    {0x06FF, 0x06FF}, {0x0750, 0x0758}, {0x075C, 0x076A}};
static const struct range joins_before[] = {
    {0x0620, 0x064A}, {0x066E, 0x06D3}, {0x06FA, 0x06FF}, {0x0750, 0x077F}};
static const struct range greek[] = {{0x0370, 0x03FF}, {0x1F00, 0x1FFF}};
static const struct range hebrew[] = {{0x0591, 0x05F4}, {0xFB1D, 0xFB4F}};
static const struct range japanese[] = {
    {0x3005, 0x3007}, {0x3041, 0x3096}, {0x309D, 0x309F}, {0x30A1, 0x30FA}, {0x30FD, 0x30FF},
    {0x31F0, 0x31FF}, {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xF900, 0xFAFF}, {0x20000, 0x3FFFF}};

static bool any(const uint32_t *label, size_t n, const struct range *ranges, size_t n_ranges) {
    for (size_t i = 0; i < n; i++)
        if (in_ranges(label[i], ranges, n_ranges))
            return true;
    return false;
}

/* Whether a zero width non-joiner at i keeps two Arabic letters apart, marks between them left out. */
static bool keeps_apart(const uint32_t *label, size_t n, size_t i) {
    size_t before = i, after = i + 1;
    while (before > 0 && ANY_OF(label[before - 1], marks))
        before--;
    while (after < n && ANY_OF(label[after], marks))
        after++;
    return before > 0 && after < n && ANY_OF(label[before - 1], joins_behind) &&
           ANY_OF(label[after], joins_before);
}

/* The characters that may only stand beside certain others. */
static bool fits_context(const uint32_t *label, size_t n, size_t i) {
    static const struct range arabic[] = {{0x0660, 0x0669}}, extended[] = {{0x06F0, 0x06F9}};
    uint32_t before = i > 0 ? label[i - 1] : 0, after = i + 1 < n ? label[i + 1] : 0;
    switch (label[i]) {
    case 0x00B7: /* middle dot: l·l */
        return before == 'l' && after == 'l';
    case 0x0375: /* Greek keraia */
        return ANY_OF(after, greek);
    case 0x05F3: /* Hebrew geresh, gershayim */
    case 0x05F4:
        return ANY_OF(before, hebrew);
    case 0x30FB: /* Katakana middle dot */
        return any(label, n, japanese, sizeof japanese / sizeof japanese[0]);
    case 0x200C: /* zero width non-joiner */
        return ANY_OF(before, viramas) || keeps_apart(label, n, i);
    case 0x200D: /* zero width joiner */
        return ANY_OF(before, viramas);
    default:
        return !(ANY_OF(label[i], arabic) && any(label, n, extended, 1));
    }
}

static bool is_contextual(uint32_t c) {
    return c == 0x200C || c == 0x200D || c == 0x00B7;
}

bool format_is_punycode(const char *text, size_t len) {
    uint32_t label[LABEL_MAX];
    bool other = false;
    size_t n = len < LABEL_MAX ? decode(text, len, label) : 0;
    if (n == 0 || ANY_OF(label[0], marks) || label[0] == '-' || label[n - 1] == '-')
        return false;
    if (n >= 4 && label[2] == '-' && label[3] == '-')
        return false;
    for (size_t i = 0; i < n; i++) {
        other = other || label[i] >= 0x80;
        if ((ANY_OF(label[i], disallowed) && !is_contextual(label[i])) || !fits_context(label, n, i))
            return false;
    }
    return other;
}
