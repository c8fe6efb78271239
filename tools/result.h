/* What came of a call, in words. [loop-thread] */
#ifndef TOOLS_RESULT_H
#define TOOLS_RESULT_H

#include "base/buf.h"
#include "tools/call.h"

/* Reads an END frame into *result; its text is in `text`, which the caller initialised and finishes. -EPROTO
 * for a frame that makes no sense, -ENOMEM. */
HX_MUST_CHECK int result_of_end(const struct tool_call *call, const struct frame *frame, struct buf *text,
                                struct tool_result *result);
/* The worker ended before the call did. `text` as above. */
void result_of_death(const struct tool_call *call, const struct worker *worker, char *text, size_t size,
                     struct tool_result *result);
/* Appends text that is UTF-8 without U+0000: what is not becomes U+FFFD. */
HX_MUST_CHECK int result_clean(struct buf *out, const char *bytes, size_t len);

#endif
