#include "engine/prefix_file.h"

#include "base/mapped.h"
#include "engine/prefix_sum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct prefix_file {
    struct forward *f;
    const uint8_t *map;
    size_t bytes;
    struct prefix_header header;
    struct prefix_record *records; /* header.n_pages */
    int n;                         /* of them, used */
    uint8_t *page;                 /* one that is copied */
    char path[256];                /* for sentences; cut */
    char lost[400];
    atomic_bool some_lost; /* `lost` is written */
};

/* ---- what a file is like ---- */

uint64_t prefix_file_data_at(uint32_t n_pages) {
    uint64_t end = sizeof(struct prefix_header) + (uint64_t)n_pages * sizeof(struct prefix_record);
    return (end + PREFIX_FILE_ALIGN - 1) / PREFIX_FILE_ALIGN * PREFIX_FILE_ALIGN;
}

uint32_t prefix_file_room(size_t most, size_t page_bytes) {
    size_t room = most / (page_bytes + sizeof(struct prefix_record));
    uint32_t n = room < PREFIX_FILE_PAGES ? (uint32_t)room : PREFIX_FILE_PAGES;
    while (n > 0 && prefix_file_data_at(n) + (uint64_t)n * page_bytes > most)
        n--;
    return n;
}

struct prefix_header prefix_file_header(struct forward *f, uint64_t model, uint32_t n_pages) {
    struct prefix_header h = {.version = PREFIX_FILE_VERSION,
                              .n_pages = n_pages,
                              .page_bytes = forward_device_page_bytes(f),
                              .model = model,
                              .data_at = prefix_file_data_at(n_pages)};
    memcpy(h.magic, PREFIX_FILE_MAGIC, sizeof h.magic);
    (void)snprintf(h.layout, sizeof h.layout, "%s", forward_page_layout(f));
    return h;
}

/* ---- opening ---- */

static int ignored(const struct prefix_file *file, int code, const char *why, char *err, size_t errlen) {
    return err_set(err, errlen, code, "The prefix cache '%s' is ignored: %s.", file->path, why);
}

/* Maps a file of ours. -ENOENT without a sentence where there is none. */
static int map_file(struct prefix_file *file, const char *path, char *err, size_t errlen) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    if (fd < 0 || fstat(fd, &st) < 0) {
        int code = -errno;
        if (fd >= 0)
            close(fd);
        return ignored(file, code, strerror(-code), err, errlen);
    }
    void *at = MAP_FAILED;
    int rc = 0;
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        rc = ignored(file, -EACCES, "it is no file that only this user can write", err, errlen);
    else if ((size_t)st.st_size < sizeof(struct prefix_header))
        rc = ignored(file, -EBADMSG, "it is cut off", err, errlen);
    else if ((at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        rc = ignored(file, -errno, "it cannot be mapped", err, errlen);
    close(fd);
    if (rc < 0)
        return rc;
    file->map = at;
    file->bytes = (size_t)st.st_size;
    return 0;
}

/* Whether the file is for this model and device, and as long as it says. */
static int check_header(struct prefix_file *file, uint64_t model, char *err, size_t errlen) {
    struct prefix_header *h = &file->header;
    if (mapped_copy(h, file->map, sizeof *h) < 0)
        return ignored(file, -EIO, "it cannot be read", err, errlen);
    if (memcmp(h->magic, PREFIX_FILE_MAGIC, sizeof h->magic) != 0 || h->version != PREFIX_FILE_VERSION)
        return ignored(file, -EPROTO, "it is of another version", err, errlen);
    struct prefix_header want = prefix_file_header(file->f, model, 0);
    if (h->model != want.model || h->page_bytes != want.page_bytes ||
        memcmp(h->layout, want.layout, sizeof h->layout) != 0)
        return ignored(file, -EPROTO, "it was made with another model or device", err, errlen);
    if (h->n_pages == 0 || h->n_pages > PREFIX_FILE_PAGES || h->data_at < prefix_file_data_at(h->n_pages) ||
        h->data_at > file->bytes || (file->bytes - h->data_at) / h->page_bytes != h->n_pages ||
        (file->bytes - h->data_at) % h->page_bytes != 0)
        return ignored(file, -EBADMSG, "it is cut off", err, errlen);
    return 0;
}

static bool record_fits(const struct prefix_record *r, int index, const struct prefix_record *records,
                        int n_vocab) {
    bool fits = r->parent >= -1 && r->parent < index && r->n_tokens > 0 &&
                r->n_tokens <= KERNELS_PAGE_TOKENS && r->idle >= 0 && r->idle <= PREFIX_FILE_RUNS &&
                (r->parent < 0 || records[r->parent].n_tokens == KERNELS_PAGE_TOKENS);
    for (int i = 0; fits && i < r->n_tokens; i++)
        fits = r->tokens[i] >= 0 && r->tokens[i] < n_vocab;
    return fits;
}

static int read_records(struct prefix_file *file, int n_vocab, char *err, size_t errlen) {
    struct prefix_header h = file->header;
    int n = (int)h.n_pages;
    size_t bytes = (size_t)n * sizeof *file->records;
    file->records = malloc(bytes);
    file->page = malloc((size_t)h.page_bytes);
    if (file->records == NULL || file->page == NULL)
        return ignored(file, -ENOMEM, "memory is out", err, errlen);
    if (mapped_copy(file->records, file->map + sizeof h, bytes) < 0)
        return ignored(file, -EIO, "it cannot be read", err, errlen);
    h.sum = 0;
    if (file->header.sum != prefix_sum(prefix_sum(PREFIX_SUM_START, &h, sizeof h), file->records, bytes))
        return ignored(file, -EBADMSG, "it was altered", err, errlen);
    for (int i = 0; i < n; i++)
        if (!record_fits(&file->records[i], i, file->records, n_vocab))
            return err_set(err, errlen, -EBADMSG, "The prefix cache '%s' is ignored: page %d makes no sense.",
                           file->path, i);
    return 0;
}

int prefix_file_open(const char *path, size_t most, uint64_t model, int n_vocab, struct forward *f,
                     struct prefix_file **out, char *err, size_t errlen) {
    struct prefix_file *file = calloc(1, sizeof *file);
    *out = NULL;
    if (file == NULL)
        return err_set(err, errlen, -ENOMEM, "The prefix cache '%s' is ignored: memory is out.", path);
    file->f = f;
    (void)err_set(file->path, sizeof file->path, 0, "%s", path);
    int rc = map_file(file, path, err, errlen);
    rc = rc < 0 ? rc : check_header(file, model, err, errlen);
    rc = rc < 0 ? rc : read_records(file, n_vocab, err, errlen);
    if (rc < 0) {
        prefix_file_close(file);
        return rc == -ENOENT ? 0 : rc;
    }
    uint32_t room = prefix_file_room(most, (size_t)file->header.page_bytes);
    file->n = (int)(room < file->header.n_pages ? room : file->header.n_pages);
    *out = file;
    return 0;
}

void prefix_file_close(struct prefix_file *file) {
    if (file == NULL)
        return;
    if (file->map != NULL)
        munmap((void *)(uintptr_t)file->map, file->bytes);
    free(file->records);
    free(file->page);
    free(file);
}

int prefix_file_pages(const struct prefix_file *file) {
    return file != NULL ? (int)file->header.n_pages : 0;
}

int prefix_file_idle(const struct prefix_file *file, int place) {
    return place >= 0 ? file->records[place].idle : 0;
}

int prefix_file_enter(const struct prefix_file *file, struct pages *p) {
    int n_tokens = 0;
    for (int i = 0; file != NULL && i < file->n; i++) {
        const struct prefix_record *r = &file->records[i];
        n_tokens += pages_enter(p, i, r->parent, r->tokens, r->n_tokens) ? r->n_tokens : 0;
    }
    return n_tokens;
}

/* ---- its pages ---- */

/* The first one is told. */
static int lose(struct prefix_file *file, int place, int code) {
    if (!atomic_load(&file->some_lost)) {
        (void)err_set(file->lost, sizeof file->lost, 0,
                      "Page %d of the prefix cache '%s' is not used, nor what is behind it: it was %s.",
                      place, file->path, code == -EIO ? "cut off while it was in use" : "altered");
        atomic_store(&file->some_lost, true);
    }
    return code;
}

const char *prefix_file_lost(struct prefix_file *file) {
    return file != NULL && atomic_load(&file->some_lost) ? file->lost : NULL;
}

int prefix_file_read(struct prefix_file *file, int place, void *out) {
    size_t bytes = (size_t)file->header.page_bytes;
    const uint8_t *from = file->map + file->header.data_at + (size_t)place * bytes;
    if (mapped_copy(out, from, bytes) < 0)
        return lose(file, place, -EIO);
    return prefix_sum(PREFIX_SUM_START, out, bytes) == file->records[place].sum ? 0
                                                                                : lose(file, place, -EBADMSG);
}

static int get(void *arg, int32_t page, int32_t place) {
    struct prefix_file *file = arg;
    int rc = prefix_file_read(file, place, file->page);
    return rc < 0 ? rc : forward_write_page(file->f, page, file->page);
}

struct pages_store prefix_file_store(struct prefix_file *file) {
    return (struct pages_store){.n = file != NULL ? file->n : 0, .arg = file, .get = get};
}
