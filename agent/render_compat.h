/* The system turn of the published Hermes 3 `tool_use` template. */
#ifndef AGENT_RENDER_COMPAT_H
#define AGENT_RENDER_COMPAT_H

#include "agent/render.h"

/* For n_tools > 0. Types the template cannot name (it ends in an endless recursion for "null") are "Any". */
void render_compat_tools(struct render *r, const struct agent_tool *tools, size_t n_tools);

#endif
