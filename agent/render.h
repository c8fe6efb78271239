/* A conversation as the spans of a prompt.
 *
 * Trusted spans are our literals and may hold control tokens; untrusted ones hold what a client, a tool or a
 * model wrote and never do. Literals that touch are one span, so that each profile has one way to be
 * tokenized. Profile `stable` is append-only: what was rendered stays, and the next spans go behind it;
 * models/render.py writes the same bytes, and the default model is trained on them.
 *
 * Profile `hf-compat` writes what the published Hermes 3 `tool_use` template writes, its quirks included (no
 * newline behind a tool turn, text beside calls dropped, descriptions not escaped, system text as a turn of
 * its own), with the beginning-of-text token it puts first. Without tools, where that template is not meant
 * to be used, it has no preamble. A conversation that grows while it is rendered in pieces keeps the last
 * tool turn of each piece as the template writes a last one.
 *
 * Functions that append note the first failure (-ENOBUFS for the ceiling, -ENOMEM, -EINVAL), do nothing from
 * then on, and render_spans() returns it. One thread at a time. */
#ifndef AGENT_RENDER_H
#define AGENT_RENDER_H

#include "agent/agent.h"
#include "base/buf.h"

struct render_mark;
struct tags_more;
struct render {
    enum agent_profile profile;
    const struct tags_more *more; /* sections beside those of agent/tags.h, borrowed; NULL = none */
    struct buf text;
    struct render_mark *marks; /* where spans begin in `text` */
    size_t n_marks, cap_marks;
    struct agent_span *spans; /* built by render_spans() */
    bool assistant_open;      /* an assistant turn has begun and not ended */
    int status;
};

/* `max`: ceiling of all text. */
void render_init(struct render *r, enum agent_profile profile, size_t max);
void render_finish(struct render *r);
/* Forgets the spans, keeps what is known about the open turn. */
void render_clear(struct render *r);

/* What stands before the first message: the tools (schemas must be JSON) and the system text; NULL or "" =
 * none. */
void render_prefix(struct render *r, const struct agent_tool *tools, size_t n_tools, const char *system);
/* JSON mode: the sentence that Hermes models are trained on, and the schema in it; NULL = none, and only the
 * sentence's first half. */
#define RENDER_SCHEMA_SENTENCE "Here's the json schema you must adhere to:"
#define RENDER_SCHEMA_OPEN     "<schema>"
#define RENDER_SCHEMA_CLOSE    "</schema>"
struct render_answer {
    const char *schema;
};
/* The same, with JSON mode's part between the tools and the system text; `answer` NULL = none. In profile
 * hf-compat it begins the turn of the system text. */
void render_prefix_for(struct render *r, const struct agent_tool *tools, size_t n_tools,
                       const struct render_answer *answer, const char *system);
/* A user's turn. Ends an open assistant turn, as the other turns do. */
void render_user(struct render *r, const char *text, size_t len);
/* A turn the model is said to have written: the tags of agent/tags.h in it are trusted, all else is not. The
 * turn stays open. */
void render_assistant(struct render *r, const char *text, size_t len);
/* A tool turn: render_response() once for each call, in call order, between these two. `last`: nothing is
 * known to follow. */
void render_responses_begin(struct render *r);
void render_response(struct render *r, const char *body, size_t len);
/* The same in two halves, of which the first does not need the body. */
void render_response_open(struct render *r);
void render_response_close(struct render *r, const char *body, size_t len);
void render_responses_end(struct render *r, bool last);
/* Ends an open assistant turn. */
void render_end(struct render *r);
/* Opens the assistant's turn for the model to write; an open one stays. */
void render_generate(struct render *r);
/* Behind render_generate(): the model's turn begins inside this reasoning section. */
void render_section(struct render *r, const char *section);

/* All spans since the last render_clear(), valid until the next call. */
HX_MUST_CHECK int render_spans(struct render *r, const struct agent_span **spans, size_t *n);

/* ---- bodies of <tool_response> ---- */

/* Appends {"name": …, "content": …}: content is `text` itself when it is JSON, else as a string. `truncated`:
 * it was cut, which makes it a string and is said. In profile stable no tag can be spelled inside. 0,
 * -ENOBUFS, -ENOMEM. */
HX_MUST_CHECK int render_body_ok(struct buf *out, enum agent_profile profile, const char *name,
                                 const char *text, size_t len, bool truncated);
/* Appends {"name": …, "error": …}; without a name only the error. */
HX_MUST_CHECK int render_body_error(struct buf *out, enum agent_profile profile, const char *name,
                                    const char *text, size_t len);

/* ---- for the profiles ---- */

/* Appends bytes to the span of this kind that is being written. */
void render_put(struct render *r, enum agent_span_kind kind, const char *text, size_t len);
void render_trusted(struct render *r, const char *literal);
/* Makes `kind` the kind of what is now written to r->text directly; the status of that goes to render_note().
 */
void render_begin(struct render *r, enum agent_span_kind kind);
void render_note(struct render *r, int status);

#endif
