/* Beginnings that sessions have in common, kept in a file from one process to the next.
 *
 * The file holds KV pages with their tokens: those that a second session took over from a first one, as far
 * as it did, so what only one session had is never found in it (the bytes of a page that is shared in part
 * are written whole). A page is found by the model and by all tokens up to its end, those of the system
 * prompt and of the tools among them: of another set of tools only what stands before the first difference is
 * found. What no prompt wanted any more while the process ran PREFIX_FILE_RUNS times drops out.
 *
 * The file is mapped when the engine opens, and its header and records are read and checked; a page is read,
 * and checked, when a prompt wants it. It fits one model, one device and one way to lay out pages; of another
 * one, cut or not ours, it is ignored as a whole; a page that was altered is ignored with those behind it. It
 * may be cut off or replaced while it is mapped. Written whole beside the old one, which is then replaced.
 *
 *   header   struct prefix_header, its sum over header (itself as 0) and records
 *   records  struct prefix_record of each page, behind that of the page before it; what was used last first
 *   pages    from data_at on, page_bytes each
 *
 * In the machine's byte order: the file stays where it was written. Private to engine/. */
#ifndef ENGINE_PREFIX_FILE_H
#define ENGINE_PREFIX_FILE_H

#include "base/err.h"
#include "engine/forward.h"
#include "engine/pages.h"

#include <stddef.h>

struct prefix_header {
    char magic[8];
    uint32_t version, n_pages;
    uint64_t page_bytes;
    uint64_t model; /* prefix_sum_model() */
    uint64_t data_at;
    uint64_t sum;
    char layout[64]; /* kernels_ops.page_layout() */
};
#define PREFIX_FILE_MAGIC   "hxprefix"
#define PREFIX_FILE_VERSION 2
#define PREFIX_FILE_ALIGN   4096u
/* Pages at most, whatever the ceiling in bytes: 67 million tokens, and 280 MB of records. */
#define PREFIX_FILE_PAGES (1u << 20)

struct prefix_record {
    uint64_t sum;     /* of the page's bytes */
    int32_t parent;   /* index of the page before it; -1: none */
    int32_t n_tokens; /* 64 but for last pages */
    int32_t idle;     /* processes in a row that others of these pages were wanted in, and not this one */
    int32_t zero;
    int32_t tokens[KERNELS_PAGE_TOKENS];
};
#define PREFIX_FILE_RUNS 8

struct prefix_file;

/* Maps the file, of which at most `most` bytes are used. *out is NULL and the result 0 where there is none.
 * -EBADMSG, -EPROTO, -EACCES, -ENOMEM … with the sentence for one that is ignored. `f` must outlive it.
 * [engine-thread], like the rest */
HX_MUST_CHECK int prefix_file_open(const char *path, size_t most, uint64_t model, int n_vocab,
                                   struct forward *f, struct prefix_file **out, char *err, size_t errlen);
/* NULL: nothing. */
void prefix_file_close(struct prefix_file *file);
/* The `kept` of pages_create(); NULL: it has no place. */
struct pages_store prefix_file_store(struct prefix_file *file);
/* Lets pages be found. Returns the number of tokens; NULL: 0. */
int prefix_file_enter(const struct prefix_file *file, struct pages *p);
/* Copies a page to `out`, page_bytes of it. -EIO, -EBADMSG: it is cut off or altered. */
HX_MUST_CHECK int prefix_file_read(struct prefix_file *file, int place, void *out);
/* How many processes ago a page was wanted last; 0 for place -1. */
int prefix_file_idle(const struct prefix_file *file, int place);
/* What the file holds, used or not; NULL: 0. */
int prefix_file_pages(const struct prefix_file *file);
/* Why a page was not there when it was wanted, a sentence that is borrowed until prefix_file_close(); NULL:
 * all were, or there is no file. [any-thread] */
const char *prefix_file_lost(struct prefix_file *file);

/* Pages that a file of `most` bytes has room for. */
uint32_t prefix_file_room(size_t most, size_t page_bytes);
/* Where pages begin at the earliest. */
uint64_t prefix_file_data_at(uint32_t n_pages);
/* The header of a file of n_pages pages, without its sum. */
struct prefix_header prefix_file_header(struct forward *f, uint64_t model, uint32_t n_pages);

/* engine/prefix_save.c. Writes what is shared, of the pages and of `old` (NULL: there is none), at most
 * `most` bytes, what was used last first. Leaves the old file when there is nothing to write, or nothing new.
 * Returns the number of pages that the file has, or a negative errno. */
HX_MUST_CHECK int prefix_file_save(const char *path, size_t most, uint64_t model, struct forward *f,
                                   const struct pages *p, struct prefix_file *old, char *err, size_t errlen);

#endif
