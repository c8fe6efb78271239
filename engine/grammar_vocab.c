#include "engine/grammar_vocab.h"

#include "engine/grammar_names.h"
#include "engine/grammar_program.h"

#include "base/utf8.h"
#include "engine/tokenizer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEN_MAX   255       /* bytes of a token: what a node holds */
#define BYTES_MAX 0x7FFFFFu /* of all tokens: nodes are no more */

static void set_bit(uint32_t *mask, uint32_t id) {
    mask[id / 32] |= (uint32_t)1 << id % 32;
}

/* ---- characters ---- */

/* Whether the bytes are the beginning of a character, but not the whole: some bytes more make it one. */
static bool is_begun(const char *text, size_t len) {
    static const char second[] = {(char)0x80, (char)0x90, (char)0xA0};
    size_t wanted = utf8_wanted((unsigned char)text[0]);
    for (size_t i = 0; i < sizeof second && len < wanted; i++) {
        char whole[4] = {0, second[i], (char)0x80, (char)0x80};
        memcpy(whole, text, len);
        if (utf8_length(whole, wanted) == wanted)
            return true;
    }
    return false;
}

/* Characters of a text that is part of a JSON string (enum grammar_slice); 0 for any other. */
static uint32_t string_characters(const char *text, size_t len) {
    uint32_t n = 0;
    for (size_t i = 0; i < len; n++) {
        size_t left = len - i, step = utf8_length(text + i, left);
        if ((unsigned char)text[i] < 0x20 || text[i] == '"')
            return 0;
        if (text[i] == '\\') {
            if (left > 1 && (text[i + 1] == '\0' || strchr("bfnrt\"\\", text[i + 1]) == NULL))
                return 0;
            step = left > 1 ? 2 : 1;
        } else if (step == 0) {
            if (!is_begun(text + i, left))
                return 0;
            step = left;
        }
        i += step;
    }
    return n;
}

static enum grammar_byte_kind kind_of(unsigned byte) {
    static const char singles[] = "-_./: @+%#?\"\\";
    static const uint8_t kinds[] = {GRAMMAR_KIND_MINUS,    GRAMMAR_KIND_UNDERLINE, GRAMMAR_KIND_POINT,
                                    GRAMMAR_KIND_SLASH,    GRAMMAR_KIND_COLON,     GRAMMAR_KIND_SPACE,
                                    GRAMMAR_KIND_AT,       GRAMMAR_KIND_PLUS,      GRAMMAR_KIND_PERCENT,
                                    GRAMMAR_KIND_HASH,     GRAMMAR_KIND_QUESTION,  GRAMMAR_KIND_QUOTE,
                                    GRAMMAR_KIND_BACKSLASH};
    if (byte < 0x20 || byte == 0x7F)
        return GRAMMAR_KIND_CONTROL;
    if (byte >= 0x80)
        return GRAMMAR_KIND_WIDE;
    if (byte >= 'a' && byte <= 'z')
        return byte <= 'f' ? GRAMMAR_KIND_HEX_LOWER : GRAMMAR_KIND_LOWER;
    if (byte >= 'A' && byte <= 'Z')
        return byte <= 'F' ? GRAMMAR_KIND_HEX_UPPER : GRAMMAR_KIND_UPPER;
    if (byte >= '0' && byte <= '9')
        return byte == '0' ? GRAMMAR_KIND_ZERO : GRAMMAR_KIND_DIGIT;
    const char *at = strchr(singles, (int)byte);
    if (at != NULL)
        return kinds[at - singles];
    return byte == '<' || byte == '>'           ? GRAMMAR_KIND_ANGLE
           : byte == '[' || byte == ']'         ? GRAMMAR_KIND_BRACKET
           : strchr("{}|^`", (int)byte) != NULL ? GRAMMAR_KIND_BRACE
                                                : GRAMMAR_KIND_MARK;
}

/* What a node has in `holds` of a token that ends there. */
static uint32_t held_by(const struct grammar_vocab *v, const char *text, size_t len) {
    uint32_t kinds = 0, chars = string_characters(text, len), space = text[0] == ' ';
    for (size_t i = space; i < len; i++)
        kinds |= 1u << v->byte_kinds[(unsigned char)text[i]];
    if (chars == 0) {
        kinds |= 1u << GRAMMAR_KIND_BROKEN;
        chars = (uint32_t)len;
    }
    chars -= space;
    return (chars < GRAMMAR_CHARS_MAX ? chars : GRAMMAR_CHARS_MAX) << GRAMMAR_KINDS | kinds;
}

/* ---- order ---- */

struct entry {
    const char *text;
    uint32_t len, id;
};

static int by_text(const void *x, const void *y) {
    const struct entry *a = x, *b = y;
    int c = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);
    if (c != 0)
        return c;
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

/* The ordinary tokens by their bytes. Of equal ones the lowest is the one that text becomes; the others are
 * not used. */
static size_t sort_tokens(struct grammar_vocab *v, struct entry *entries) {
    size_t n = 0, kept = 0;
    for (uint32_t id = 0; id < (uint32_t)v->n_tokens; id++) {
        size_t len;
        const char *text = grammar_vocab_text(v, id, &len);
        if (v->tokens[id].kind != GRAMMAR_TOKEN_BYTES)
            continue;
        if (len == 0 || len > LEN_MAX)
            v->tokens[id].kind = GRAMMAR_TOKEN_UNUSED;
        else
            entries[n++] = (struct entry){text, (uint32_t)len, id};
    }
    qsort(entries, n, sizeof *entries, by_text);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && entries[kept - 1].len == entries[i].len &&
            memcmp(entries[kept - 1].text, entries[i].text, entries[i].len) == 0)
            v->tokens[entries[i].id].kind = GRAMMAR_TOKEN_UNUSED;
        else
            entries[kept++] = entries[i];
    }
    return kept;
}

/* ---- tries ---- */

/* Sets GRAMMAR_NODE_BREAKS, from the last node to the first: children come behind their parent. */
static void mark_breaks(struct grammar_node *nodes, size_t n) {
    for (size_t i = n; i-- > 0;) {
        size_t end = i + grammar_node_size(&nodes[i]);
        bool breaks = end > i + 1;
        for (size_t kid = i + 1; kid < end && breaks; kid += grammar_node_size(&nodes[kid])) {
            unsigned byte = nodes[kid].token_byte & 255;
            bool plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
            bool goes_on = (nodes[kid].size_depth & GRAMMAR_NODE_BREAKS) != 0 &&
                           nodes[kid].token_byte >> 8 == GRAMMAR_NO_TOKEN;
            breaks = byte < 0x20 || (plain && goes_on);
        }
        if (breaks)
            nodes[i].size_depth |= GRAMMAR_NODE_BREAKS;
    }
}

/* Where tokens end, `holds` is set; here it becomes that of all behind a node. */
static void gather_holds(struct grammar_node *nodes, size_t n) {
    for (size_t i = n; i-- > 0;) {
        uint32_t kinds = nodes[i].holds & GRAMMAR_KINDS_ALL, chars = nodes[i].holds >> GRAMMAR_KINDS;
        size_t end = i + grammar_node_size(&nodes[i]);
        for (size_t kid = i + 1; kid < end; kid += grammar_node_size(&nodes[kid])) {
            uint32_t more = nodes[kid].holds >> GRAMMAR_KINDS;
            kinds |= nodes[kid].holds & GRAMMAR_KINDS_ALL;
            chars = more > chars ? more : chars;
        }
        nodes[i].holds = chars << GRAMMAR_KINDS | kinds;
    }
}

/* The first two levels. */
static int index_trie(struct grammar_trie *trie) {
    const struct grammar_node *nodes = trie->nodes;
    uint32_t n_kids = 0;
    for (size_t i = 0; i < trie->n; i++)
        n_kids += grammar_node_depth(&nodes[i]) == 1;
    trie->kids = malloc((n_kids + 1) * sizeof *trie->kids);
    if (trie->kids == NULL)
        return -ENOMEM;
    n_kids = 0;
    for (uint32_t top = 0; top < trie->n; top += grammar_node_size(&nodes[top])) {
        trie->kids_from[trie->n_tops] = n_kids;
        trie->tops[trie->n_tops++] =
            (struct grammar_branch){top, nodes[top].token_byte & 255, nodes[top].holds};
        uint32_t end = top + grammar_node_size(&nodes[top]);
        for (uint32_t kid = top + 1; kid < end; kid += grammar_node_size(&nodes[kid]))
            trie->kids[n_kids++] =
                (struct grammar_branch){kid, nodes[kid].token_byte & 255, nodes[kid].holds};
    }
    trie->kids_from[trie->n_tops] = n_kids;
    trie->tops[trie->n_tops] = (struct grammar_branch){(uint32_t)trie->n, 0, 0};
    return 0;
}

/* Nodes of the entries for which `without` has no bit. Entries are sorted. */
static int build_trie(const struct grammar_vocab *v, const struct entry *entries, size_t n,
                      const uint32_t *without, struct grammar_trie *trie) {
    uint32_t *path = calloc((size_t)v->max_bytes + 1, sizeof *path); /* open nodes, by depth */
    size_t cap = 1;
    for (size_t i = 0; i < n; i++)
        cap += entries[i].len;
    struct grammar_node *nodes = malloc(cap * sizeof *nodes);
    if (path == NULL || nodes == NULL) {
        free(path);
        free(nodes);
        return -ENOMEM;
    }
    uint32_t count = 0, open = 0;
    const struct entry *last = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct entry *e = &entries[i];
        if ((without[e->id / 32] >> e->id % 32 & 1) != 0)
            continue;
        uint32_t same = 0;
        while (last != NULL && same < open && same < e->len && last->text[same] == e->text[same])
            same++;
        while (open > same) {
            open--;
            nodes[path[open]].size_depth |= (count - path[open]) << 8;
        }
        for (; open < e->len; open++) {
            path[open] = count;
            nodes[count++] = (struct grammar_node){
                .token_byte = GRAMMAR_NO_TOKEN << 8 | (unsigned char)e->text[open], .size_depth = open};
        }
        nodes[count - 1].token_byte = e->id << 8 | (unsigned char)e->text[e->len - 1];
        nodes[count - 1].holds = held_by(v, e->text, e->len);
        last = e;
    }
    while (open > 0) {
        open--;
        nodes[path[open]].size_depth |= (count - path[open]) << 8;
    }
    free(path);
    struct grammar_node *fitted = realloc(nodes, ((size_t)count + 1) * sizeof *nodes);
    trie->nodes = fitted != NULL ? fitted : nodes;
    trie->n = count;
    mark_breaks(trie->nodes, count);
    gather_holds(trie->nodes, count);
    return index_trie(trie);
}

/* ---- slices ---- */

/* By kinds, and by characters. */
static void fill_masks(struct grammar_vocab *v, uint32_t id, const char *text, size_t len) {
    uint32_t held = held_by(v, text, len);
    uint32_t kinds = held & GRAMMAR_KINDS_ALL;
    for (unsigned kind = 0; kind < GRAMMAR_KINDS; kind++)
        if ((kinds & GRAMMAR_WORDS) >> kind & 1)
            set_bit(v->kinds_held[kind], id);
    if ((kinds & ~GRAMMAR_WORDS) == 0)
        set_bit(v->words_only, id);
    else if ((kinds &
              (1u << GRAMMAR_KIND_BROKEN | 1u << GRAMMAR_KIND_BACKSLASH | 1u << GRAMMAR_KIND_CONTROL)) == 0)
        v->marked[v->n_marked++] = (struct grammar_marked){id, held};
    if (text[0] == ' ')
        set_bit(v->spaced, id);
    for (uint32_t n = held >> GRAMMAR_KINDS; n < GRAMMAR_CHARS_MAX; n++)
        if ((held >> GRAMMAR_KIND_BROKEN & 1) == 0)
            set_bit(v->up_to[n], id);
}

static uint32_t others_of(const struct grammar_vocab *v, const struct grammar_marked *m) {
    uint32_t others = m->holds & GRAMMAR_KINDS_ALL & ~GRAMMAR_WORDS;
    return (v->spaced[m->id / 32] >> m->id % 32 & 1) != 0 ? others | GRAMMAR_MARKS_SPACED : others;
}

/* Tokens that hold the same kinds beside those of words, together: a counting sort over the few sets. */
static int group_marked(struct grammar_vocab *v) {
    uint32_t *set = calloc((size_t)v->n_marked + 1, sizeof *set); /* of each token */
    struct grammar_marked *sorted = calloc((size_t)v->n_marked + 1, sizeof *sorted);
    size_t cap = 0;
    int rc = set == NULL || sorted == NULL ? -ENOMEM : 0;
    for (uint32_t i = 0; i < v->n_marked && rc == 0; i++) {
        uint32_t others = others_of(v, &v->marked[i]), k = 0;
        while (k < v->n_marks && v->marks[k].others != others)
            k++;
        void *grown = grammar_grow(v->marks, sizeof *v->marks, v->n_marks, &cap, 2);
        rc = grown != NULL ? 0 : -ENOMEM;
        v->marks = grown != NULL ? grown : v->marks;
        if (rc == 0 && k == v->n_marks)
            v->marks[v->n_marks++] = (struct grammar_marks){others, 0};
        set[i] = k;
        if (rc == 0)
            v->marks[k].from++;
    }
    uint32_t from = 0;
    for (uint32_t k = 0; k < v->n_marks && rc == 0; k++) {
        uint32_t n = v->marks[k].from;
        v->marks[k].from = from;
        from += n;
    }
    for (uint32_t i = 0; i < v->n_marked && rc == 0; i++)
        sorted[v->marks[set[i]].from++] = v->marked[i];
    for (uint32_t k = v->n_marks; k-- > 0 && rc == 0;)
        v->marks[k].from = k > 0 ? v->marks[k - 1].from : 0;
    free(set);
    free(rc == 0 ? v->marked : sorted);
    v->marked = rc == 0 ? sorted : v->marked;
    return rc;
}

static void fill_slices(struct grammar_vocab *v) {
    for (uint32_t id = 0; id < (uint32_t)v->n_tokens; id++) {
        size_t len;
        const char *text = grammar_vocab_text(v, id, &len);
        if (v->tokens[id].kind == GRAMMAR_TOKEN_ADDED)
            set_bit(v->added, id);
        else if (v->tokens[id].kind == GRAMMAR_TOKEN_END)
            set_bit(v->ends, id);
        if (v->tokens[id].kind != GRAMMAR_TOKEN_BYTES)
            continue;
        if (len == 1)
            v->byte_tokens[(unsigned char)text[0]] = id;
        v->max_bytes = len > v->max_bytes ? (uint32_t)len : v->max_bytes;
        if (memchr(text, GRAMMAR_TEXT_BYTE, len) == NULL)
            set_bit(v->slices[GRAMMAR_SLICE_TEXT], id);
        fill_masks(v, id, text, len);
        uint32_t n = string_characters(text, len);
        if (n == 0)
            continue;
        v->longest = n > v->longest ? n : v->longest;
        set_bit(v->slices[GRAMMAR_SLICE_PLAIN], id);
        if (n >= GRAMMAR_CHARS_MAX)
            v->longs[v->n_longs++] = (struct grammar_long){id, n};
    }
}

/* ---- life ---- */

/* The token has these bytes; *at: of v->bytes so many are used. */
static void copy_token(struct grammar_vocab *v, int32_t id, const char *piece, size_t len, uint32_t *at) {
    struct grammar_vocab_token *t = &v->tokens[id];
    t->len = (uint32_t)len & 0x1FFFFFFFu;
    if (len <= sizeof t->own) {
        memcpy(t->own, piece, len);
        return;
    }
    t->at = *at;
    memcpy(v->bytes + *at, piece, len);
    *at += (uint32_t)len;
}

static int copy_tokens(struct grammar_vocab *v, const struct tokenizer *t, const int32_t *ends,
                       size_t n_ends) {
    size_t total = 0, len = 0;
    for (int32_t id = 0; id < v->n_tokens; id++) {
        if (tokenizer_piece(t, id, &len) == NULL)
            continue;
        total += len;
        v->n_bytes += len > sizeof v->tokens->own ? len : 0;
    }
    if (total > BYTES_MAX)
        return -EINVAL;
    v->bytes = malloc(v->n_bytes + 1);
    if (v->bytes == NULL)
        return -ENOMEM;
    uint32_t at = 0;
    for (int32_t id = 0; id < v->n_tokens; id++) {
        const char *piece = tokenizer_piece(t, id, &len);
        if (piece != NULL && len > 0)
            copy_token(v, id, piece, len, &at);
        v->tokens[id].kind = tokenizer_is_added(t, id) ? GRAMMAR_TOKEN_ADDED : GRAMMAR_TOKEN_BYTES;
        v->tokens[id].plain =
            v->tokens[id].kind == GRAMMAR_TOKEN_BYTES && piece != NULL && grammar_names_is_plain(piece, len);
    }
    for (size_t i = 0; i < n_ends; i++)
        if (ends[i] >= 0 && ends[i] < v->n_tokens)
            v->tokens[ends[i]].kind = GRAMMAR_TOKEN_END;
    return 0;
}

static int allocate(struct grammar_vocab *v) {
    size_t n = (size_t)v->n_tokens;
    v->words = (n + 31) / 32;
    v->tokens = calloc(n + 1, sizeof *v->tokens);
    v->added = calloc(v->words, sizeof *v->added);
    v->ends = calloc(v->words, sizeof *v->ends);
    v->spaced = calloc(v->words, sizeof *v->spaced);
    v->longs = calloc(n + 1, sizeof *v->longs);
    bool ok =
        v->tokens != NULL && v->added != NULL && v->ends != NULL && v->spaced != NULL && v->longs != NULL;
    for (int s = 0; s < GRAMMAR_SLICES; s++)
        ok = (v->slices[s] = calloc(v->words, sizeof *v->slices[s])) != NULL && ok;
    for (unsigned kind = 0; kind < GRAMMAR_KINDS; kind++)
        if ((GRAMMAR_WORDS >> kind & 1) != 0)
            ok = (v->kinds_held[kind] = calloc(v->words, sizeof *v->kinds_held[kind])) != NULL && ok;
    v->words_only = calloc(v->words, sizeof *v->words_only);
    v->marked = calloc(n + 1, sizeof *v->marked);
    ok = ok && v->words_only != NULL && v->marked != NULL;
    for (unsigned c = 0; c < GRAMMAR_CHARS_MAX; c++)
        ok = (v->up_to[c] = calloc(v->words, sizeof *v->up_to[c])) != NULL && ok;
    for (unsigned byte = 0; byte < 256; byte++)
        v->byte_kinds[byte] = (uint8_t)kind_of(byte);
    v->longest = 1;
    return ok ? 0 : -ENOMEM;
}

static int check_bytes(const struct entry *entries, size_t n, char *err, size_t errlen) {
    bool there[256] = {false};
    for (size_t i = 0; i < n; i++)
        if (entries[i].len == 1)
            there[(unsigned char)entries[i].text[0]] = true;
    for (int byte = 0; byte < 256; byte++)
        if (!there[byte])
            return err_set(err, errlen, -EINVAL,
                           "The vocabulary has no token for byte 0x%02X, so a grammar could get stuck.",
                           (unsigned)byte);
    return 0;
}

/* FNV-1a, 64 bits (Fowler, Noll, Vo: draft-eastlake-fnv), never 0. */
static uint64_t hash_more(uint64_t hash, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash == 0 ? 1 : hash;
}

static uint64_t fingerprint_of(const struct grammar_vocab *v) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (uint32_t id = 0; id < (uint32_t)v->n_tokens; id++) {
        size_t len;
        const char *text = grammar_vocab_text(v, id, &len);
        const uint32_t head[] = {v->tokens[id].kind, (uint32_t)len};
        hash = hash_more(hash, head, sizeof head);
        hash = hash_more(hash, text, len);
    }
    return hash;
}

int grammar_vocab_create(const struct tokenizer *t, const int32_t *ends, size_t n_ends,
                         struct grammar_vocab **out, char *err, size_t errlen) {
    struct grammar_vocab *v = calloc(1, sizeof *v);
    if (v == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the vocabulary's trie.");
    v->n_tokens = tokenizer_n_vocab(t);
    struct entry *entries = calloc((size_t)v->n_tokens + 1, sizeof *entries);
    int rc = entries == NULL ? -ENOMEM : allocate(v);
    rc = rc ? rc : copy_tokens(v, t, ends, n_ends);
    size_t n = 0;
    if (rc == 0) {
        v->fingerprint = fingerprint_of(v);
        n = sort_tokens(v, entries);
        fill_slices(v);
        struct grammar_long *fitted = realloc(v->longs, ((size_t)v->n_longs + 1) * sizeof *v->longs);
        v->longs = fitted != NULL ? fitted : v->longs;
        rc = group_marked(v);
        rc = rc ? rc : grammar_vocab_quotes_init(v);
    }
    for (int s = 0; s < GRAMMAR_SLICES && rc == 0; s++)
        rc = build_trie(v, entries, n, v->slices[s], &v->rest[s]);
    if (rc == -EINVAL)
        rc = err_set(err, errlen, rc, "The tokens of the vocabulary have more than %u bytes together.",
                     BYTES_MAX);
    else
        rc = rc < 0 ? err_set(err, errlen, rc, "Not enough memory for the vocabulary's trie.")
                    : check_bytes(entries, n, err, errlen);
    free(entries);
    if (rc < 0) {
        grammar_vocab_destroy(v);
        return rc;
    }
    *out = v;
    return 0;
}

void grammar_vocab_destroy(struct grammar_vocab *v) {
    if (v == NULL)
        return;
    free(v->bytes);
    free(v->tokens);
    free(v->added);
    free(v->ends);
    for (int s = 0; s < GRAMMAR_SLICES; s++) {
        free(v->rest[s].nodes);
        free(v->rest[s].kids);
        free(v->slices[s]);
    }
    for (unsigned kind = 0; kind < GRAMMAR_KINDS; kind++)
        free(v->kinds_held[kind]);
    for (unsigned c = 0; c < GRAMMAR_CHARS_MAX; c++)
        free(v->up_to[c]);
    free(v->words_only);
    free(v->marked);
    free(v->marks);
    free(v->spaced);
    free(v->longs);
    grammar_vocab_quotes_finish(&v->quotes);
    free(v);
}

size_t grammar_vocab_words(const struct grammar_vocab *v) {
    return v->words;
}

size_t grammar_vocab_bytes(const struct grammar_vocab *v) {
    size_t total = sizeof *v + (size_t)v->n_tokens * sizeof *v->tokens + v->n_bytes +
                   (GRAMMAR_SLICES + GRAMMAR_CHARS_MAX + 5) * v->words * sizeof(uint32_t) +
                   v->quotes.n_closers * sizeof *v->quotes.closers + v->quotes.n_odd * sizeof *v->quotes.odd +
                   (size_t)__builtin_popcount(GRAMMAR_WORDS) * v->words * sizeof(uint32_t) +
                   v->n_longs * sizeof *v->longs + v->n_marked * sizeof *v->marked +
                   v->n_marks * sizeof *v->marks;
    for (int s = 0; s < GRAMMAR_SLICES; s++)
        total += v->rest[s].n * sizeof *v->rest[s].nodes +
                 v->rest[s].kids_from[v->rest[s].n_tops] * sizeof *v->rest[s].kids;
    return total;
}

int32_t grammar_vocab_find_added(const struct grammar_vocab *v, const char *text, size_t len) {
    for (size_t w = 0; w < v->words; w++)
        for (uint32_t bits = v->added[w]; bits != 0; bits &= bits - 1) {
            uint32_t id = (uint32_t)w * 32 + (uint32_t)__builtin_ctz(bits);
            size_t n;
            const char *own = grammar_vocab_text(v, id, &n);
            if (n == len && memcmp(own, text, len) == 0)
                return (int32_t)id;
        }
    return -1;
}
