/* `hermesd render`: a conversation as JSON in, the exact prompt out, by the code that jobs use.
 *
 *   {"system": "…", "tools": [{"name", "description", "parameters"}, …], "messages": [{"role", "content", …},
 * …]}
 *
 * Tools may be wrapped in {"type": "function", "function": {…}}. Messages of role
 *   system     only as the first, when there is no "system"
 *   user       content
 *   assistant  content, and tool_calls: [{"name", "arguments"}], wrapped like tools or not; arguments an
 * object, or JSON in a string tool       responses: the bodies of one turn; or content, one body: messages of
 * this role that follow each other are one turn. With a "name" the body is made of it as for a job's call,
 * else the content is the body. A conversation that does not end with the assistant's message gets the
 * beginning of the assistant's next turn. A member "response_format" is that of a job (daemon/api.md): what
 * JSON mode tells the model stands in the system turn. */
#ifndef DAEMON_CLI_RENDER_H
#define DAEMON_CLI_RENDER_H

#include "agent/agent.h"
#include "base/buf.h"

/* Appends the prompt, or with `spans` a JSON list [{"trusted": true, "text": "…"}, …]. -EINVAL with a
 * sentence that names the message, -ENOBUFS, -ENOMEM. */
HX_MUST_CHECK int cli_render_text(const char *json, size_t len, enum agent_profile profile, bool spans,
                                  struct buf *out, char *err, size_t errlen);
/* The command, its options behind the name: [--profile stable|hf-compat] [--spans], standard input to
 * standard output. An exit status: 0, 2 for a wrong option, 1 for anything else. */
int cli_render(int argc, char **argv);

#endif
