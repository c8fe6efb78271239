/* Files that are mapped into memory may be cut off, or their disk may fail, while they are used. Whoever
 * reads there then gets SIGBUS from the kernel, which ends the program. What can be done without is read
 * here. */
#ifndef BASE_MAPPED_H
#define BASE_MAPPED_H

#include "base/err.h"

#include <stddef.h>

/* Copies n bytes out of a mapped file. 0, or -EIO where the file has not got them any more: then `to` holds
 * anything. From the first call on SIGBUS is handled here; what is not of such a copy goes to the handler
 * that was there before, so set one up earlier. [any-thread] */
HX_MUST_CHECK int mapped_copy(void *to, const void *from, size_t n);

#endif
