/* Notes by key in one SQLite file, durable once stored (WAL, synchronous=FULL). Several processes may use the
 * file at once. [any-thread], one thread at a time per object. */
#ifndef PLUGINS_MEMORY_NOTES_H
#define PLUGINS_MEMORY_NOTES_H

#include "plugins/text.h"

#define MEMORY_KEY_MAX   200
#define MEMORY_VALUE_MAX (64 * 1024)
#define MEMORY_PAGES_MAX 65536 /* of 4 KiB: the file stays below 256 MiB */

struct memory_notes;

/* Opens or creates `memory.db` in the folder: 0, or -errno with a sentence. */
int memory_notes_open(const char *folder, struct memory_notes **out, char *err, size_t errlen);
void memory_notes_close(struct memory_notes *notes);
/* Replaces what the key held before. -EINVAL, -ENOSPC, -EIO with a sentence for the model. */
int memory_notes_put(struct memory_notes *notes, const char *key, const char *value, char *err,
                     size_t errlen);
/* Appends the value to `out`; -ENOENT when there is none. */
int memory_notes_get(struct memory_notes *notes, const char *key, struct text *out, char *err, size_t errlen);

#endif
