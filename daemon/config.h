/* The daemon's settings: one table of keys, each with a flag, an environment variable and a line in a file,
 * and the value that won with the place it came from. Order: flag > HERMESD_* > user file > system file >
 * default.
 *
 * A file is INI: `key = value` before any section or under [hermesd]; [plugin.NAME] holds settings for one
 * plugin, which get there as a JSON object. main thread, before the loop runs. */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum config_key {
    CONFIG_SOCKET,
    CONFIG_HTTP,
    CONFIG_HTTP_TOKEN_FILE,
    CONFIG_MODEL,
    CONFIG_MODEL_SHA256,
    CONFIG_SCRIPTED,
    CONFIG_STATE,
    CONFIG_WORKSPACE,
    CONFIG_DOCUMENTS,
    CONFIG_PLUGINS,
    CONFIG_WORKER,
    CONFIG_LOADER,
    CONFIG_DEVICE,
    CONFIG_DEVICES,
    CONFIG_CUDA_MODULE,
    CONFIG_GPU_WAIT_MS,
    CONFIG_THREADS,
    CONFIG_CONTEXT,
    CONFIG_KV,
    CONFIG_KV_BYTES,
    CONFIG_HOST_KV_BYTES,
    CONFIG_PREFIX_CACHE,
    CONFIG_MAX_JOBS,
    CONFIG_MAX_QUEUED,
    CONFIG_MAX_USER_JOBS,
    CONFIG_SHUTDOWN_GRACE_MS,
    CONFIG_ALLOW_PRIVATE_ADDRESSES,
    CONFIG_LOG_LEVEL,
    CONFIG_KEYS
};

enum config_type {
    CONFIG_TYPE_TEXT,
    CONFIG_TYPE_PATH,  /* made absolute */
    CONFIG_TYPE_PATHS, /* separated by colons, each made absolute; repeats of one origin add up */
    CONFIG_TYPE_INT,
    CONFIG_TYPE_SIZE, /* bytes; K, M and G are powers of 1024 */
    CONFIG_TYPE_BOOL,
};

struct config_entry {
    const char *name; /* in files; the flag is the same with dashes */
    const char *env;
    enum config_type type;
    int64_t min, max; /* INT and SIZE */
    const char *arg;  /* for --help; NULL: the flag takes none */
    const char *help;
};
extern const struct config_entry config_table[CONFIG_KEYS];

enum config_origin {
    CONFIG_FROM_DEFAULT,
    CONFIG_FROM_SYSTEM_FILE,
    CONFIG_FROM_USER_FILE,
    CONFIG_FROM_ENVIRONMENT,
    CONFIG_FROM_FLAG,
};

struct config_value {
    char *text; /* owned; NULL: not set */
    int64_t number;
    enum config_origin origin;
    char *where; /* "--socket", "HERMESD_SOCKET", the file's path, "default" */
};

struct config_plugin;

struct config {
    struct config_value values[CONFIG_KEYS];
    struct config_plugin *plugins;
    size_t n_plugins;
};

void config_init(struct config *c);
void config_finish(struct config *c);

/* Sets a value unless one of a higher origin is there. -EINVAL with a sentence that names `where` and the
 * key; -ENOMEM. */
HX_MUST_CHECK int config_set(struct config *c, enum config_key key, const char *text,
                             enum config_origin origin, const char *where, char *err, size_t errlen);
/* -1 for a name that no key has. Dashes count as underscores. */
int config_find(const char *name, size_t len);
/* The known name that is nearest to `name`, or NULL. */
const char *config_suggest(const char *name);

/* Reads a file. A missing one is fine unless `required`. -EINVAL with file and line. */
HX_MUST_CHECK int config_read_file(struct config *c, const char *path, enum config_origin origin,
                                   bool required, char *err, size_t errlen);
/* Everything but the flags, which the caller has set: environment, files, defaults. `file`: --config, NULL
 * for none; then it takes the user file's place. */
HX_MUST_CHECK int config_load(struct config *c, const char *file, char *err, size_t errlen);
/* Fills what is not set. */
HX_MUST_CHECK int config_fill_defaults(struct config *c, char *err, size_t errlen);
/* Looks at what can be judged without starting: exclusive settings, files that must exist. */
HX_MUST_CHECK int config_check(const struct config *c, char *err, size_t errlen);

const char *config_text(const struct config *c, enum config_key key); /* NULL: not set */
int64_t config_int(const struct config *c, enum config_key key);      /* INT, SIZE, BOOL */
/* "host" and port of CONFIG_HTTP. -EINVAL. */
HX_MUST_CHECK int config_http(const struct config *c, char host[64], int *port, char *err, size_t errlen);
/* Settings of a plugin as JSON, NULL for none; fits tools_config.plugin_config with the config as arg. */
const char *config_plugin_json(void *config, const char *plugin_name);
/* "name = value   # origin", a line each. */
HX_MUST_CHECK int config_print(const struct config *c, struct buf *out);

#endif
