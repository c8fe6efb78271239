/* Ids of jobs: "job_" and a ULID (48 bits of milliseconds, 80 random bits, Crockford's base 32), so that they
 * sort by time. [loop-thread] */
#ifndef DAEMON_JOB_ID_H
#define DAEMON_JOB_ID_H

#include "base/err.h"

#include <stdint.h>

/* `id` has JOB_ID_SIZE bytes; `trace_id` gets 32 hexadecimal digits (W3C Trace Context). -EIO: no random
 * numbers. */
HX_MUST_CHECK int job_id_make(char id[31], char trace_id[33]);
/* The part of a second is in it. Pure: from these 6 + 10 bytes. */
void job_id_write(char id[31], int64_t unix_ms, const unsigned char random[10]);

#endif
