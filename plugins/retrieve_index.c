#include "plugins/retrieve_index.h"

#include "plugins/beneath.h"
#include "plugins/files_search.h"
#include "plugins/retrieve_passages.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

#define WORDS_MAX 32

struct retrieve_index {
    int root;
    sqlite3 *db;
    uint64_t signature; /* of names, times and sizes; 0 = never read */
};

struct documents {
    char **path; /* sorted by folder, then name */
    size_t count;
    uint64_t signature;
};

static int fail_memory(char *err, size_t errlen) {
    snprintf(err, errlen, "no memory for the documents");
    return -ENOMEM;
}

int retrieve_index_open(const char *folder, struct retrieve_index **out, char *err, size_t errlen) {
    struct retrieve_index *index = calloc(1, sizeof *index);
    if (index == NULL)
        return fail_memory(err, errlen);
    index->root = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (index->root < 0) {
        int status = -errno;
        snprintf(err, errlen, "the documents folder cannot be opened: %s", strerror(errno));
        free(index);
        return status;
    }
    if (sqlite3_open_v2(":memory:", &index->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        retrieve_index_close(index);
        return fail_memory(err, errlen);
    }
    *out = index;
    return 0;
}

void retrieve_index_close(struct retrieve_index *index) {
    if (index == NULL)
        return;
    sqlite3_close(index->db);
    close(index->root);
    free(index);
}

/* FNV-1a, 64 bits. */
static uint64_t mix(uint64_t hash, const void *bytes, size_t len) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}

static bool is_document(const char *name) {
    size_t len = strlen(name);
    return (len > 4 && strcasecmp(name + len - 4, ".txt") == 0) ||
           (len > 3 && strcasecmp(name + len - 3, ".md") == 0);
}

static int documents_add(struct retrieve_index *index, struct documents *d, const char *path) {
    struct stat st;
    int fd = beneath_open(index->root, path, O_PATH);
    if (fd < 0)
        return 0; /* gone meanwhile, or it leads out */
    int status = fstat(fd, &st);
    close(fd);
    if (status != 0 || !S_ISREG(st.st_mode) || d->count == RETRIEVE_FILES_MAX)
        return 0;
    d->signature = mix(d->signature, path, strlen(path) + 1);
    d->signature = mix(d->signature, &st.st_mtim, sizeof st.st_mtim);
    d->signature = mix(d->signature, &st.st_size, sizeof st.st_size);
    if (d->count % 64 == 0) {
        char **grown = realloc(d->path, (d->count + 64) * sizeof *grown);
        if (grown == NULL)
            return -ENOMEM;
        d->path = grown;
    }
    d->path[d->count] = strdup(path);
    return d->path[d->count++] == NULL ? -ENOMEM : 0;
}

static int documents_list(struct retrieve_index *index, struct documents *d, const char *folder, int depth,
                          char *err, size_t errlen) {
    struct files_names names;
    int status = files_read_names(index->root, folder, &names, err, errlen);
    if (status != 0)
        return status;
    for (size_t i = 0; status == 0 && i < names.count; i++) {
        char path[4096], ignored[256];
        size_t len = strlen(names.name[i]);
        bool is_folder = names.name[i][len - 1] == '/', top = strcmp(folder, ".") == 0;
        int n = snprintf(path, sizeof path, "%s%s%.*s", top ? "" : folder, top ? "" : "/",
                         (int)(len - is_folder), names.name[i]);
        if (n < 0 || (size_t)n >= sizeof path)
            continue;
        if (is_folder && !names.link[i] && depth < FILES_DEPTH_MAX) {
            if (documents_list(index, d, path, depth + 1, ignored, sizeof ignored) == -ENOMEM)
                status = fail_memory(err, errlen);
        } else if (!is_folder && is_document(path)) {
            status = documents_add(index, d, path) == 0 ? 0 : fail_memory(err, errlen);
        }
    }
    files_free_names(&names);
    return status;
}

static void documents_free(struct documents *d) {
    for (size_t i = 0; i < d->count; i++)
        free(d->path[i]);
    free(d->path);
}

/* The file's name without folder and ending. */
static void stem_of(const char *path, char *out, size_t cap) {
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1,
               *dot = strrchr(name, '.');
    snprintf(out, cap, "%.*s", dot == NULL ? (int)strlen(name) : (int)(dot - name), name);
}

/* Two files of one name (in two folders, or .txt beside .md) get "name", "name~2", … in path order. */
static int earlier_namesakes(const struct documents *d, size_t at, const char *stem) {
    int count = 0;
    char other[512];
    for (size_t i = 0; i < at; i++) {
        stem_of(d->path[i], other, sizeof other);
        count += strcmp(other, stem) == 0;
    }
    return count;
}

struct passage_target {
    sqlite3_stmt *insert;
    const char *stem;
    int number;
};

static int passage_add(void *arg, const char *text, size_t len) {
    struct passage_target *target = arg;
    char id[600];
    snprintf(id, sizeof id, "%s#%d", target->stem, ++target->number);
    sqlite3_bind_text(target->insert, 1, id, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(target->insert, 2, text, (int)len, SQLITE_TRANSIENT);
    int status = sqlite3_step(target->insert);
    sqlite3_reset(target->insert);
    return status == SQLITE_DONE ? 0 : -ENOMEM;
}

static int document_index(struct retrieve_index *index, sqlite3_stmt *insert, const struct documents *d,
                          size_t at, long *budget) {
    char stem[512], named[560], ignored[256], *data;
    size_t len;
    bool more;
    int fd = beneath_open_file(index->root, d->path[at], ignored, sizeof ignored);
    if (fd < 0 || *budget <= 0) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    int status = files_read_whole(fd, (size_t)(*budget < RETRIEVE_FILE_MAX ? *budget : RETRIEVE_FILE_MAX),
                                  &data, &len, &more);
    close(fd);
    if (status != 0)
        return status == -ENOMEM ? status : 0;
    *budget -= (long)len;
    if (more)
        len = text_cut(data, len + 1, len);
    stem_of(d->path[at], stem, sizeof stem);
    int namesakes = earlier_namesakes(d, at, stem);
    if (namesakes > 0)
        snprintf(named, sizeof named, "%s~%d", stem, namesakes + 1);
    else
        snprintf(named, sizeof named, "%s", stem);
    struct passage_target target = {.insert = insert, .stem = named};
    size_t mark = len >= 3 && memcmp(data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    if (text_is_utf8(data, len))
        status = retrieve_split(data + mark, len - mark, RETRIEVE_PASSAGE_MAX, passage_add, &target);
    free(data);
    return status;
}

int retrieve_index_refresh(struct retrieve_index *index, char *err, size_t errlen) {
    struct documents d = {.signature = 0xcbf29ce484222325u};
    int status = documents_list(index, &d, ".", 1, err, errlen);
    if (status == 0 && d.signature != index->signature) {
        static const char schema[] = "DROP TABLE IF EXISTS passage; CREATE VIRTUAL TABLE passage USING "
                                     "fts5(id UNINDEXED, text, tokenize = "
                                     "'porter unicode61 remove_diacritics 2'); BEGIN";
        sqlite3_stmt *insert = NULL;
        long budget = RETRIEVE_ALL_MAX;
        index->signature = 0;
        if (sqlite3_exec(index->db, schema, NULL, NULL, NULL) != SQLITE_OK ||
            sqlite3_prepare_v2(index->db, "INSERT INTO passage VALUES (?, ?)", -1, &insert, NULL) !=
                SQLITE_OK)
            status = -ENOMEM;
        for (size_t i = 0; status == 0 && i < d.count; i++)
            status = document_index(index, insert, &d, i, &budget);
        sqlite3_finalize(insert);
        if (!sqlite3_get_autocommit(index->db) &&
            sqlite3_exec(index->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
            status = -ENOMEM;
        if (status == 0)
            index->signature = d.signature;
        else
            fail_memory(err, errlen);
    }
    documents_free(&d);
    return status;
}

static bool is_query_word(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c >= 0x80;
}

/* Words that say nothing about what is looked for. */
static bool is_stop_word(const char *word, size_t len) {
    static const char *const stop[] = {
        "a",    "about", "an",  "and",  "are",  "as",   "at",   "be",    "by",    "did", "do",  "does",
        "for",  "from",  "has", "have", "how",  "in",   "is",   "it",    "its",   "of",  "on",  "or",
        "that", "the",   "to",  "was",  "were", "what", "when", "where", "which", "who", "why", "with"};
    for (size_t i = 0; i < sizeof stop / sizeof stop[0]; i++)
        if (strlen(stop[i]) == len && strncasecmp(stop[i], word, len) == 0)
            return true;
    return false;
}

/* The query's words in FTS5's string quotes, joined by OR, so that nothing in it is read as syntax. */
static int query_words(const char *query, bool keep_stop_words, struct text *out) {
    int words = 0;
    for (const char *p = query; *p != '\0' && words < WORDS_MAX;) {
        size_t n = 0;
        while (is_query_word((unsigned char)p[n]))
            n++;
        if (n > 0 && (keep_stop_words || !is_stop_word(p, n))) {
            text_put(out, words++ > 0 ? " OR \"" : "\"");
            text_add(out, p, n);
            text_put(out, "\"");
        }
        p += n > 0 ? n : 1;
    }
    return words;
}

int retrieve_index_query(struct retrieve_index *index, const char *query, int limit, struct text *out,
                         char *err, size_t errlen) {
    struct text match;
    sqlite3_stmt *select = NULL;
    text_init(&match, 64 * 1024);
    int words = query_words(query, false, &match), step = SQLITE_DONE;
    if (words == 0)
        words = query_words(query, true, &match);
    text_put(out, "{\"passages\": [");
    if (words > 0 && match.status == 0) {
        step = sqlite3_prepare_v2(
            index->db,
            "SELECT id, text FROM passage WHERE passage MATCH ? ORDER BY bm25(passage), rowid LIMIT ?", -1,
            &select, NULL);
        if (step == SQLITE_OK) {
            sqlite3_bind_text(select, 1, match.data, (int)match.len, SQLITE_STATIC);
            sqlite3_bind_int(select, 2, limit);
        }
        for (int n = 0; select != NULL && (step = sqlite3_step(select)) == SQLITE_ROW; n++) {
            text_put(out, n == 0 ? "{\"id\": " : ", {\"id\": ");
            text_quote(out, (const char *)sqlite3_column_text(select, 0),
                       (size_t)sqlite3_column_bytes(select, 0));
            text_put(out, ", \"text\": ");
            text_quote(out, (const char *)sqlite3_column_text(select, 1),
                       (size_t)sqlite3_column_bytes(select, 1));
            text_put(out, "}");
        }
    }
    text_put(out, "]}");
    int status = step == SQLITE_DONE && match.status == 0 ? out->status : -EIO;
    if (status != 0)
        snprintf(err, errlen, "the documents cannot be searched: %s", sqlite3_errmsg(index->db));
    sqlite3_finalize(select);
    text_finish(&match);
    return status;
}
