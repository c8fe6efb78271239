#include "plugins/files_search.h"

#include "plugins/beneath.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct entry {
    char *name;
    bool link;
};

static int entry_compare(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

void files_free_names(struct files_names *names) {
    for (size_t i = 0; i < names->count; i++)
        free(names->name[i]);
    free(names->name);
    free(names->link);
    *names = (struct files_names){0};
}

/* Whether an entry is a folder; a symbolic link counts as what it leads to, if that lies inside. */
static bool entry_is_folder(int root, int folder, const char *path, const char *name, bool link) {
    struct stat st;
    if (!link)
        return fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
    char joined[4096];
    if ((size_t)snprintf(joined, sizeof joined, "%s/%s", path, name) >= sizeof joined)
        return false;
    int fd = beneath_open(root, joined, O_PATH);
    if (fd < 0)
        return false;
    bool is_folder = fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    close(fd);
    return is_folder;
}

static int entry_read(int root, const char *path, DIR *dir, const struct dirent *de, struct entry *out) {
    struct stat st;
    size_t len = strlen(de->d_name);
    out->link = fstatat(dirfd(dir), de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
    out->name = malloc(len + 2);
    if (out->name == NULL)
        return -ENOMEM;
    memcpy(out->name, de->d_name, len + 1);
    if (entry_is_folder(root, dirfd(dir), path, de->d_name, out->link))
        memcpy(out->name + len, "/", 2);
    return 0;
}

/* Entries of an open folder, sorted. */
static int entries_read(int root, const char *path, DIR *dir, struct entry **out, size_t *count) {
    struct entry *entries = NULL;
    size_t n = 0, cap = 0;
    int status = 0;
    for (struct dirent *de; status == 0 && (de = readdir(dir)) != NULL;) {
        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0 ||
            !text_is_utf8(de->d_name, strlen(de->d_name)))
            continue;
        if (n == FILES_FOLDER_MAX) {
            status = -E2BIG;
            break;
        }
        if (n == cap) {
            struct entry *grown = realloc(entries, (cap = cap == 0 ? 64 : cap * 2) * sizeof *entries);
            if (grown == NULL) {
                status = -ENOMEM;
                break;
            }
            entries = grown;
        }
        status = entry_read(root, path, dir, de, &entries[n]);
        n += status == 0;
    }
    if (n > 0)
        qsort(entries, n, sizeof *entries, entry_compare);
    *out = entries;
    *count = n;
    return status;
}

int files_read_names(int root, const char *path, struct files_names *out, char *err, size_t errlen) {
    int fd = beneath_open(root, path, O_RDONLY | O_DIRECTORY | O_NONBLOCK);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int failed = fd < 0 ? fd : -ENOMEM;
        if (fd >= 0)
            close(fd);
        if (failed == -ENOENT)
            snprintf(err, errlen, "no such folder: %.200s", path);
        else
            beneath_explain(failed, path, err, errlen);
        return failed;
    }
    struct entry *entries;
    size_t count;
    int status = entries_read(root, path, dir, &entries, &count);
    closedir(dir);
    struct files_names names = {.name = calloc(count + 1, sizeof *names.name),
                                .link = calloc(count + 1, sizeof *names.link),
                                .count = count};
    if (names.name == NULL || names.link == NULL)
        status = -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        if (names.name == NULL || names.link == NULL) {
            free(entries[i].name);
            continue;
        }
        names.name[i] = entries[i].name;
        names.link[i] = entries[i].link;
    }
    free(entries);
    if (status == 0) {
        *out = names;
        return 0;
    }
    if (names.name == NULL)
        names.count = 0;
    files_free_names(&names);
    if (status == -E2BIG)
        snprintf(err, errlen, "the folder has more than %d files: %.200s", FILES_FOLDER_MAX, path);
    else
        snprintf(err, errlen, "no memory to read the folder: %.200s", path);
    return status;
}

int files_read_whole(int fd, size_t max, char **out, size_t *len, bool *more) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    size_t cap = st.st_size > 0 && (size_t)st.st_size < max ? (size_t)st.st_size + 1 : max + 1, n = 0;
    char *data = malloc(cap);
    if (data == NULL)
        return -ENOMEM;
    while (n < cap) {
        ssize_t got = read(fd, data + n, cap - n);
        if (got == 0)
            break;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int status = -errno;
            free(data);
            return status;
        }
        n += (size_t)got;
    }
    *more = n == cap; /* one byte beyond what was asked for, or a file that grows under our hands */
    *len = n == cap ? cap - 1 : n;
    *out = data;
    return 0;
}

struct search {
    int root;
    const char *needle;
    bool (*stop)(void *arg);
    void *arg;
    struct text *out;
    long budget; /* bytes that may still be read */
    int matches;
    bool truncated;
};

static void search_add(struct search *s, const char *path, long line, const char *text, size_t len) {
    size_t shown = text_cut(text, len, FILES_LINE_MAX);
    text_put(s->out, s->matches == 0 ? "{\"path\": " : ", {\"path\": ");
    text_quote(s->out, path, strlen(path));
    text_format(s->out, ", \"line\": %ld, \"text\": ", line);
    text_quote(s->out, text, shown);
    text_put(s->out, "}");
    s->matches++;
}

/* Tells each line of data[0..len) that holds the needle, once. */
static void search_text(struct search *s, const char *path, const char *data, size_t len) {
    size_t needle_len = strlen(s->needle);
    const char *at = data, *end = data + len, *counted = data, *hit;
    long line = 1;
    while (at < end && (hit = memmem(at, (size_t)(end - at), s->needle, needle_len)) != NULL) {
        if (s->matches == FILES_MATCHES_MAX) {
            s->truncated = true;
            return;
        }
        const char *first = hit, *last = memchr(hit, '\n', (size_t)(end - hit));
        while (first > data && first[-1] != '\n')
            first--;
        for (; counted < first; counted++)
            line += *counted == '\n';
        if (last == NULL)
            last = end;
        size_t text_len = (size_t)(last - first);
        if (text_len > 0 && first[text_len - 1] == '\r')
            text_len--;
        search_add(s, path, line, first, text_len);
        at = last;
    }
}

static void search_file(struct search *s, const char *path, int fd) {
    char *data;
    size_t len;
    bool more;
    long max = s->budget < FILES_SEARCH_FILE_MAX ? s->budget : FILES_SEARCH_FILE_MAX;
    int status = files_read_whole(fd, (size_t)max, &data, &len, &more);
    close(fd);
    if (status != 0)
        return;
    s->budget -= (long)len;
    if (more)
        s->truncated = true;
    else if (text_is_utf8(data, len))
        search_text(s, path, data, len);
    free(data);
}

static int search_folder(struct search *s, const char *path, int depth, char *err, size_t errlen) {
    struct files_names names;
    int status = files_read_names(s->root, path, &names, err, errlen);
    if (status != 0)
        return status;
    for (size_t i = 0; i < names.count && s->matches < FILES_MATCHES_MAX && !s->stop(s->arg); i++) {
        char joined[4096], ignored[256];
        size_t len = strlen(names.name[i]);
        bool folder = names.name[i][len - 1] == '/', here = strcmp(path, ".") == 0;
        int n = snprintf(joined, sizeof joined, "%s%s%.*s", here ? "" : path, here ? "" : "/",
                         (int)(len - folder), names.name[i]);
        if (names.link[i])
            continue;
        if (n < 0 || (size_t)n >= sizeof joined || s->budget <= 0 || (folder && depth == FILES_DEPTH_MAX)) {
            s->truncated = true;
        } else if (folder) {
            if (search_folder(s, joined, depth + 1, ignored, sizeof ignored) == -E2BIG)
                s->truncated = true;
        } else {
            int fd = beneath_open_file(s->root, joined, ignored, sizeof ignored);
            if (fd >= 0)
                search_file(s, joined, fd);
        }
    }
    if (s->matches == FILES_MATCHES_MAX)
        s->truncated = true;
    files_free_names(&names);
    return 0;
}

int files_search(int root, const char *path, const char *needle, bool (*stop)(void *arg), void *arg,
                 struct text *out, char *err, size_t errlen) {
    struct search s = {
        .root = root, .needle = needle, .stop = stop, .arg = arg, .out = out, .budget = FILES_SEARCH_ALL_MAX};
    char trimmed[4096];
    size_t len = strlen(path);
    if (len >= sizeof trimmed) {
        snprintf(err, errlen, "the path is too long");
        return -ENAMETOOLONG;
    }
    memcpy(trimmed, path, len + 1);
    while (len > 1 && trimmed[len - 1] == '/')
        trimmed[--len] = '\0';
    const char *from = strncmp(trimmed, "./", 2) == 0 && trimmed[2] != '\0' ? trimmed + 2 : trimmed;
    text_put(out, "{\"matches\": [");
    int fd = beneath_open_file(root, from, err, errlen);
    int status = fd >= 0 ? 0 : fd;
    if (fd >= 0)
        search_file(&s, from, fd);
    else if (fd == -EISDIR)
        status = search_folder(&s, from, 1, err, errlen);
    else if (fd == -ENOENT) /* a file could be meant, but a folder is likelier */
        snprintf(err, errlen, "no such folder: %.200s", from);
    text_put(out, s.truncated ? "], \"truncated\": true}" : "]}");
    return status;
}
