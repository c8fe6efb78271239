#include "engine/prefix_file.h"

#include "kernels/dtype.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA_ALIGN   4096u
#define SAMPLE_BYTES 4096u

struct record {
    int32_t parent, n_tokens;
    int32_t tokens[KERNELS_PAGE_TOKENS];
};

/* ---- sums: each step is a bijection of what came before, so no single change of 8 bytes goes unnoticed ----
 */

#define SUM_START 0x9E3779B97F4A7C15u

static uint64_t sum_word(uint64_t sum, uint64_t word) {
    sum = (sum ^ word) * 0xD6E8FEB86659FD93u;
    return sum << 27 | sum >> 37;
}

/* The last bytes count with their number. */
static uint64_t sum_bytes(uint64_t sum, const void *data, size_t n) {
    const uint8_t *at = data;
    uint64_t word;
    for (; n >= sizeof word; n -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        sum = sum_word(sum, word);
    }
    word = (uint64_t)n << 56;
    memcpy(&word, at, n);
    return n > 0 ? sum_word(sum, word) : sum;
}

uint64_t prefix_file_sum(const void *file, size_t bytes) {
    struct prefix_header h;
    memcpy(&h, file, sizeof h);
    h.sum = 0;
    return sum_bytes(sum_bytes(SUM_START, &h, sizeof h), (const uint8_t *)file + sizeof h, bytes - sizeof h);
}

static uint64_t sum_tensor(uint64_t sum, const struct tensor *t) {
    size_t bytes = dtype_row_bytes(t->type, t->cols) * (size_t)t->rows;
    sum = sum_word(sum_word(sum_word(sum, (uint64_t)t->type), (uint64_t)t->rows), (uint64_t)t->cols);
    if (t->data == NULL)
        return sum;
    size_t n = bytes < SAMPLE_BYTES ? bytes : SAMPLE_BYTES;
    for (size_t part = 0; part < 3; part++)
        sum = sum_bytes(sum, (const uint8_t *)t->data + (bytes - n) / 2 * part, n);
    return sum;
}

uint64_t prefix_file_model(const struct model *m) {
    const int shape[] = {m->n_layers, m->n_heads, m->n_kv_heads, m->head_dim,        m->dim,
                         m->ffn_dim,  m->n_vocab, m->bos_id,     (int)m->rope_layout};
    uint64_t sum = sum_bytes(SUM_START, shape, sizeof shape);
    struct stat st;
    sum = sum_bytes(sum, &m->rms_eps, sizeof m->rms_eps);
    sum = sum_bytes(sum, m->rope_inv_freq, (size_t)m->head_dim / 2 * sizeof *m->rope_inv_freq);
    sum = sum_bytes(sum, m->name != NULL ? m->name : "", m->name != NULL ? strlen(m->name) : 0);
    if (m->path != NULL && stat(m->path, &st) == 0)
        sum = sum_word(sum_word(sum_word(sum, (uint64_t)st.st_size), (uint64_t)st.st_mtim.tv_sec),
                       (uint64_t)st.st_mtim.tv_nsec);
    sum = sum_tensor(sum_tensor(sum_tensor(sum, &m->tok_embd), &m->output_norm), &m->output);
    for (int l = 0; l < m->n_layers; l++) {
        const struct model_layer *y = &m->layers[l];
        const struct tensor *all[] = {&y->attn_norm, &y->wq,     &y->wk,   &y->wv,    &y->wo,
                                      &y->ffn_norm,  &y->w_gate, &y->w_up, &y->w_down};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            sum = sum_tensor(sum, all[i]);
    }
    return sum;
}

static uint64_t data_at(uint32_t n_pages) {
    uint64_t end = sizeof(struct prefix_header) + (uint64_t)n_pages * sizeof(struct record);
    return (end + DATA_ALIGN - 1) / DATA_ALIGN * DATA_ALIGN;
}

static struct prefix_header header_of(struct forward *f, uint64_t model, uint32_t n_pages) {
    struct prefix_header h = {.version = PREFIX_FILE_VERSION,
                              .n_pages = n_pages,
                              .page_bytes = forward_device_page_bytes(f),
                              .model = model,
                              .data_at = data_at(n_pages)};
    memcpy(h.magic, PREFIX_FILE_MAGIC, sizeof h.magic);
    (void)snprintf(h.layout, sizeof h.layout, "%s", forward_page_layout(f));
    return h;
}

/* ---- loading ---- */

struct map {
    const uint8_t *at;
    size_t bytes;
};

/* Maps a file of ours. -ENOENT without a sentence where there is none. */
static int map_file(const char *path, struct map *map, char *err, size_t errlen) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return -ENOENT;
    if (fd < 0 || fstat(fd, &st) < 0) {
        int code = -errno;
        if (fd >= 0)
            close(fd);
        return err_set(err, errlen, code, "The prefix cache '%s' is ignored: %s.", path, strerror(-code));
    }
    void *at = MAP_FAILED;
    int rc = 0;
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        rc = err_set(err, errlen, -EACCES,
                     "The prefix cache '%s' is ignored: it is no file that only this user can write.", path);
    else if ((size_t)st.st_size < sizeof(struct prefix_header))
        rc = err_set(err, errlen, -EBADMSG, "The prefix cache '%s' is ignored: it is cut off.", path);
    else if ((at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)) == MAP_FAILED)
        rc = err_set(err, errlen, -errno, "The prefix cache '%s' is ignored: it cannot be mapped.", path);
    close(fd);
    *map = (struct map){.at = at, .bytes = (size_t)st.st_size};
    return rc;
}

/* Whether the file is whole and for this model and device. */
static int check(const char *path, const struct map *map, struct forward *f, uint64_t model, char *err,
                 size_t errlen) {
    struct prefix_header h;
    memcpy(&h, map->at, sizeof h);
    if (memcmp(h.magic, PREFIX_FILE_MAGIC, sizeof h.magic) != 0 || h.version != PREFIX_FILE_VERSION)
        return err_set(err, errlen, -EPROTO, "The prefix cache '%s' is ignored: it is of another version.",
                       path);
    struct prefix_header want = header_of(f, model, h.n_pages);
    if (h.model != want.model || h.page_bytes != want.page_bytes ||
        memcmp(h.layout, want.layout, sizeof h.layout) != 0)
        return err_set(err, errlen, -EPROTO,
                       "The prefix cache '%s' is ignored: it was made with another model or device.", path);
    if (h.data_at != want.data_at || h.data_at > map->bytes ||
        (map->bytes - h.data_at) / h.page_bytes != h.n_pages || (map->bytes - h.data_at) % h.page_bytes != 0)
        return err_set(err, errlen, -EBADMSG, "The prefix cache '%s' is ignored: it is cut off.", path);
    if (h.sum != prefix_file_sum(map->at, map->bytes))
        return err_set(err, errlen, -EBADMSG, "The prefix cache '%s' is ignored: it was altered.", path);
    return (int)h.n_pages;
}

static bool record_fits(const struct record *r, int index, const struct record *records, int n_vocab) {
    bool fits = r->parent >= -1 && r->parent < index && r->n_tokens > 0 &&
                r->n_tokens <= KERNELS_PAGE_TOKENS &&
                (r->parent < 0 || records[r->parent].n_tokens == KERNELS_PAGE_TOKENS);
    for (int i = 0; fits && i < r->n_tokens; i++)
        fits = r->tokens[i] >= 0 && r->tokens[i] < n_vocab;
    return fits;
}

/* One page into the pool; its number for its children, which come before it is given back. */
static int take_page(const struct record *r, const void *data, const int32_t *ids, struct forward *f,
                     struct pages *p, int32_t *id) {
    int32_t parent = r->parent >= 0 ? ids[r->parent] : PAGES_NONE, page = pages_take(p);
    *id = PAGES_NONE;
    int rc = page != PAGES_NONE ? forward_write_page(f, page, data) : -ENOSPC;
    if (rc < 0) {
        if (page != PAGES_NONE)
            pages_drop(p, page);
        return rc;
    }
    pages_share(p, page, r->n_tokens);
    if (r->n_tokens == KERNELS_PAGE_TOKENS)
        *id = pages_publish(p, page, parent, r->tokens);
    else
        pages_leave(p, page, parent, r->tokens, r->n_tokens);
    return r->n_tokens;
}

int prefix_file_load(const char *path, uint64_t model, struct forward *f, struct pages *p, int n_vocab,
                     char *err, size_t errlen) {
    struct map map = {0};
    int rc = map_file(path, &map, err, errlen);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    int n = check(path, &map, f, model, err, errlen), n_tokens = 0;
    const struct record *records =
        (const struct record *)(const void *)(map.at + sizeof(struct prefix_header));
    for (int i = 0; i < n; i++)
        if (!record_fits(&records[i], i, records, n_vocab))
            n = err_set(err, errlen, -EBADMSG, "The prefix cache '%s' is ignored: page %d makes no sense.",
                        path, i);
    int32_t *ids = n > 0 ? malloc((size_t)n * sizeof *ids) : NULL;
    if (n > 0 && ids == NULL)
        n = err_set(err, errlen, -ENOMEM, "The prefix cache '%s' is ignored: memory is out.", path);
    size_t page_bytes = forward_device_page_bytes(f);
    int taken = 0;
    for (rc = 0; taken < n && rc >= 0 && pages_in_use(p) < pages_total(p); taken++) {
        rc = take_page(&records[taken], map.at + data_at((uint32_t)n) + (size_t)taken * page_bytes, ids, f, p,
                       &ids[taken]);
        n_tokens += rc > 0 ? rc : 0;
    }
    while (taken-- > 0) /* the first ones are the most useful: they are dropped last */
        if (ids[taken] != PAGES_NONE)
            pages_drop(p, ids[taken]);
    free(ids);
    munmap((void *)(uintptr_t)map.at, map.bytes);
    return n < 0 ? n : n_tokens;
}

/* ---- saving ---- */

static bool put(int fd, const void *data, size_t n, uint64_t *sum) {
    const uint8_t *at = data;
    *sum = sum_bytes(*sum, data, n);
    while (n > 0) {
        ssize_t done = write(fd, at, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        at += done;
        n -= (size_t)done;
    }
    return true;
}

/* Everything but the sum, which comes last. Sizes are multiples of 8, so that parts sum up like the whole. */
static int write_all(int fd, struct prefix_header *h, struct forward *f, const struct pages_kept *kept) {
    size_t page_bytes = (size_t)h->page_bytes;
    uint64_t sum = SUM_START;
    int rc = put(fd, h, sizeof *h, &sum) ? 0 : -errno;
    for (uint32_t i = 0; rc == 0 && i < h->n_pages; i++) {
        struct record r = {.parent = kept[i].parent, .n_tokens = kept[i].n_tokens};
        memcpy(r.tokens, kept[i].tokens, (size_t)r.n_tokens * sizeof *r.tokens);
        rc = put(fd, &r, sizeof r, &sum) ? 0 : -errno;
    }
    size_t gap = (size_t)h->data_at - sizeof *h - h->n_pages * sizeof(struct record);
    uint8_t *page = calloc(1, page_bytes > gap ? page_bytes : gap);
    if (page == NULL)
        return -ENOMEM;
    rc = rc == 0 && !put(fd, page, gap, &sum) ? -errno : rc;
    for (uint32_t i = 0; rc == 0 && i < h->n_pages; i++) {
        rc = forward_read_page(f, kept[i].page, page);
        rc = rc == 0 && !put(fd, page, page_bytes, &sum) ? -errno : rc;
    }
    free(page);
    h->sum = sum;
    if (rc == 0 && pwrite(fd, h, sizeof *h, 0) != (ssize_t)sizeof *h)
        rc = -EIO;
    return rc == 0 && fsync(fd) < 0 ? -errno : rc;
}

static int replace_file(const char *path, struct prefix_header *h, struct forward *f,
                        const struct pages_kept *kept) {
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
        return -ENAMETOOLONG;
    (void)unlink(temporary); /* of a process that was killed meanwhile */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int rc = write_all(fd, h, f, kept);
    close(fd);
    rc = rc == 0 && rename(temporary, path) < 0 ? -errno : rc;
    if (rc < 0)
        (void)unlink(temporary);
    return rc;
}

int prefix_file_save(const char *path, size_t most, uint64_t model, struct forward *f, const struct pages *p,
                     char *err, size_t errlen) {
    size_t page_bytes = forward_device_page_bytes(f), room = most / (page_bytes + sizeof(struct record));
    while (room > 0 && data_at((uint32_t)room) + room * page_bytes > most)
        room--;
    size_t total = (size_t)pages_total(p);
    struct pages_kept *kept = calloc(total, sizeof *kept);
    int n = kept != NULL ? pages_shared(p, kept, (int)(room < total ? room : total)) : -ENOMEM;
    int rc = n < 0 ? n : 0;
    if (n > 0) {
        struct prefix_header h = header_of(f, model, (uint32_t)n);
        rc = replace_file(path, &h, f, kept);
    }
    free(kept);
    return rc < 0
               ? err_set(err, errlen, rc, "The prefix cache '%s' cannot be written: %s.", path, strerror(-rc))
               : n;
}
