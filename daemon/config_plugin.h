/* Settings for one plugin each: the sections [plugin.NAME] of a file, as JSON objects. */
#ifndef DAEMON_CONFIG_PLUGIN_H
#define DAEMON_CONFIG_PLUGIN_H

#include "daemon/config.h"

#include <cjson/cJSON.h>

struct config_plugin {
    char *name;
    cJSON *settings; /* an object */
    char *json;      /* its text, made when first asked for */
    enum config_origin origin;
};

/* `value` becomes true, false, a whole number or text. A setting of a higher origin stays. -ENOMEM. */
HX_MUST_CHECK int config_plugin_set(struct config *c, const char *plugin, const char *key, const char *value,
                                    enum config_origin origin);
void config_plugin_finish(struct config *c);
HX_MUST_CHECK int config_plugin_print(const struct config *c, struct buf *out);

#endif
