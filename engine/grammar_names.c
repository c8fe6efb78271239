#include "engine/grammar_names.h"

#include "engine/grammar_program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum mode {
    OUTSIDE,
    VALUE,   /* between strings, or in a number or word */
    STRING,  /* that is a value */
    ESCAPED, /* behind its backslash */
    NAME,
    NAME_ESCAPED,
    NAME_HEX, /* in the digits of \u */
};

struct level {
    uint32_t first_name; /* index in `ends` */
    bool is_object;
};

/* What is kept, by places that are equal together. */
struct grammar_names_kept {
    uint32_t references;
    struct level *levels;
    size_t n_levels, levels_cap;
    uint32_t *ends; /* of names in `text`; each begins where the one before it ends */
    size_t n_names, ends_cap;
    char *text; /* names, then what is written of the present one */
    size_t n_text, text_cap;
};

/* ---- life ---- */

static void release(struct grammar_names_kept *k) {
    if (k == NULL || --k->references > 0)
        return;
    free(k->levels);
    free(k->ends);
    free(k->text);
    free(k);
}

void grammar_names_finish(struct grammar_names *n) {
    release(n->kept);
    *n = (struct grammar_names){0};
}

void grammar_names_copy(struct grammar_names *n, const struct grammar_names *from) {
    *n = *from;
    if (n->kept != NULL)
        n->kept->references++;
}

static bool copy_items(void **to, size_t *cap, const void *from, size_t size, size_t used) {
    *to = grammar_grow(NULL, size, 0, cap, used + 1);
    if (*to != NULL && used > 0)
        memcpy(*to, from, size * used);
    return *to != NULL;
}

/* What this place keeps, for itself alone. NULL: out of memory. */
static struct grammar_names_kept *own(struct grammar_names *n) {
    struct grammar_names_kept *old = n->kept;
    if (old != NULL && old->references == 1)
        return old;
    struct grammar_names_kept *k = calloc(1, sizeof *k);
    if (k == NULL)
        return NULL;
    k->references = 1;
    if (old != NULL) {
        void *levels = NULL, *ends = NULL, *text = NULL;
        bool ok = copy_items(&levels, &k->levels_cap, old->levels, sizeof *k->levels, old->n_levels) &&
                  copy_items(&ends, &k->ends_cap, old->ends, sizeof *k->ends, old->n_names) &&
                  copy_items(&text, &k->text_cap, old->text, 1, old->n_text);
        k->levels = levels;
        k->ends = ends;
        k->text = text;
        if (!ok) {
            release(k);
            return NULL;
        }
        k->n_levels = old->n_levels;
        k->n_names = old->n_names;
        k->n_text = old->n_text;
        old->references--;
    }
    n->kept = k;
    return k;
}

/* ---- levels and names ---- */

static uint32_t text_before(const struct grammar_names_kept *k, size_t name) {
    return name > 0 ? k->ends[name - 1] : 0;
}

static int enter(struct grammar_names *n, bool is_object) {
    struct grammar_names_kept *k = own(n);
    void *grown =
        k != NULL ? grammar_grow(k->levels, sizeof *k->levels, k->n_levels, &k->levels_cap, 1) : NULL;
    if (grown == NULL)
        return -ENOMEM;
    k->levels = grown;
    k->levels[k->n_levels++] = (struct level){(uint32_t)k->n_names, is_object};
    n->mode = VALUE;
    n->name_next = is_object;
    return 1;
}

static int leave(struct grammar_names *n) {
    struct grammar_names_kept *k = own(n);
    if (k == NULL)
        return -ENOMEM;
    k->n_names = k->levels[--k->n_levels].first_name;
    k->n_text = text_before(k, k->n_names);
    n->name_next = false;
    if (k->n_levels == 0)
        grammar_names_finish(n);
    return 1;
}

static int append(struct grammar_names *n, const char *bytes, size_t len) {
    struct grammar_names_kept *k = own(n);
    if (k != NULL && k->n_text + len > GRAMMAR_NAMES_BYTES_MAX)
        return -E2BIG;
    void *grown = k != NULL ? grammar_grow(k->text, 1, k->n_text, &k->text_cap, len) : NULL;
    if (grown == NULL)
        return -ENOMEM;
    k->text = grown;
    if (len > 0)
        memcpy(k->text + k->n_text, bytes, len);
    k->n_text += len;
    return 1;
}

static int append_code(struct grammar_names *n, uint32_t c) {
    char text[4];
    size_t len = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = len; i-- > 1; c >>= 6)
        text[i] = (char)(0x80 | (c & 0x3F));
    text[0] = (char)(len == 1 ? c : (0xF00u >> len & 0xFFu) | c);
    return append(n, text, len);
}

const char *grammar_names_rest(const struct grammar_names *n, uint32_t *at, size_t *len) {
    const struct grammar_names_kept *k = n->kept;
    if (n->mode < NAME || k->n_levels == 0)
        return NULL;
    size_t from = text_before(k, k->n_names), written = k->n_text - from;
    for (size_t i = k->levels[k->n_levels - 1].first_name + *at; i < k->n_names; i++) {
        size_t begin = text_before(k, i), whole = k->ends[i] - begin;
        ++*at;
        if (whole < written || (written > 0 && memcmp(k->text + begin, k->text + from, written) != 0))
            continue;
        *len = whole - written;
        /* No text at all: there is one name, and it is empty. */
        return k->text != NULL ? k->text + begin + written : "";
    }
    return NULL;
}

bool grammar_names_has_this(const struct grammar_names *n) {
    size_t len = 1;
    for (uint32_t at = 0; n->mode == NAME && grammar_names_rest(n, &at, &len) != NULL;)
        if (len == 0)
            return true;
    return false;
}

bool grammar_names_is_longer_next(const struct grammar_names *n) {
    const struct grammar_names_kept *k = n->kept;
    if (n->mode != VALUE || !n->name_next)
        return false;
    for (size_t i = k->levels[k->n_levels - 1].first_name; i < k->n_names; i++)
        if (k->ends[i] == text_before(k, i))
            return true;
    return false;
}

/* The quote behind a name. */
static int end_name(struct grammar_names *n) {
    bool again = grammar_names_has_this(n);
    struct grammar_names_kept *k = own(n);
    if (k != NULL && k->n_names >= GRAMMAR_NAMES_MAX)
        return -E2BIG;
    void *grown = k != NULL ? grammar_grow(k->ends, sizeof *k->ends, k->n_names, &k->ends_cap, 1) : NULL;
    if (grown == NULL)
        return -ENOMEM;
    k->ends = grown;
    k->ends[k->n_names++] = (uint32_t)k->n_text;
    n->mode = VALUE;
    n->name_next = false;
    return again ? 0 : 1;
}

/* ---- bytes ---- */

static int value_byte(struct grammar_names *n, unsigned char byte) {
    const struct grammar_names_kept *k = n->kept;
    switch (byte) {
    case '{':
    case '[':
        return enter(n, byte == '{');
    case '}':
    case ']':
        return leave(n);
    case ',':
        n->name_next = k->levels[k->n_levels - 1].is_object;
        return 1;
    case '"':
        n->mode = n->name_next ? NAME : STRING;
        return 1;
    default:
        return 1;
    }
}

static int escaped_byte(struct grammar_names *n, unsigned char byte) {
    static const char letters[] = "bfnrt", characters[] = "\b\f\n\r\t";
    const char *letter = byte != '\0' ? strchr(letters, byte) : NULL;
    char c = letter != NULL ? characters[letter - letters] : (char)byte;
    n->mode = byte == 'u' ? NAME_HEX : NAME;
    n->digits = 0;
    n->unit = 0;
    return byte == 'u' ? 1 : append(n, &c, 1);
}

/* Half a character beyond 0xFFFF waits for its other half. */
static int hex_byte(struct grammar_names *n, unsigned char byte) {
    uint32_t digit = byte <= '9' ? byte - (uint32_t)'0' : (byte | 32u) - 'a' + 10u, unit = n->unit;
    n->unit = (uint16_t)(unit << 4 | (digit & 15));
    if (++n->digits < 4)
        return 1;
    n->mode = NAME;
    unit = n->unit;
    if (unit >= 0xD800 && unit < 0xDC00) {
        n->high = n->unit;
        return 1;
    }
    if (unit >= 0xDC00 && unit < 0xE000 && n->high != 0)
        unit = 0x10000 + (((uint32_t)n->high - 0xD800u) << 10) + (unit - 0xDC00u);
    n->high = 0;
    return append_code(n, unit);
}

static int name_byte(struct grammar_names *n, unsigned char byte) {
    char c = (char)byte;
    if (byte == '"')
        return end_name(n);
    if (byte == '\\') {
        n->mode = NAME_ESCAPED;
        return 1;
    }
    return append(n, &c, 1);
}

int grammar_names_byte(struct grammar_names *n, unsigned char byte) {
    switch ((enum mode)n->mode) {
    case OUTSIDE:
        return 1;
    case VALUE:
        return value_byte(n, byte);
    case STRING:
        n->mode = byte == '"' ? VALUE : byte == '\\' ? ESCAPED : STRING;
        return 1;
    case ESCAPED:
        n->mode = STRING;
        return 1;
    case NAME:
        return name_byte(n, byte);
    case NAME_ESCAPED:
        return escaped_byte(n, byte);
    case NAME_HEX:
        return hex_byte(n, byte);
    }
    return 1;
}

int grammar_names_begin(struct grammar_names *n, unsigned char byte) {
    return enter(n, byte == '{');
}

bool grammar_names_is_plain(const char *bytes, size_t len) {
    for (size_t i = 0; i < len; i++)
        switch (bytes[i]) {
        case '"':
        case '\\':
        case ',':
        case '{':
        case '}':
        case '[':
        case ']':
            return false;
        default:
            break;
        }
    return true;
}

int grammar_names_plain(struct grammar_names *n, const char *bytes, size_t len) {
    int rc = 1;
    for (; len > 0 && rc == 1 && n->mode != NAME; bytes++, len--) {
        if (n->mode <= STRING)
            return 1;
        rc = grammar_names_byte(n, (unsigned char)*bytes);
    }
    return rc == 1 && len > 0 ? append(n, bytes, len) : rc;
}

bool grammar_names_is_new(const struct grammar_names *n, const char *bytes, size_t len) {
    size_t quotes = 0, end = len, other;
    bool escapes = false, opens = false, closes = false;
    const char *rest;
    for (size_t i = 0; i < len; i++) {
        end = bytes[i] == '"' && quotes == 0 ? i : end;
        quotes += bytes[i] == '"';
        escapes = escapes || bytes[i] == '\\';
        opens = opens || bytes[i] == '{' || bytes[i] == '[';
        closes = closes || bytes[i] == '}' || bytes[i] == ']';
    }
    if (quotes > 1 || (opens && closes))
        return false;
    if (n->mode < NAME || quotes == 0)
        return true;
    if (n->mode > NAME || escapes)
        return false;
    for (uint32_t at = 0; (rest = grammar_names_rest(n, &at, &other)) != NULL;)
        if (other == end && memcmp(rest, bytes, end) == 0)
            return false;
    return true;
}

bool grammar_names_in_name(const struct grammar_names *n, bool escape) {
    return escape ? n->mode > NAME : n->mode == NAME;
}

uint32_t grammar_names_count(const struct grammar_names *n) {
    return n->kept != NULL ? (uint32_t)n->kept->n_names : 0;
}
