#include "engine/tokenizer.h"

#include "base/utf8.h"
#include "engine/bpe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#define MAX_TEXT_BYTES ((size_t)64 << 20)

const char bpe_split_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                                 " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

struct piece {
    uint32_t at, len; /* in bytes */
};

/* Open addressing; key 0 is free. */
struct merge_slot {
    uint64_t key; /* (left + 1) << 32 | right + 1 */
    int32_t rank, id;
};

struct tokenizer {
    int n_vocab;
    char *bytes; /* all pieces */
    struct piece *pieces;
    bool *added;
    int32_t byte_ids[256];
    struct merge_slot *merges;
    uint32_t merge_mask;
    int32_t *words; /* hash table of ordinary tokens by bytes, -1 free */
    uint32_t word_mask;
    int32_t *specials; /* ids of added tokens, longest first */
    int n_specials;
    bool ignore_merges;
    pcre2_code *split, *nonspace;
};

int token_list_push(struct token_list *list, int32_t id) {
    return token_list_append(list, &id, 1);
}

int token_list_append(struct token_list *list, const int32_t *ids, size_t n) {
    if (n > list->cap - list->n) {
        size_t cap = list->cap < 64 ? 64 : list->cap;
        while (cap - list->n < n)
            cap *= 2;
        int32_t *v = realloc(list->v, cap * sizeof *v);
        if (v == NULL)
            return -ENOMEM;
        list->v = v;
        list->cap = cap;
    }
    if (n > 0)
        memcpy(list->v + list->n, ids, n * sizeof *ids);
    list->n += n;
    return 0;
}

void token_list_finish(struct token_list *list) {
    free(list->v);
    *list = (struct token_list){0};
}

/* ---- tables ---- */

static uint64_t mix(uint64_t h) {
    h = (h ^ h >> 31) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static const struct merge_slot *find_merge(const struct tokenizer *t, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)((uint32_t)left + 1) << 32 | ((uint32_t)right + 1);
    for (uint64_t i = mix(key);; i++) {
        const struct merge_slot *slot = &t->merges[i & t->merge_mask];
        if (slot->key == key)
            return slot;
        if (slot->key == 0)
            return NULL;
    }
}

static uint64_t hash_bytes(const char *bytes, size_t n) {
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)bytes[i]) * 0x100000001B3u;
    return mix(h);
}

static int32_t find_word(const struct tokenizer *t, const char *bytes, size_t n) {
    for (uint64_t i = hash_bytes(bytes, n);; i++) {
        int32_t id = t->words[i & t->word_mask];
        if (id < 0)
            return -1;
        if (t->pieces[id].len == n && memcmp(t->bytes + t->pieces[id].at, bytes, n) == 0)
            return id;
    }
}

/* ---- encoding ---- */

/* Parts of one word while they merge: a list, and a heap of the merges that are possible. */
struct part {
    int32_t id, prev, next; /* prev/next: part or -1 */
};
struct candidate {
    int32_t rank, left, left_id, right_id, id;
};

struct scratch {
    struct part *parts;
    struct candidate *heap;
    size_t cap, n_heap, heap_cap;
};

static bool sooner(const struct candidate *a, const struct candidate *b) {
    return a->rank < b->rank || (a->rank == b->rank && a->left < b->left);
}

static int push_candidate(const struct tokenizer *t, struct scratch *s, int32_t left) {
    int32_t right = left < 0 ? -1 : s->parts[left].next;
    if (left < 0 || right < 0)
        return 0;
    const struct merge_slot *m = find_merge(t, s->parts[left].id, s->parts[right].id);
    if (m == NULL)
        return 0;
    if (s->n_heap == s->heap_cap) {
        size_t cap = s->heap_cap == 0 ? 64 : s->heap_cap * 2;
        struct candidate *heap = realloc(s->heap, cap * sizeof *heap);
        if (heap == NULL)
            return -ENOMEM;
        s->heap = heap;
        s->heap_cap = cap;
    }
    struct candidate c = {m->rank, left, s->parts[left].id, s->parts[right].id, m->id};
    size_t i = s->n_heap++;
    while (i > 0 && sooner(&c, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = c;
    return 0;
}

static struct candidate pop_candidate(struct scratch *s) {
    struct candidate top = s->heap[0], last = s->heap[--s->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->n_heap)
            break;
        if (child + 1 < s->n_heap && sooner(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!sooner(&s->heap[child], &last))
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    if (s->n_heap > 0)
        s->heap[i] = last;
    return top;
}

static int reserve_parts(struct scratch *s, size_t n) {
    if (n <= s->cap)
        return 0;
    struct part *parts = realloc(s->parts, n * 2 * sizeof *parts);
    if (parts == NULL)
        return -ENOMEM;
    s->parts = parts;
    s->cap = n * 2;
    return 0;
}

static int encode_word(const struct tokenizer *t, struct scratch *s, const char *word, size_t n,
                       struct token_list *out) {
    if (n == 0)
        return 0;
    int32_t whole = t->ignore_merges ? find_word(t, word, n) : -1;
    if (whole >= 0)
        return token_list_push(out, whole);
    int rc = reserve_parts(s, n);
    if (rc < 0)
        return rc;
    s->n_heap = 0;
    for (size_t i = 0; i < n; i++)
        s->parts[i] = (struct part){t->byte_ids[(unsigned char)word[i]], (int32_t)i - 1,
                                    i + 1 < n ? (int32_t)i + 1 : -1};
    for (size_t i = 0; i + 1 < n && rc == 0; i++)
        rc = push_candidate(t, s, (int32_t)i);
    while (rc == 0 && s->n_heap > 0) {
        struct candidate c = pop_candidate(s);
        struct part *left = &s->parts[c.left];
        if (left->id != c.left_id || left->next < 0 || s->parts[left->next].id != c.right_id)
            continue; /* one of the two has merged otherwise since */
        struct part *right = &s->parts[left->next];
        left->id = c.id;
        right->id = -1;
        left->next = right->next;
        if (left->next >= 0)
            s->parts[left->next].prev = c.left;
        rc = push_candidate(t, s, left->prev);
        rc = rc ? rc : push_candidate(t, s, c.left);
    }
    for (int32_t i = 0; i >= 0 && rc == 0; i = s->parts[i].next)
        rc = token_list_push(out, s->parts[i].id);
    return rc;
}

int tokenizer_encode_text(const struct tokenizer *t, const char *text, size_t len, struct token_list *out) {
    if (len > MAX_TEXT_BYTES)
        return -E2BIG;
    struct scratch s = {0};
    size_t before = out->n, at = 0;
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    int rc = match == NULL ? -ENOMEM : 0;
    while (rc == 0 && at < len) {
        int found = pcre2_match(t->split, (PCRE2_SPTR)text, len, at, 0, match, NULL);
        if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
            rc = found == PCRE2_ERROR_NOMEMORY ? -ENOMEM : -EIO; /* a limit of PCRE2: never another split */
            break;
        }
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(match);
        size_t from = found > 0 ? span[0] : len, to = found > 0 ? span[1] : len;
        /* What the split does not match is no valid UTF-8: byte by byte, joined by the merges as they come.
         */
        rc = encode_word(t, &s, text + at, from - at, out);
        rc = rc ? rc : encode_word(t, &s, text + from, to - from, out);
        at = to;
    }
    pcre2_match_data_free(match);
    free(s.parts);
    free(s.heap);
    if (rc < 0)
        out->n = before;
    return rc;
}

/* Whether a character that is no space stands in from … to-1; a negative errno. */
static int has_nonspace(const struct tokenizer *t, const char *text, size_t from, size_t to,
                        pcre2_match_data *match) {
    for (size_t i = from; i < to; i++)
        if ((unsigned char)text[i] > ' ' && (unsigned char)text[i] < 127)
            return 1;
    int found = pcre2_match(t->nonspace, (PCRE2_SPTR)text, to, from, 0, match, NULL);
    if (found < 0 && found != PCRE2_ERROR_NOMATCH)
        return found == PCRE2_ERROR_NOMEMORY ? -ENOMEM : -EIO;
    return found > 0;
}

/* Why a word may be called sure. No alternative of the split looks back, and each takes the longest run of a
 * class of characters, so only what stands behind the match can make it longer or another:
 *   - Words with anything but space in them (the first four alternatives) end where the next character is not
 *     of the class, and the alternatives before the one that matched have seen no more than that character.
 *     One whole character behind the word settles it.
 *   - Words of space alone (the last three) give back characters by what follows the run of space they are
 *     in. The first character that is no space settles them.
 * A character that is not whole yet may become one of any class; of four bytes that make no character the
 * first is none for good. Bytes that are no UTF-8 stand for themselves and end words as the end of a text
 * does. */
int tokenizer_word(const struct tokenizer *t, const char *text, size_t len, size_t at, size_t *end) {
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    if (match == NULL)
        return -ENOMEM;
    int found = pcre2_match(t->split, (PCRE2_SPTR)text, len, at, 0, match, NULL), sure = 0;
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(match);
    if (found < 0) {
        sure = found == PCRE2_ERROR_NOMATCH ? 0 : found == PCRE2_ERROR_NOMEMORY ? -ENOMEM : -EIO;
        *end = len;
    } else if (span[0] > at) { /* no UTF-8, and a character behind it */
        *end = span[0];
        sure = 1;
    } else {
        *end = span[1];
        bool whole = utf8_length(text + *end, len - *end) > 0 || len - *end >= 4;
        if (*end < len && whole)
            sure = has_nonspace(t, text, at, *end, match);
        if (*end < len && whole && sure == 0)
            sure = has_nonspace(t, text, *end, len, match);
    }
    pcre2_match_data_free(match);
    return sure;
}

/* The added token that starts at `text`, longest first, or -1. */
static int32_t special_at(const struct tokenizer *t, const char *text, size_t left) {
    for (int i = 0; i < t->n_specials; i++) {
        const struct piece *p = &t->pieces[t->specials[i]];
        if (p->len <= left && memcmp(t->bytes + p->at, text, p->len) == 0)
            return t->specials[i];
    }
    return -1;
}

int tokenizer_encode_template(const struct tokenizer *t, const char *text, size_t len,
                              struct token_list *out) {
    if (len > MAX_TEXT_BYTES)
        return -E2BIG;
    size_t before = out->n, from = 0, at = 0;
    int rc = 0;
    while (rc == 0 && at < len) {
        int32_t id = special_at(t, text + at, len - at);
        if (id < 0) {
            at++;
            continue;
        }
        rc = tokenizer_encode_text(t, text + from, at - from, out);
        rc = rc ? rc : token_list_push(out, id);
        at += t->pieces[id].len;
        from = at;
    }
    rc = rc ? rc : tokenizer_encode_text(t, text + from, len - from, out);
    if (rc < 0)
        out->n = before;
    return rc;
}

/* ---- looking up ---- */

const char *tokenizer_piece(const struct tokenizer *t, int32_t id, size_t *len) {
    if (id < 0 || id >= t->n_vocab)
        return NULL;
    *len = t->pieces[id].len;
    return t->bytes + t->pieces[id].at;
}

bool tokenizer_is_added(const struct tokenizer *t, int32_t id) {
    return id >= 0 && id < t->n_vocab && t->added[id];
}

int32_t tokenizer_find_added(const struct tokenizer *t, const char *text) {
    size_t n = strlen(text);
    for (int i = 0; i < t->n_specials; i++)
        if (t->pieces[t->specials[i]].len == n &&
            memcmp(t->bytes + t->pieces[t->specials[i]].at, text, n) == 0)
            return t->specials[i];
    return -1;
}

int tokenizer_n_vocab(const struct tokenizer *t) {
    return t->n_vocab;
}

void tokenizer_destroy(struct tokenizer *t) {
    if (t == NULL)
        return;
    free(t->bytes);
    free(t->pieces);
    free(t->added);
    free(t->merges);
    free(t->words);
    free(t->specials);
    pcre2_code_free(t->split);
    pcre2_code_free(t->nonspace);
    free(t);
}

/* ---- making ---- */

/* Byte of a code point of the byte-level alphabet, or -1. */
static int alphabet_byte(uint32_t c) {
    if ((c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255))
        return (int)c;
    if (c < 256 || c > 323)
        return -1;
    int n = (int)c - 256;
    return n <= 32 ? n : n <= 66 ? n - 33 + 127 : 173;
}

/* Bytes that a text in the byte-level alphabet stands for; their number or -1. */
static long alphabet_bytes(struct bpe_text text, char *out) {
    long n = 0;
    for (size_t i = 0; i < text.len;) {
        size_t len = utf8_length(text.data + i, text.len - i);
        const unsigned char *p = (const unsigned char *)text.data + i;
        int byte = len == 1   ? alphabet_byte(p[0])
                   : len == 2 ? alphabet_byte((uint32_t)(p[0] & 31) << 6 | (p[1] & 63))
                              : -1;
        if (byte < 0)
            return -1;
        out[n++] = (char)byte;
        i += len;
    }
    return n;
}

static int fill_pieces(struct tokenizer *t, const struct bpe_source *s, char *err, size_t errlen) {
    size_t total = 1;
    for (int i = 0; i < s->n_vocab; i++) {
        if (s->tokens[i].len > 65535)
            return err_set(err, errlen, -EINVAL, "Token %d of the tokenizer is longer than 65,535 bytes.", i);
        total += s->tokens[i].len;
    }
    t->bytes = malloc(total);
    if (t->bytes == NULL || total > UINT32_MAX)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the tokenizer.");
    uint32_t at = 0;
    for (int i = 0; i < s->n_vocab; i++) {
        long n = (long)s->tokens[i].len;
        if (s->added[i] && n > 0)
            memcpy(t->bytes + at, s->tokens[i].data, (size_t)n);
        else if (n > 0)
            n = alphabet_bytes(s->tokens[i], t->bytes + at);
        if (n < 0)
            return err_set(err, errlen, -EINVAL,
                           "Token %d of the tokenizer is not in the byte-level alphabet.", i);
        t->pieces[i] = (struct piece){at, (uint32_t)n};
        t->added[i] = s->added[i];
        at += (uint32_t)n;
    }
    return 0;
}

static int fill_words(struct tokenizer *t, char *err, size_t errlen) {
    for (int32_t i = 0; i < t->n_vocab; i++) {
        const struct piece *p = &t->pieces[i];
        if (t->added[i] || p->len == 0 || find_word(t, t->bytes + p->at, p->len) >= 0)
            continue; /* of equal tokens the first is the one that text becomes */
        uint64_t h = hash_bytes(t->bytes + p->at, p->len);
        while (t->words[h & t->word_mask] >= 0)
            h++;
        t->words[h & t->word_mask] = i;
    }
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        t->byte_ids[b] = find_word(t, &byte, 1);
        if (t->byte_ids[b] < 0)
            return err_set(err, errlen, -EINVAL, "The tokenizer has no token for byte 0x%02X.", b);
    }
    return 0;
}

static int fill_merges(struct tokenizer *t, const struct bpe_source *s, char *err, size_t errlen) {
    char joined[2 * 65536];
    for (size_t i = 0; i < s->n_merges; i++) {
        const struct bpe_text m = s->merges[i];
        const char *space = m.len > 1 ? memchr(m.data + 1, ' ', m.len - 1) : NULL;
        size_t left_len = space != NULL ? (size_t)(space - m.data) : 0;
        if (space == NULL || m.len > 65535)
            return err_set(err, errlen, -EINVAL, "Merge %zu of the tokenizer is not two texts and a space.",
                           i);
        long left_n = alphabet_bytes((struct bpe_text){m.data, left_len}, joined);
        long right_n =
            left_n < 0 ? -1
                       : alphabet_bytes((struct bpe_text){space + 1, m.len - left_len - 1}, joined + left_n);
        int32_t left = right_n < 0 ? -1 : find_word(t, joined, (size_t)left_n);
        int32_t right = right_n < 0 ? -1 : find_word(t, joined + left_n, (size_t)right_n);
        int32_t whole = right_n < 0 ? -1 : find_word(t, joined, (size_t)(left_n + right_n));
        if (left < 0 || right < 0 || whole < 0)
            return err_set(err, errlen, -EINVAL,
                           "Merge %zu of the tokenizer names a token that does not exist.", i);
        uint64_t key = (uint64_t)((uint32_t)left + 1) << 32 | ((uint32_t)right + 1), h = mix(key);
        while (t->merges[h & t->merge_mask].key != 0 && t->merges[h & t->merge_mask].key != key)
            h++;
        struct merge_slot *slot = &t->merges[h & t->merge_mask];
        if (slot->key == 0)
            *slot = (struct merge_slot){key, (int32_t)i, whole};
    }
    return 0;
}

struct special {
    uint32_t len;
    int32_t id;
};

static int longest_first(const void *a, const void *b) {
    const struct special *x = a, *y = b;
    return x->len != y->len ? (x->len < y->len ? 1 : -1) : (x->id > y->id) - (x->id < y->id);
}

static int fill_specials(struct tokenizer *t, char *err, size_t errlen) {
    struct special *list = malloc((size_t)t->n_vocab * sizeof *list);
    if (list == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the tokenizer.");
    for (int32_t i = 0; i < t->n_vocab; i++)
        if (t->added[i] && t->pieces[i].len > 0)
            list[t->n_specials++] = (struct special){t->pieces[i].len, i};
    qsort(list, (size_t)t->n_specials, sizeof *list, longest_first);
    for (int i = 0; i < t->n_specials; i++)
        t->specials[i] = list[i].id;
    free(list);
    return 0;
}

static uint32_t table_size(size_t n) {
    uint32_t size = 64;
    while (size < n * 2)
        size *= 2;
    return size;
}

static pcre2_code *compile_pattern(const char *pattern, char *err, size_t errlen) {
    int code;
    PCRE2_SIZE where;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &code, &where, NULL);
    if (compiled == NULL)
        (void)err_set(err, errlen, -ENOMEM,
                      "The tokenizer's split pattern cannot be compiled (PCRE2 error %d).", code);
    else
        (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
    return compiled;
}

static int allocate(struct tokenizer *t, const struct bpe_source *s, char *err, size_t errlen) {
    uint32_t words = table_size((size_t)s->n_vocab), merges = table_size(s->n_merges);
    t->n_vocab = s->n_vocab;
    t->ignore_merges = s->ignore_merges;
    t->word_mask = words - 1;
    t->merge_mask = merges - 1;
    t->pieces = calloc((size_t)s->n_vocab, sizeof *t->pieces);
    t->added = calloc((size_t)s->n_vocab, sizeof *t->added);
    t->specials = calloc((size_t)s->n_vocab, sizeof *t->specials);
    t->words = malloc(words * sizeof *t->words);
    t->merges = calloc(merges, sizeof *t->merges);
    if (t->pieces == NULL || t->added == NULL || t->specials == NULL || t->words == NULL || t->merges == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the tokenizer.");
    memset(t->words, 0xFF, words * sizeof *t->words);
    t->split = compile_pattern(bpe_split_pattern, err, errlen);
    t->nonspace = t->split != NULL ? compile_pattern("\\S", err, errlen) : NULL;
    if (t->nonspace == NULL)
        return -ENOMEM;
    return 0;
}

int bpe_create(const struct bpe_source *source, struct tokenizer **out, char *err, size_t errlen) {
    if (source->n_vocab <= 0 || source->n_vocab > 1 << 22 || source->n_merges > 1u << 22)
        return err_set(err, errlen, -EINVAL,
                       "The tokenizer has %d tokens and %zu merges; at most 4,194,304 are possible.",
                       source->n_vocab, source->n_merges);
    struct tokenizer *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the tokenizer.");
    int rc = allocate(t, source, err, errlen);
    rc = rc ? rc : fill_pieces(t, source, err, errlen);
    rc = rc ? rc : fill_words(t, err, errlen);
    rc = rc ? rc : fill_merges(t, source, err, errlen);
    rc = rc ? rc : fill_specials(t, err, errlen);
    if (rc < 0) {
        tokenizer_destroy(t);
        return rc;
    }
    *out = t;
    return 0;
}
