/* Beginnings that sessions have in common, kept in a file from one process to the next.
 *
 * The file holds KV pages with their tokens: those that a second session took over from a first one, as far
 * as it did, so what only one session had is never found in it (the bytes of a page that is shared in part
 * are written whole). It fits one model, one device and one way to lay out pages; of another one, cut,
 * altered or not ours, it is ignored as a whole. Written whole beside the old one, which is then replaced.
 *
 *   header   struct prefix_header, its sum over all bytes of the file (itself as 0)
 *   records  per page: index of the page before it (-1: none), number of tokens (64 but for last pages), ids
 *   pages    from a multiple of 4096 on, page_bytes each
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
    uint64_t model; /* prefix_file_model() */
    uint64_t data_at;
    uint64_t sum;
    char layout[64]; /* kernels_ops.page_layout() */
};
#define PREFIX_FILE_MAGIC   "hxprefix"
#define PREFIX_FILE_VERSION 1

/* Of the whole content of a file, at least a header. */
uint64_t prefix_file_sum(const void *file, size_t bytes);
/* Stands for a model: its shape, names and vocabulary, samples of every tensor, and its file's size and time.
 */
uint64_t prefix_file_model(const struct model *m);

/* Takes free pages for what the file has and fills them; they are found as if sessions had left them.
 * Returns the number of tokens; 0 where there is no file. -EBADMSG, -EPROTO, -EACCES, … with the sentence for
 * one that is ignored: then nothing was taken. */
HX_MUST_CHECK int prefix_file_load(const char *path, uint64_t model, struct forward *f, struct pages *p,
                                   int n_vocab, char *err, size_t errlen);
/* Writes what is shared, at most `most` bytes, what was used last first. Leaves the old file when there is
 * nothing. Returns the number of pages, or a negative errno. */
HX_MUST_CHECK int prefix_file_save(const char *path, size_t most, uint64_t model, struct forward *f,
                                   const struct pages *p, char *err, size_t errlen);

#endif
