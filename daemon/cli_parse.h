/* `hermesd parse`: what the daemon would make of a turn that a model wrote, as JSON lines.
 *
 *   {"event": "text", "position", "text"}
 *   {"event": "reasoning", "position", "section", "text", "truncated"}
 *   {"event": "rehearsed", "position", "section", "name", "arguments"}
 *   {"event": "call", "position", "call", "name", "arguments", "verdict", "repaired", "error", "raw"}
 *
 * in the order they complete. `verdict`: "run"; "repaired" (runs after what `repaired` names); "refused"
 * (`error` is what the model would be told); "invalid" (the arguments do not fit the tool's schema). Calls of
 * a turn are not limited here. Tools are those of the file: a JSON list of {"name", "description",
 * "parameters"}, wrapped in {"type": "function", "function": {…}} or not. Without one every name is a tool
 * that takes any object. */
#ifndef DAEMON_CLI_PARSE_H
#define DAEMON_CLI_PARSE_H

#include "base/buf.h"

#include <stdbool.h>

struct cli_parse_options {
    const char *tools_json;     /* NULL: every name is a tool */
    bool strict;                /* all tools are */
    bool lenient;               /* agent_config.lenient_calls */
    bool cut_off;               /* the turn ended for its length, not by the model */
    const char *open_section;   /* the prompt opened it; NULL = none */
    const char *reasoning_tags; /* names of further sections, ',' between them; NULL = none */
};

/* Appends the lines. -EINVAL with a sentence for tools or a section that cannot be used, -ENOBUFS, -ENOMEM.
 */
HX_MUST_CHECK int cli_parse_text(const char *text, size_t len, const struct cli_parse_options *options,
                                 struct buf *out, char *err, size_t errlen);
/* The command, its options behind the name: [--tools FILE] [--strict] [--lenient] [--cut-off] [--open
 * SECTION], standard input to standard output. An exit status: 0, 2 for a wrong option, 1 for anything else.
 */
int cli_parse(int argc, char **argv);

#endif
