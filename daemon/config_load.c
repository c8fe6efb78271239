/* Where settings come from besides flags: files, the environment, and what is built in. */
#include "daemon/config.h"
#include "daemon/config_plugin.h"
#include "daemon/model_sum.h"

#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYSTEM_FILE "/etc/hermesd/hermesd.conf"

/* ---- files ---- */

struct reading {
    struct config *config;
    const char *path;
    enum config_origin origin;
    bool seen[CONFIG_KEYS];
    char err[512]; /* the first thing that is wrong */
};

static int wrong(struct reading *r, const char *fmt, const char *a, const char *b) {
    if (r->err[0] == '\0') {
        (void)!err_set(r->err, sizeof r->err, 0, fmt, a, b);
    }
    return 0;
}

static int on_setting(void *arg, const char *section, const char *name, const char *value) {
    struct reading *r = arg;
    if (strncmp(section, "plugin.", 7) == 0 && section[7] != '\0') {
        return config_plugin_set(r->config, section + 7, name, value, r->origin) == 0 ||
               wrong(r, "memory is out%s%s", "", "");
    }
    if (section[0] != '\0' && strcmp(section, "hermesd") != 0) {
        return wrong(r, "there is no section [%s]; use [hermesd] or [plugin.NAME]%s", section, "");
    }
    int key = config_find(name, strlen(name));
    if (key < 0) {
        const char *near = config_suggest(name);
        return near != NULL ? wrong(r, "there is no setting '%s'; did you mean '%s'?", name, near)
                            : wrong(r, "there is no setting '%s'%s", name, "");
    }
    if (r->seen[key] && config_table[key].type != CONFIG_TYPE_PATHS) {
        return wrong(r, "'%s' is set twice%s", name, "");
    }
    r->seen[key] = true;
    char err[400] = "";
    if (config_set(r->config, (enum config_key)key, value, r->origin, r->path, err, sizeof err) != 0) {
        /* The sentence begins with the path, which the caller writes with the line. */
        size_t skip = strncmp(err, r->path, strlen(r->path)) == 0 ? strlen(r->path) + 2 : 0;
        return wrong(r, "%s%s", err + skip, "");
    }
    return 1;
}

int config_read_file(struct config *c, const char *path, enum config_origin origin, bool required, char *err,
                     size_t errlen) {
    struct reading r = {.config = c, .path = path, .origin = origin};
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return errno == ENOENT && !required
                   ? 0
                   : err_set(err, errlen, -errno, "cannot read the config file %s: %s", path,
                             strerror(errno));
    }
    int line = ini_parse_file(file, on_setting, &r);
    bool failed = ferror(file) != 0;
    fclose(file);
    if (failed) {
        return err_set(err, errlen, -EIO, "cannot read the config file %s", path);
    }
    if (line < 0) {
        return err_set(err, errlen, -ENOMEM, "memory is out while reading %s", path);
    }
    if (line > 0) {
        return err_set(err, errlen, -EINVAL, "%s:%d: %s", path, line,
                       r.err[0] != '\0' ? r.err : "this is no 'key = value', [section] or ; comment");
    }
    return 0;
}

/* "$VAR/rest", or "$HOME/home_rest"; false when neither is known. */
static bool under(char out[PATH_MAX], const char *variable, const char *rest, const char *home_rest) {
    const char *base = getenv(variable);
    int n = 0;
    if (base != NULL && base[0] == '/') {
        n = snprintf(out, PATH_MAX, "%s/%s", base, rest);
    } else if (home_rest != NULL && (base = getenv("HOME")) != NULL && base[0] == '/') {
        n = snprintf(out, PATH_MAX, "%s/%s", base, home_rest);
    }
    return n > 0 && n < PATH_MAX;
}

int config_load(struct config *c, const char *file, char *err, size_t errlen) {
    char path[PATH_MAX];
    int rc = 0;
    file = file != NULL ? file : getenv("HERMESD_CONFIG");
    for (int i = 0; i < CONFIG_KEYS && rc == 0; i++) {
        const char *value = getenv(config_table[i].env);
        if (value != NULL && value[0] != '\0') {
            rc = config_set(c, (enum config_key)i, value, CONFIG_FROM_ENVIRONMENT, config_table[i].env, err,
                            errlen);
        }
    }
    if (rc == 0) {
        rc = config_read_file(c, SYSTEM_FILE, CONFIG_FROM_SYSTEM_FILE, false, err, errlen);
    }
    if (rc == 0 && file != NULL && file[0] != '\0') {
        rc = config_read_file(c, file, CONFIG_FROM_USER_FILE, true, err, errlen);
    } else if (rc == 0 &&
               under(path, "XDG_CONFIG_HOME", "hermesd/hermesd.conf", ".config/hermesd/hermesd.conf")) {
        rc = config_read_file(c, path, CONFIG_FROM_USER_FILE, false, err, errlen);
    }
    return rc == 0 ? config_fill_defaults(c, err, errlen) : rc;
}

/* ---- defaults ---- */

static int fill(struct config *c, enum config_key key, const char *text, char *err, size_t errlen) {
    return c->values[key].where == NULL
               ? config_set(c, key, text, CONFIG_FROM_DEFAULT, "default", err, errlen)
               : 0;
}

/* Folder of this executable, without a slash at its end. */
static bool own_folder(char out[PATH_MAX]) {
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    if (n <= 0) {
        return false;
    }
    out[n] = '\0';
    char *slash = strrchr(out, '/');
    if (slash == NULL) {
        return false;
    }
    *slash = '\0';
    return true;
}

/* The first of `places`, relative to the executable, that exists; the first one where none does. */
static int fill_place(struct config *c, enum config_key key, const char *const *places, char *err,
                      size_t errlen) {
    char folder[PATH_MAX];
    char path[2 * PATH_MAX];
    char real[PATH_MAX];
    if (c->values[key].where != NULL || !own_folder(folder)) {
        return 0;
    }
    for (size_t i = 0; places[i] != NULL; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, places[i]);
        if (realpath(path, real) != NULL) {
            return fill(c, key, real, err, errlen);
        }
    }
    snprintf(path, sizeof path, "%s/%s", folder, places[0]);
    return fill(c, key, path, err, errlen);
}

static int fill_numbers(struct config *c, char *err, size_t errlen) {
    static const struct {
        enum config_key key;
        const char *text;
    } defaults[] = {
        {CONFIG_DEVICE, "auto"},
        {CONFIG_DEVICES, "0"},
        {CONFIG_THREADS, "0"},
        {CONFIG_CONTEXT, "0"},
        {CONFIG_KV, "f16"},
        {CONFIG_KV_BYTES, "0"},
        {CONFIG_HOST_KV_BYTES, "0"},
        {CONFIG_PREFIX_CACHE, "256M"},
        {CONFIG_MAX_JOBS, "8"},
        {CONFIG_MAX_QUEUED, "256"},
        {CONFIG_MAX_USER_JOBS, "64"},
        {CONFIG_LOG_LEVEL, "info"},
        {CONFIG_GPU_WAIT_MS, "60000"}, /* CUDA_WAIT_MS says why */
        {CONFIG_SHUTDOWN_GRACE_MS, "30000"},
        {CONFIG_ALLOW_PRIVATE_ADDRESSES, "false"},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults && rc == 0; i++) {
        rc = fill(c, defaults[i].key, defaults[i].text, err, errlen);
    }
    return rc;
}

/* A model from a file does not stand in the way of --scripted, nor the other way round. */
static void prefer(struct config_value *a, struct config_value *b) {
    if (a->where != NULL && b->where != NULL && a->origin != b->origin) {
        struct config_value *weaker = a->origin < b->origin ? a : b;
        free(weaker->text);
        weaker->text = NULL;
    }
}

int config_fill_defaults(struct config *c, char *err, size_t errlen) {
    static const char *const models[] = {"../../../models/hermes-tiny.gguf",
                                         "../share/hermesd/models/hermes-tiny.gguf", NULL};
    static const char *const workers[] = {"hermes-worker", "../libexec/hermesd/hermes-worker", NULL};
    static const char *const loaders[] = {"hermes-loader", "../libexec/hermesd/hermes-loader", NULL};
    static const char *const modules[] = {"../lib/hermes-cuda.so",
                                          "../" HERMESD_LIBDIR "/hermesd/hermes-cuda.so", NULL};
    static const char *const plugins[] = {"../plugins", "../" HERMESD_LIBDIR "/hermesd/plugins", NULL};
    char path[PATH_MAX];
    prefer(&c->values[CONFIG_MODEL], &c->values[CONFIG_SCRIPTED]);
    int rc = fill_numbers(c, err, errlen);
    if (rc == 0 && under(path, "XDG_RUNTIME_DIR", "hermesd/api.sock", NULL)) {
        rc = fill(c, CONFIG_SOCKET, path, err, errlen);
    }
    if (rc == 0) {
        rc = fill(c, CONFIG_SOCKET, "/run/hermesd/api.sock", err, errlen);
    }
    if (rc == 0 && geteuid() != 0 && under(path, "XDG_STATE_HOME", "hermesd", ".local/state/hermesd")) {
        rc = fill(c, CONFIG_STATE, path, err, errlen);
    } else if (rc == 0 && under(path, "XDG_STATE_HOME", "hermesd", NULL)) {
        rc = fill(c, CONFIG_STATE, path, err, errlen);
    }
    if (rc == 0) {
        rc = fill(c, CONFIG_STATE, "/var/lib/hermesd", err, errlen);
    }
    if (rc == 0 && config_text(c, CONFIG_SCRIPTED) == NULL) {
        rc = fill_place(c, CONFIG_MODEL, models, err, errlen);
    }
    if (rc == 0) {
        rc = fill_place(c, CONFIG_WORKER, workers, err, errlen);
    }
    if (rc == 0) {
        rc = fill_place(c, CONFIG_LOADER, loaders, err, errlen);
    }
    if (rc == 0) {
        rc = fill_place(c, CONFIG_CUDA_MODULE, modules, err, errlen);
    }
    if (rc == 0 && c->values[CONFIG_PLUGINS].where == NULL) {
        rc = fill_place(c, CONFIG_PLUGINS, plugins, err, errlen);
        if (rc == 0 && under(path, "XDG_DATA_HOME", "hermesd/plugins", ".local/share/hermesd/plugins") &&
            access(path, F_OK) == 0) {
            rc = config_set(c, CONFIG_PLUGINS, path, CONFIG_FROM_DEFAULT, "default", err, errlen);
        }
    }
    return rc;
}

/* ---- judging ---- */

int config_http(const struct config *c, char host[64], int *port, char *err, size_t errlen) {
    const char *text = config_text(c, CONFIG_HTTP);
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    long n = colon != NULL ? strtol(colon + 1, &end, 10) : -1;
    size_t len = colon != NULL ? (size_t)(colon - text) : 0;
    const char *name = text;
    if (len > 2 && name[0] == '[' && name[len - 1] == ']') {
        name++;
        len -= 2;
    }
    if (colon == NULL || len == 0 || len >= 64 || end == colon + 1 || *end != '\0' || n < 0 || n > 65535) {
        return err_set(err, errlen, -EINVAL, "%s: http is '%s'; it must be HOST:PORT, such as 127.0.0.1:8765",
                       c->values[CONFIG_HTTP].where, text);
    }
    bool local = len == 9 && memcmp(name, "localhost", 9) == 0;
    snprintf(host, 64, "%.*s", (int)(local ? 9 : len), local ? "127.0.0.1" : name);
    *port = (int)n;
    return 0;
}

static int check_folder(const struct config *c, enum config_key key, char *err, size_t errlen) {
    struct stat st;
    const char *path = config_text(c, key);
    if (path == NULL) {
        return 0;
    }
    if (stat(path, &st) != 0) {
        return err_set(err, errlen, -errno, "%s: the %s folder %s cannot be used: %s", c->values[key].where,
                       config_table[key].name, path, strerror(errno));
    }
    return S_ISDIR(st.st_mode) ? 0
                               : err_set(err, errlen, -ENOTDIR, "%s: the %s folder %s is no folder",
                                         c->values[key].where, config_table[key].name, path);
}

int config_check(const struct config *c, char *err, size_t errlen) {
    const char *model = config_text(c, CONFIG_MODEL);
    const char *scripted = config_text(c, CONFIG_SCRIPTED);
    char host[64];
    int port = 0;
    if (model != NULL && scripted != NULL) {
        return err_set(err, errlen, -EINVAL, "model (%s) and scripted (%s) cannot both be set",
                       c->values[CONFIG_MODEL].where, c->values[CONFIG_SCRIPTED].where);
    }
    if (model == NULL && scripted == NULL) {
        return err_set(err, errlen, -EINVAL, "no model is set; give one with --model FILE");
    }
    const char *sum = config_text(c, CONFIG_MODEL_SHA256);
    if (sum != NULL && !model_sum_is_one(sum)) {
        return err_set(err, errlen, -EINVAL, "%s: model_sha256 is '%s'; it must be 64 hexadecimal digits",
                       c->values[CONFIG_MODEL_SHA256].where, sum);
    }
    const char *file = model != NULL ? model : scripted;
    if (access(file, R_OK) != 0) {
        return err_set(err, errlen, -errno, "the model %s cannot be read: %s; give one with --model FILE",
                       file, strerror(errno));
    }
    if (config_text(c, CONFIG_HTTP) != NULL) {
        int rc = config_http(c, host, &port, err, errlen);
        if (rc != 0) {
            return rc;
        }
        if (config_text(c, CONFIG_HTTP_TOKEN_FILE) == NULL) {
            return err_set(err, errlen, -EINVAL,
                           "http needs a token: give --http-token-file FILE, a file of yours with mode 0600");
        }
    }
    int rc = check_folder(c, CONFIG_WORKSPACE, err, errlen);
    return rc == 0 ? check_folder(c, CONFIG_DOCUMENTS, err, errlen) : rc;
}
