/* The state folder and its lock: one daemon per folder. Blocks; before the loop runs. */
#ifndef DAEMON_JOURNAL_LOCK_H
#define DAEMON_JOURNAL_LOCK_H

#include "base/err.h"

/* Creates `folder` (0700, with its parents) when missing and takes "<folder>/hermesd.lock". *fd holds the
 * lock until it is closed, or the process ends however. -EBUSY: another process has it; the sentence names
 * it. -EACCES: the folder can be written by others. */
HX_MUST_CHECK int journal_lock_take(const char *folder, int *fd, char *err, size_t errlen);

#endif
