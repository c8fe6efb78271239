/* Writing a file of a workspace. [any-thread] */
#ifndef PLUGINS_FILES_WRITE_H
#define PLUGINS_FILES_WRITE_H

#include <stddef.h>

/* Makes or replaces the regular file `path` beneath `root`, whole or not at all, even if the power fails: a
 * temporary file beside it is written, synced and renamed. The folder must exist; a symbolic link at the end
 * of the path is not written through. 0, or -errno with a sentence for the model. */
int files_write(int root, const char *path, const char *content, size_t len, char *err, size_t errlen);

#endif
