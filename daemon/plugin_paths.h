/* "a:b:c" as a NULL-terminated list, for tools_config.plugin_paths. */
#ifndef DAEMON_PLUGIN_PATHS_H
#define DAEMON_PLUGIN_PATHS_H

#include "base/err.h"

#include <stddef.h>

struct plugin_paths {
    char *text;         /* owned; cut into the items */
    const char **items; /* owned; NULL-terminated */
};

/* NULL and "" give an empty list. -ENOMEM. */
HX_MUST_CHECK int plugin_paths_split(struct plugin_paths *paths, const char *text, char *err, size_t errlen);
void plugin_paths_finish(struct plugin_paths *paths);

#endif
