/* A file that is mapped into memory to be read, and whether it is still the file that was opened.
 *
 * Its descriptor is kept: what is asked later is asked of the file that is mapped, whatever lies at its path
 * by then. A file that others have renamed over this one changes nothing here. One that is cut off or written
 * to does: its bytes are others from then on, or are gone (SIGBUS, base/mapped.h). */
#ifndef BASE_MAPPED_FILE_H
#define BASE_MAPPED_FILE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* Zeroed: no file. */
struct mapped_file {
    const uint8_t *data; /* until mapped_file_close(); NULL: no file */
    size_t size;         /* bytes, when it was opened */
    int fd;
    uid_t owner;
    struct timespec written;
};

/* 0; -EINVAL for what is no regular file, or has fewer than `least` bytes (1 or more); else the errno of
 * open() or mmap(). Without a sentence, which is the caller's. On failure `f` is zeroed. */
HX_MUST_CHECK int mapped_file_open(struct mapped_file *f, const char *path, size_t least);
/* NULL while the file is as it was opened; else what has become of it, as "was cut off". Costs one fstat().
 * What happens behind it, it cannot know. [any-thread] */
const char *mapped_file_change(const struct mapped_file *f);
/* Does nothing for no file. */
void mapped_file_close(struct mapped_file *f);

#endif
