/* A folder of text documents as passages in an SQLite FTS5 index in memory. A passage is a paragraph (lines
 * up to an empty one, with the headings above it); its id is "<file name without ending>#<number from 1>".
 * [any-thread], one thread at a time per index. */
#ifndef PLUGINS_RETRIEVE_INDEX_H
#define PLUGINS_RETRIEVE_INDEX_H

#include "plugins/text.h"

#define RETRIEVE_FILES_MAX 2000
#define RETRIEVE_FILE_MAX  (4L * 1024 * 1024)  /* bytes of one document that are indexed */
#define RETRIEVE_ALL_MAX   (64L * 1024 * 1024) /* bytes of all documents */
#define RETRIEVE_PASSAGE_MAX                                                                                 \
    1200 /* bytes; longer paragraphs are split, at a sentence's end if there is one */
#define RETRIEVE_LIMIT     3
#define RETRIEVE_LIMIT_MAX 10

struct retrieve_index;

/* 0, or -errno with a sentence when the folder cannot be opened. Nothing is read yet. */
int retrieve_index_open(const char *folder, struct retrieve_index **out, char *err, size_t errlen);
void retrieve_index_close(struct retrieve_index *index);
/* Reads the documents (.txt and .md, in subfolders too) again if any has come, gone or changed in time or
 * size since the last call. */
int retrieve_index_refresh(struct retrieve_index *index, char *err, size_t errlen);
/* Appends {"passages": [{"id": …, "text": …}, …]}, the best by bm25 first; any word of the query may match.
 */
int retrieve_index_query(struct retrieve_index *index, const char *query, int limit, struct text *out,
                         char *err, size_t errlen);

#endif
