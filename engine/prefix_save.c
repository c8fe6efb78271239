/* Writing the file of common beginnings. */
#include "engine/prefix_file.h"

#include "engine/prefix_sum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct save {
    struct forward *f;
    struct prefix_file *old;
    const struct pages_kept *list;
    int n;
    bool any_used;
    struct prefix_header header;
    struct prefix_record *records; /* n; of them header.n_pages are written */
    int *index;                    /* n: of each in the list; -1: it is left out */
    uint8_t *page;
    int fd;
};

static int put(int fd, uint64_t where, const void *data, size_t n) {
    const uint8_t *at = data;
    while (n > 0) {
        ssize_t done = pwrite(fd, at, n, (off_t)where);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        at += done;
        where += (uint64_t)done;
        n -= (size_t)done;
    }
    return 0;
}

/* What nobody wants any more, what stands behind something that is left out, and what is not in the old file
 * any more are left out: 0. 1 for a page that was written; or a negative errno. */
static int add(struct save *s, int i) {
    const struct pages_kept *k = &s->list[i];
    size_t bytes = (size_t)s->header.page_bytes;
    int idle = k->used ? 0 : prefix_file_idle(s->old, k->place) + s->any_used;
    if (idle > PREFIX_FILE_RUNS || (k->parent >= 0 && s->index[k->parent] < 0))
        return 0;
    if (k->page == PAGES_NONE && prefix_file_read(s->old, k->place, s->page) < 0)
        return 0;
    int rc = k->page != PAGES_NONE ? forward_read_page(s->f, k->page, s->page) : 0;
    int at = (int)s->header.n_pages;
    rc = rc < 0 ? rc : put(s->fd, s->header.data_at + (uint64_t)at * bytes, s->page, bytes);
    if (rc < 0)
        return rc;
    struct prefix_record *r = &s->records[at];
    *r = (struct prefix_record){.sum = prefix_sum(PREFIX_SUM_START, s->page, bytes),
                                .parent = k->parent >= 0 ? s->index[k->parent] : -1,
                                .n_tokens = k->n_tokens,
                                .idle = idle};
    memcpy(r->tokens, k->tokens, (size_t)k->n_tokens * sizeof *k->tokens);
    s->index[i] = at;
    s->header.n_pages++;
    return 1;
}

/* Pages first, then what says where they are. */
static int write_all(struct save *s) {
    int rc = 0;
    for (int i = 0; i < s->n && rc >= 0; i++) {
        s->index[i] = -1;
        rc = add(s, i);
    }
    if (rc < 0 || s->header.n_pages == 0)
        return rc < 0 ? rc : 0;
    size_t bytes = s->header.n_pages * sizeof *s->records;
    s->header.sum = prefix_sum(PREFIX_SUM_START, &s->header, sizeof s->header);
    s->header.sum = prefix_sum(s->header.sum, s->records, bytes);
    rc = put(s->fd, sizeof s->header, s->records, bytes);
    rc = rc < 0 ? rc : put(s->fd, 0, &s->header, sizeof s->header);
    return rc == 0 && fsync(s->fd) < 0 ? -errno : rc;
}

/* What is written takes the place of the old file, where it is anything. */
static int replace_file(struct save *s, const char *path) {
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
        return -ENAMETOOLONG;
    (void)unlink(temporary); /* of a process that was killed meanwhile */
    s->fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->fd < 0)
        return -errno;
    int rc = write_all(s);
    close(s->fd);
    if (rc == 0 && s->header.n_pages > 0 && rename(temporary, path) < 0)
        rc = -errno;
    if (rc < 0 || s->header.n_pages == 0)
        (void)unlink(temporary);
    return rc;
}

static int save_list(struct save *s, const char *path, uint64_t model) {
    s->header = prefix_file_header(s->f, model, (uint32_t)s->n);
    s->header.n_pages = 0;
    s->records = calloc((size_t)s->n, sizeof *s->records);
    s->index = calloc((size_t)s->n, sizeof *s->index);
    s->page = malloc((size_t)s->header.page_bytes);
    int rc = -ENOMEM;
    if (s->records != NULL && s->index != NULL && s->page != NULL)
        rc = replace_file(s, path);
    free(s->records);
    free(s->index);
    free(s->page);
    return rc < 0 ? rc : (int)s->header.n_pages;
}

int prefix_file_save(const char *path, size_t most, uint64_t model, struct forward *f, const struct pages *p,
                     struct prefix_file *old, char *err, size_t errlen) {
    size_t total = (size_t)pages_total(p) + (size_t)prefix_file_pages(old);
    uint32_t room = prefix_file_room(most, forward_device_page_bytes(f));
    struct pages_kept *list = calloc(total, sizeof *list);
    int n = list != NULL ? pages_shared(p, list, (int)(room < total ? room : total)) : -ENOMEM;
    struct save s = {.f = f, .old = old, .list = list, .n = n};
    for (int i = 0; i < n; i++)
        s.any_used = s.any_used || list[i].used;
    bool news = s.any_used || n != prefix_file_pages(old);
    int rc = n > 0 && news ? save_list(&s, path, model) : n;
    free(list);
    if (rc == 0 && prefix_file_lost(old) != NULL)
        (void)unlink(path); /* nothing is left of it */
    return rc < 0
               ? err_set(err, errlen, rc, "The prefix cache '%s' cannot be written: %s.", path, strerror(-rc))
               : rc;
}
