#include "tools/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (16u * 1024)

struct chunk {
    struct chunk *next;
    _Alignas(max_align_t) char bytes[];
};

struct value_document {
    struct value *root;
    size_t count;
    struct chunk *chunks;
    char *at, *end; /* what is free in the newest chunk */
};

/* A reader over text that json_check() accepted, so that it only has to follow it. */
struct reader {
    const char *at;
    struct value_document *document;
};

static int read_value(struct reader *r, struct value *out);

/* ---- arena ---- */

static void *arena_take(struct value_document *d, size_t size) {
    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if ((size_t)(d->end - d->at) < size) {
        size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
        struct chunk *chunk = malloc(sizeof *chunk + room);
        if (chunk == NULL)
            return NULL;
        chunk->next = d->chunks;
        d->chunks = chunk;
        d->at = chunk->bytes;
        d->end = d->at + room;
    }
    void *taken = d->at;
    d->at += size;
    return taken;
}

void value_destroy(struct value_document *document) {
    if (document == NULL)
        return;
    for (struct chunk *chunk = document->chunks, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(document);
}

const struct value *value_root(const struct value_document *document) {
    return document->root;
}

size_t value_count(const struct value_document *document) {
    return document->count;
}

/* ---- hashes ---- */

static uint64_t mix(uint64_t hash, uint64_t more) {
    hash = (hash ^ more) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 29;
}

static uint64_t hash_text(const char *text, size_t len) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a, 64 bits */
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    return mix(hash, len);
}

uint64_t value_hash_string(const char *text, size_t len) {
    return mix(hash_text(text, len), VALUE_STRING);
}

/* ---- reading ---- */

static void skip_space(struct reader *r) {
    while (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r')
        r->at++;
}

static unsigned hex4(const char *p) {
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = (unsigned char)p[i];
        value = value * 16 + (c <= '9' ? c - '0' : (c | 0x20u) - 'a' + 10);
    }
    return value;
}

static char *put_code_point(char *to, unsigned c) {
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

/* The escape at r->at (a backslash). */
static char *read_escape(struct reader *r, char *to) {
    static const char from[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    char c = r->at[1];
    if (c != 'u') {
        *to++ = means[strchr(from, c) - from];
        r->at += 2;
        return to;
    }
    unsigned u = hex4(r->at + 2);
    r->at += 6;
    if (u >= 0xD800 && u <= 0xDBFF) {
        u = 0x10000 + ((u - 0xD800) << 10) + (hex4(r->at + 2) - 0xDC00);
        r->at += 6;
    }
    return put_code_point(to, u);
}

/* The string at r->at (a quote), decoded into the arena; never longer than it is written. */
static int read_string(struct reader *r, const char **text, size_t *len) {
    const char *end = r->at + 1;
    while (*end != '"')
        end += *end == '\\' ? 2 : 1;
    char *start = arena_take(r->document, (size_t)(end - r->at)), *to = start;
    if (start == NULL)
        return -ENOMEM;
    for (r->at++; *r->at != '"';)
        if (*r->at == '\\')
            to = read_escape(r, to);
        else
            *to++ = *r->at++;
    r->at++;
    *to = '\0';
    *text = start;
    *len = (size_t)(to - start);
    return 0;
}

static int read_number(struct reader *r, struct value *out) {
    size_t len = strspn(r->at, "+-.0123456789eE");
    char *copy = arena_take(r->document, 2 * len + 1);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, r->at, len);
    copy[len] = '\0';
    r->at += len;
    out->kind = VALUE_NUMBER;
    out->text = copy;
    out->text_len = len;
    int rc = decimal_read(copy, len, copy + len + 1, &out->number);
    out->hash = rc == 0 ? mix(decimal_hash(&out->number), VALUE_NUMBER) : 0;
    return rc;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const struct value *const *)a)->name, (*(const struct value *const *)b)->name);
}

static int sort_members(struct reader *r, struct value *object) {
    const struct value **sorted = arena_take(r->document, (object->count + 1) * sizeof(struct value *));
    if (sorted == NULL)
        return -ENOMEM;
    size_t n = 0;
    for (const struct value *member = object->child; member != NULL; member = member->next)
        sorted[n++] = member;
    qsort(sorted, n, sizeof *sorted, by_name);
    object->sorted = sorted;
    return 0;
}

/* One item or member behind the bracket or comma. */
static int read_member(struct reader *r, struct value *into, struct value **last) {
    size_t name_len = 0;
    struct value *member = arena_take(r->document, sizeof *member);
    if (member == NULL)
        return -ENOMEM;
    memset(member, 0, sizeof *member);
    if (into->kind == VALUE_OBJECT) {
        int rc = read_string(r, &member->name, &name_len);
        if (rc != 0)
            return rc;
        skip_space(r);
        r->at++; /* the colon */
    }
    int rc = read_value(r, member);
    if (rc != 0)
        return rc;
    if (into->kind == VALUE_OBJECT) /* a sum: the order of members does not matter */
        into->hash += mix(hash_text(member->name, name_len), member->hash);
    else
        into->hash = mix(into->hash, member->hash);
    into->count++;
    if (*last == NULL)
        into->child = member;
    else
        (*last)->next = member;
    *last = member;
    return 0;
}

/* As deep as the text, which json_check() limited. */
static int read_members(struct reader *r, struct value *out, char close) {
    struct value *last = NULL;
    int rc = 0;
    out->kind = close == '}' ? VALUE_OBJECT : VALUE_ARRAY;
    r->at++;
    for (skip_space(r); rc == 0 && *r->at != close; skip_space(r)) {
        if (*r->at == ',')
            r->at++;
        skip_space(r);
        rc = read_member(r, out, &last);
    }
    r->at++;
    if (rc == 0 && out->kind == VALUE_OBJECT)
        rc = sort_members(r, out);
    out->hash = mix(out->hash, (uint64_t)out->kind);
    return rc;
}

static int read_value(struct reader *r, struct value *out) {
    int rc;
    skip_space(r);
    out->id = (uint32_t)r->document->count++;
    switch (*r->at) {
    case '{':
        return read_members(r, out, '}');
    case '[':
        return read_members(r, out, ']');
    case '"':
        rc = read_string(r, &out->text, &out->text_len);
        out->kind = VALUE_STRING;
        out->hash = rc == 0 ? value_hash_string(out->text, out->text_len) : 0;
        return rc;
    case 't':
    case 'f':
    case 'n':
        out->kind = *r->at == 't' ? VALUE_TRUE : *r->at == 'f' ? VALUE_FALSE : VALUE_NULL;
        out->hash = mix(1, (uint64_t)out->kind);
        r->at += out->kind == VALUE_FALSE ? 5 : 4;
        return 0;
    default:
        return read_number(r, out);
    }
}

int value_parse(const char *text, size_t len, const struct json_limits *limits, struct value_document **out,
                char *err, size_t errlen) {
    int rc = json_check(text, len, limits, err, errlen);
    if (rc != 0)
        return rc;
    struct value_document *d = calloc(1, sizeof *d);
    /* The reader stops at a NUL, and no valid text has one inside. */
    char *copy = strndup(text, len);
    if (d != NULL)
        d->root = arena_take(d, sizeof *d->root);
    if (d == NULL || copy == NULL || d->root == NULL) {
        rc = -ENOMEM;
    } else {
        struct reader r = {.at = copy, .document = d};
        memset(d->root, 0, sizeof *d->root);
        rc = read_value(&r, d->root);
    }
    free(copy);
    if (rc == 0) {
        *out = d;
        return 0;
    }
    value_destroy(d);
    return rc == -ERANGE ? err_set(err, errlen, -EINVAL, "JSON: a number whose exponent is beyond %ld",
                                   DECIMAL_EXPONENT_MAX)
                         : err_set(err, errlen, rc, "JSON: out of memory");
}

/* ---- looking ---- */

const struct value *value_get(const struct value *object, const char *name) {
    if (object->kind != VALUE_OBJECT)
        return NULL;
    for (size_t low = 0, high = object->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, object->sorted[middle]->name);
        if (order == 0)
            return object->sorted[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static bool equal_items(const struct value *a, const struct value *b) {
    const struct value *x = a->child, *y = b->child;
    for (; x != NULL && value_equal(x, y); x = x->next)
        y = y->next;
    return x == NULL;
}

static bool equal_members(const struct value *a, const struct value *b) {
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->sorted[i]->name, b->sorted[i]->name) != 0 || !value_equal(a->sorted[i], b->sorted[i]))
            return false;
    return true;
}

/* As deep as the values, which were limited when read. */
bool value_equal(const struct value *a, const struct value *b) {
    if (a->kind != b->kind || a->hash != b->hash || a->count != b->count)
        return false;
    switch (a->kind) {
    case VALUE_NUMBER:
        return decimal_compare(&a->number, &b->number) == 0;
    case VALUE_STRING:
        return a->text_len == b->text_len && memcmp(a->text, b->text, a->text_len) == 0;
    case VALUE_ARRAY:
        return equal_items(a, b);
    case VALUE_OBJECT:
        return equal_members(a, b);
    default:
        return true;
    }
}

static int by_hash(const void *a, const void *b) {
    uint64_t x = (*(const struct value *const *)a)->hash, y = (*(const struct value *const *)b)->hash;
    return x < y ? -1 : x > y;
}

void value_sort(const struct value **values, size_t n) {
    if (n > 1)
        qsort(values, n, sizeof *values, by_hash);
}

bool value_is_among(const struct value *const *sorted, size_t n, const struct value *value, size_t *looks) {
    size_t low = 0, high = n, compared = 0;
    bool found = false;
    for (; low < high; compared++) {
        size_t middle = low + (high - low) / 2;
        if (sorted[middle]->hash < value->hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < n && sorted[low]->hash == value->hash && !found; low++, compared++)
        found = value_equal(sorted[low], value);
    if (looks != NULL)
        *looks += compared;
    return found;
}

/* Both lists are sorted by hash. */
static int find_equal(const struct value *const *a, size_t n, const struct value *const *b, size_t m,
                      size_t *looks) {
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        for (; from < m && b[from]->hash < a[i]->hash; from++)
            ++*looks;
        for (size_t k = from; k < m && b[k]->hash == a[i]->hash; k++) {
            ++*looks;
            if (value_equal(a[i], b[k]))
                return 1;
        }
    }
    return 0;
}

int value_any_equal(const struct value *const *a, size_t n, const struct value *const *b, size_t m,
                    size_t *looks) {
    const struct value **sorted = malloc((n + m + 1) * sizeof(struct value *));
    size_t spent = 0;
    if (sorted == NULL)
        return -ENOMEM;
    if (n > 0)
        memcpy(sorted, a, n * sizeof(struct value *));
    if (m > 0)
        memcpy(sorted + n, b, m * sizeof(struct value *));
    value_sort(sorted, n);
    value_sort(sorted + n, m);
    int rc = find_equal(sorted, n, sorted + n, m, &spent);
    free(sorted);
    if (looks != NULL)
        *looks += spent;
    return rc;
}

static int print_members(const struct value *value, struct buf *out) {
    bool object = value->kind == VALUE_OBJECT;
    int rc = buf_putc(out, object ? '{' : '[');
    for (const struct value *member = value->child; member != NULL && rc == 0; member = member->next) {
        if (member != value->child)
            rc = buf_putc(out, ',');
        if (rc == 0 && object)
            rc = json_quote(out, member->name, strlen(member->name), false);
        if (rc == 0 && object)
            rc = buf_putc(out, ':');
        rc = rc ? rc : value_print(member, out);
    }
    return rc ? rc : buf_putc(out, object ? '}' : ']');
}

int value_print(const struct value *value, struct buf *out) {
    switch (value->kind) {
    case VALUE_NULL:
        return buf_puts(out, "null");
    case VALUE_FALSE:
        return buf_puts(out, "false");
    case VALUE_TRUE:
        return buf_puts(out, "true");
    case VALUE_NUMBER:
        return buf_append(out, value->text, value->text_len);
    case VALUE_STRING:
        return json_quote(out, value->text, value->text_len, false);
    case VALUE_ARRAY:
    case VALUE_OBJECT:
        break;
    }
    return print_members(value, out);
}
