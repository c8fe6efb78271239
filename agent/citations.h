/* Which passages an answer cites, and whether the conversation has them.
 *
 * A citation is <co>id</co> in the visible text, id being that of a passage: one the job was given, or one in
 * a tool's result of the form {"passages": [{"id": …, "text": …}, …]}. Several ids stand in one tag with a
 * comma between them. A citation of something else is kept and says so. Pure; one thread at a time. */
#ifndef AGENT_CITATIONS_H
#define AGENT_CITATIONS_H

#include "agent/agent.h"

#define CITATIONS_PASSAGES_MAX 20000
#define CITATIONS_MAX          2000 /* of one answer */
#define CITATIONS_ID_MAX       256  /* bytes; a longer one is cut, and resolves to nothing */

struct citations_passage;
struct citations {
    struct citations_passage *passages;
    size_t n_passages, cap_passages;
    struct agent_citation *found; /* of the last citations_find(); their ids are owned */
    size_t n_found;
};

void citations_init(struct citations *c);
void citations_finish(struct citations *c);
/* A passage with this id; call -1: the job was given it. Above the ceiling it is not kept. -ENOMEM. */
HX_MUST_CHECK int citations_add(struct citations *c, const char *id, int call);
/* The passages of a call's result; any other text has none. -ENOMEM. */
HX_MUST_CHECK int citations_add_result(struct citations *c, int call, const char *text, size_t len);
/* Finds the citations of an answer, in order, in place of those found before. -ENOMEM. */
HX_MUST_CHECK int citations_find(struct citations *c, const char *answer, size_t len);

#endif
