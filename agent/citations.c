#include "agent/citations.h"

#include "base/json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OPEN  "<co>"
#define CLOSE "</co>"

struct citations_passage {
    char *id;
    int call;
};

void citations_init(struct citations *c) {
    *c = (struct citations){0};
}

static void clear_found(struct citations *c) {
    for (size_t i = 0; i < c->n_found; i++)
        free((char *)c->found[i].id);
    free(c->found);
    c->found = NULL;
    c->n_found = 0;
}

void citations_finish(struct citations *c) {
    clear_found(c);
    for (size_t i = 0; i < c->n_passages; i++)
        free(c->passages[i].id);
    free(c->passages);
    *c = (struct citations){0};
}

int citations_add(struct citations *c, const char *id, int call) {
    if (c->n_passages >= CITATIONS_PASSAGES_MAX || strlen(id) > CITATIONS_ID_MAX)
        return 0;
    if (c->n_passages == c->cap_passages) {
        size_t cap = c->cap_passages == 0 ? 16 : c->cap_passages * 2;
        struct citations_passage *all = realloc(c->passages, cap * sizeof *all);
        if (all == NULL)
            return -ENOMEM;
        c->passages = all;
        c->cap_passages = cap;
    }
    char *copy = strdup(id);
    if (copy == NULL)
        return -ENOMEM;
    c->passages[c->n_passages++] = (struct citations_passage){copy, call};
    return 0;
}

int citations_add_result(struct citations *c, int call, const char *text, size_t len) {
    cJSON *value;
    if (text == NULL || memmem(text, len, "\"passages\"", 10) == NULL)
        return 0;
    int rc = json_parse(text, len, NULL, &value, NULL, 0);
    if (rc < 0)
        return rc == -ENOMEM ? rc : 0;
    const cJSON *passage;
    cJSON_ArrayForEach(passage, cJSON_GetObjectItemCaseSensitive(value, "passages")) {
        const char *id = cJSON_IsObject(passage) ? json_get_string(passage, "id") : NULL;
        rc = rc == 0 && id != NULL ? citations_add(c, id, call) : rc;
    }
    cJSON_Delete(value);
    return rc;
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The passage with this id that came last; NULL for none. */
static const struct citations_passage *find(const struct citations *c, const char *id, size_t len) {
    for (size_t i = c->n_passages; i-- > 0;)
        if (strlen(c->passages[i].id) == len && memcmp(c->passages[i].id, id, len) == 0)
            return &c->passages[i];
    return NULL;
}

/* One id of a tag. An empty one counts too: the model meant to cite. */
static int add_found(struct citations *c, const char *id, size_t len, size_t start, size_t end) {
    while (len > 0 && is_space(*id)) {
        id++;
        len--;
    }
    while (len > 0 && is_space(id[len - 1]))
        len--;
    if (c->n_found == CITATIONS_MAX)
        return 0;
    const struct citations_passage *passage = find(c, id, len);
    struct agent_citation *all = realloc(c->found, (c->n_found + 1) * sizeof *all);
    char *copy = strndup(id, len < CITATIONS_ID_MAX ? len : CITATIONS_ID_MAX);
    if (all != NULL)
        c->found = all;
    if (all == NULL || copy == NULL) {
        free(copy);
        return -ENOMEM;
    }
    all[c->n_found++] = (struct agent_citation){.id = copy,
                                                .start = start,
                                                .end = end,
                                                .resolved = passage != NULL,
                                                .call = passage != NULL ? passage->call : -1};
    return 0;
}

/* What stands in one tag: an id, or ids with commas between them. */
static int add_tag(struct citations *c, const char *text, size_t len, size_t start, size_t end) {
    if (find(c, text, len) != NULL)
        return add_found(c, text, len, start, end);
    int rc = 0;
    for (size_t from = 0; rc == 0 && from <= len;) {
        const char *comma = from < len ? memchr(text + from, ',', len - from) : NULL;
        size_t n = comma != NULL ? (size_t)(comma - text) - from : len - from;
        rc = add_found(c, text + from, n, start, end);
        from += n + 1;
    }
    return rc;
}

int citations_find(struct citations *c, const char *answer, size_t len) {
    int rc = 0;
    clear_found(c);
    for (size_t at = 0; rc == 0 && at < len;) {
        const char *open = memmem(answer + at, len - at, OPEN, sizeof OPEN - 1);
        if (open == NULL)
            break;
        size_t start = (size_t)(open - answer), from = start + sizeof OPEN - 1;
        const char *close = memmem(answer + from, len - from, CLOSE, sizeof CLOSE - 1);
        const char *again = memmem(answer + from, len - from, OPEN, sizeof OPEN - 1);
        /* One that is never closed ends with its line, or where the next one begins. */
        bool closed = close != NULL && (again == NULL || close < again);
        const char *line = memchr(answer + from, '\n', len - from);
        const char *end = closed ? close : again != NULL ? again : answer + len;
        if (!closed && line != NULL && line < end)
            end = line;
        size_t n = (size_t)(end - answer) - from;
        at = from + n + (closed ? sizeof CLOSE - 1 : 0);
        rc = add_tag(c, answer + from, n, start, at);
    }
    return rc;
}
