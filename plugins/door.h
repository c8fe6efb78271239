/* What the shipped plugins share at the plugin interface: settings, arguments, replies, cancellation. A
 * plugin of your own does not need it: see hello.c and the inline functions of hermes_plugin.h. */
#ifndef PLUGINS_DOOR_H
#define PLUGINS_DOOR_H

#include "plugins/hermes_plugin.h"
#include "plugins/text.h"

#include <cjson/cJSON.h>
#include <stdbool.h>

/* One call and its plugin's host; lives on the stack of the tool's function. */
struct door_call {
    const hermes_host *host;
    hermes_call *call;
};

/* init of a plugin without settings: its state is the host. */
int door_init_host(const hermes_host *host, hermes_str config_json, void **state);

/* State of a plugin that works in the workspace: the folder is opened by the first call. */
struct door_folder {
    const hermes_host *host;
    char *path; /* NULL: none is configured */
    int fd;     /* -1 until opened */
};
int door_init_workspace(const hermes_host *host, hermes_str config_json, void **state);
void door_folder_fini(void *state);
/* The folder's descriptor, which stays the state's, or -errno with a sentence. */
int door_folder_open(struct door_folder *folder, char *err, size_t errlen);

/* A setting of the plugin's configuration, copied (free() it): NULL when absent, empty or not a string. */
char *door_setting(hermes_str config_json, const char *key);
/* False when absent. */
bool door_setting_flag(hermes_str config_json, const char *key);

/* The arguments as an object that the caller deletes; NULL when there is no memory. They have been checked
 * against the schema. */
cJSON *door_arguments(hermes_str args_json);
/* A string argument, borrowed, or `fallback`. */
const char *door_string(const cJSON *arguments, const char *key, const char *fallback);

/* Writes the result and gives the status to return; a text that did not fit its ceiling becomes an error.
 * Finishes `result`. */
int door_reply(const struct door_call *c, struct text *result);
/* {"key": "value"}. */
int door_reply_pair(const struct door_call *c, const char *key, const char *value);
/* Writes the sentence for the model and returns `code`, HERMES_E_…. */
int door_refuse(const struct door_call *c, int code, const char *sentence);
/* The code for a negative errno. */
int door_code(int status);

/* Whether to stop: cancelled, or less than 50 ms left. `arg` is a struct door_call. */
bool door_should_stop(void *arg);

#endif
