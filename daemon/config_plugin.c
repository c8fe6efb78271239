#include "daemon/config_plugin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct config_plugin *find(const struct config *c, const char *name) {
    for (size_t i = 0; i < c->n_plugins; i++) {
        if (strcmp(c->plugins[i].name, name) == 0) {
            return &c->plugins[i];
        }
    }
    return NULL;
}

static struct config_plugin *add(struct config *c, const char *name) {
    struct config_plugin *grown = realloc(c->plugins, (c->n_plugins + 1) * sizeof *grown);
    if (grown == NULL) {
        return NULL;
    }
    c->plugins = grown;
    struct config_plugin *one = &grown[c->n_plugins];
    *one = (struct config_plugin){.name = strdup(name), .settings = cJSON_CreateObject()};
    if (one->name == NULL || one->settings == NULL) {
        free(one->name);
        cJSON_Delete(one->settings);
        return NULL;
    }
    c->n_plugins++;
    return one;
}

static cJSON *typed(const char *value) {
    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0) {
        return cJSON_CreateBool(value[0] == 't');
    }
    char *end = NULL;
    long n = strtol(value, &end, 10);
    if (end != value && *end == '\0' && strlen(value) < 16) {
        return cJSON_CreateNumber((double)n);
    }
    return cJSON_CreateString(value);
}

int config_plugin_set(struct config *c, const char *plugin, const char *key, const char *value,
                      enum config_origin origin) {
    struct config_plugin *one = find(c, plugin);
    one = one != NULL ? one : add(c, plugin);
    if (one == NULL) {
        return -ENOMEM;
    }
    bool known = cJSON_GetObjectItemCaseSensitive(one->settings, key) != NULL;
    if (known && one->origin > origin) {
        return 0;
    }
    cJSON *item = typed(value);
    if (item == NULL) {
        return -ENOMEM;
    }
    cJSON_DeleteItemFromObjectCaseSensitive(one->settings, key);
    if (!cJSON_AddItemToObject(one->settings, key, item)) {
        cJSON_Delete(item);
        return -ENOMEM;
    }
    one->origin = origin > one->origin ? origin : one->origin;
    free(one->json);
    one->json = NULL;
    return 0;
}

void config_plugin_finish(struct config *c) {
    for (size_t i = 0; i < c->n_plugins; i++) {
        free(c->plugins[i].name);
        cJSON_Delete(c->plugins[i].settings);
        free(c->plugins[i].json);
    }
    free(c->plugins);
    c->plugins = NULL;
    c->n_plugins = 0;
}

const char *config_plugin_json(void *config, const char *plugin_name) {
    struct config_plugin *one = find(config, plugin_name);
    if (one != NULL && one->json == NULL) {
        one->json = cJSON_PrintUnformatted(one->settings);
    }
    return one != NULL ? one->json : NULL;
}

int config_plugin_print(const struct config *c, struct buf *out) {
    int rc = 0;
    for (size_t i = 0; i < c->n_plugins && rc == 0; i++) {
        char *json = cJSON_PrintUnformatted(c->plugins[i].settings);
        rc = json == NULL ? -ENOMEM : buf_printf(out, "plugin.%-17s = %s\n", c->plugins[i].name, json);
        free(json);
    }
    return rc;
}
