#include "daemon/config.h"

#include "base/json.h"
#include "base/log.h"
#include "daemon/config_plugin.h"
#include "engine/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define GIB ((int64_t)1 << 30)

const struct config_entry config_table[CONFIG_KEYS] = {
    [CONFIG_SOCKET] = {"socket", "HERMESD_SOCKET", CONFIG_TYPE_TEXT, 0, 0, "PATH", "Unix socket of the API"},
    [CONFIG_HTTP] = {"http", "HERMESD_HTTP", CONFIG_TYPE_TEXT, 0, 0, "HOST:PORT",
                     "also listen on loopback TCP, with a token"},
    [CONFIG_HTTP_TOKEN_FILE] = {"http_token_file", "HERMESD_HTTP_TOKEN_FILE", CONFIG_TYPE_PATH, 0, 0, "FILE",
                                "file whose first line is that token"},
    [CONFIG_MODEL] = {"model", "HERMESD_MODEL", CONFIG_TYPE_PATH, 0, 0, "FILE",
                      "GGUF file or Hugging Face folder"},
    [CONFIG_MODEL_SHA256] =
        {"model_sha256", "HERMESD_MODEL_SHA256", CONFIG_TYPE_TEXT, 0, 0, "HEX",
         "SHA-256 that the model must have; of several files that of what sha256sum prints for "
         "them"},
    [CONFIG_SCRIPTED] = {"scripted", "HERMESD_SCRIPTED", CONFIG_TYPE_PATH, 0, 0, "FILE",
                         "replay the texts of FILE in place of a model"},
    [CONFIG_STATE] = {"state", "HERMESD_STATE", CONFIG_TYPE_PATH, 0, 0, "DIR",
                      "folder of the journal and of what tools keep"},
    [CONFIG_WORKSPACE] = {"workspace", "HERMESD_WORKSPACE", CONFIG_TYPE_PATH, 0, 0, "DIR",
                          "folder that file tools may use"},
    [CONFIG_DOCUMENTS] = {"documents", "HERMESD_DOCUMENTS", CONFIG_TYPE_PATH, 0, 0, "DIR",
                          "folder of text documents for retrieve"},
    [CONFIG_PLUGINS] = {"plugins", "HERMESD_PLUGIN_PATH", CONFIG_TYPE_PATHS, 0, 0, "PATH",
                        "folder of plugins, or one .so file; may be repeated"},
    [CONFIG_WORKER] = {"worker", "HERMESD_WORKER", CONFIG_TYPE_PATH, 0, 0, "FILE",
                       "the hermes-worker executable"},
    [CONFIG_LOADER] = {"loader", "HERMESD_LOADER", CONFIG_TYPE_PATH, 0, 0, "FILE",
                       "the hermes-loader executable, which reads a model before the daemon does"},
    [CONFIG_DEVICE] = {"device", "HERMESD_DEVICE", CONFIG_TYPE_TEXT, 0, 0, "DEVICE",
                       "what runs the model: cuda, cpu, or auto for a GPU where there is one"},
    [CONFIG_DEVICES] = {"devices", "HERMESD_DEVICES", CONFIG_TYPE_TEXT, 0, 0, "N,N",
                        "which GPUs share the model, by number: 0, or 0,1 for two"},
    [CONFIG_CUDA_MODULE] = {"cuda_module", "HERMESD_CUDA_MODULE", CONFIG_TYPE_PATH, 0, 0, "FILE",
                            "the module that drives a GPU"},
    [CONFIG_GPU_WAIT_MS] = {"gpu_wait_ms", "HERMESD_GPU_WAIT_MS", CONFIG_TYPE_INT, 100, 86400000, "MS",
                            "a GPU that is waited for longer hangs: the daemon ends with 75, to be started "
                            "again"},
    [CONFIG_THREADS] = {"threads", "HERMESD_THREADS", CONFIG_TYPE_INT, 0, 1024, "N",
                        "compute threads; 0 for one per CPU"},
    [CONFIG_CONTEXT] = {"context", "HERMESD_CONTEXT", CONFIG_TYPE_INT, 0, 131072, "N",
                        "tokens of one job; 0 for what the model was made for"},
    [CONFIG_KV] = {"kv", "HERMESD_KV", CONFIG_TYPE_TEXT, 0, 0, "TYPE",
                   "what keys and values are kept in: f16, f32, or q8 for half the memory"},
    [CONFIG_KV_BYTES] = {"kv_bytes", "HERMESD_KV_BYTES", CONFIG_TYPE_SIZE, 0, 65536 * GIB, "SIZE",
                         "memory for keys and values; 0 for a quarter of the machine's"},
    [CONFIG_HOST_KV_BYTES] = {"host_kv_bytes", "HERMESD_HOST_KV_BYTES", CONFIG_TYPE_SIZE, 0, 65536 * GIB,
                              "SIZE",
                              "memory for keys and values that a GPU has no room for; 0 for a quarter of the "
                              "machine's, with a GPU"},
    [CONFIG_PREFIX_CACHE] = {"prefix_cache", "HERMESD_PREFIX_CACHE", CONFIG_TYPE_SIZE, 0, 65536 * GIB, "SIZE",
                             "disk for beginnings of prompts that jobs had in common; 0 for none"},
    [CONFIG_MAX_JOBS] = {"max_jobs", "HERMESD_MAX_JOBS", CONFIG_TYPE_INT, 1, 256, "N",
                         "jobs that work at once"},
    [CONFIG_MAX_QUEUED] = {"max_queued", "HERMESD_MAX_QUEUED", CONFIG_TYPE_INT, 0, 100000, "N",
                           "jobs that may wait"},
    [CONFIG_MAX_USER_JOBS] = {"max_user_jobs", "HERMESD_MAX_USER_JOBS", CONFIG_TYPE_INT, 1, 100000, "N",
                              "unfinished jobs of one user"},
    [CONFIG_SHUTDOWN_GRACE_MS] = {"shutdown_grace_ms", "HERMESD_SHUTDOWN_GRACE_MS", CONFIG_TYPE_INT, 0,
                                  600000, "MS", "time that running jobs get when the daemon stops"},
    [CONFIG_ALLOW_PRIVATE_ADDRESSES] = {"allow_private_addresses", "HERMESD_ALLOW_PRIVATE_ADDRESSES",
                                        CONFIG_TYPE_BOOL, 0, 1, NULL,
                                        "http_fetch may reach loopback and private networks"},
    [CONFIG_LOG_LEVEL] = {"log_level", "HERMESD_LOG_LEVEL", CONFIG_TYPE_TEXT, 0, 0, "LEVEL",
                          "debug, info, warn or error"},
};

void config_init(struct config *c) {
    memset(c, 0, sizeof *c);
}

void config_finish(struct config *c) {
    for (int i = 0; i < CONFIG_KEYS; i++) {
        free(c->values[i].text);
        free(c->values[i].where);
    }
    config_plugin_finish(c);
    memset(c, 0, sizeof *c);
}

int config_find(const char *name, size_t len) {
    for (int i = 0; i < CONFIG_KEYS; i++) {
        const char *known = config_table[i].name;
        size_t k = 0;
        while (k < len && known[k] != '\0' && (known[k] == name[k] || (known[k] == '_' && name[k] == '-'))) {
            k++;
        }
        if (k == len && known[k] == '\0') {
            return i;
        }
    }
    return -1;
}

/* Edit distance, for short names. */
static size_t distance(const char *a, const char *b) {
    size_t row[64];
    size_t b_len = strlen(b);
    if (b_len >= 64) {
        return b_len;
    }
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t best = row[j - 1] < row[j] ? row[j - 1] + 1 : row[j] + 1;
            row[j] = change < best ? change : best;
        }
    }
    return row[b_len];
}

const char *config_suggest(const char *name) {
    const char *best = NULL;
    size_t best_distance = 4;
    for (int i = 0; i < CONFIG_KEYS; i++) {
        size_t d = distance(name, config_table[i].name);
        if (d < best_distance) {
            best_distance = d;
            best = config_table[i].name;
        }
    }
    return best;
}

/* ---- one value ---- */

static int parse_number(const struct config_entry *entry, const char *text, int64_t *out) {
    char *end = NULL;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (end == text || errno != 0) {
        return -EINVAL;
    }
    int shift = 0;
    if (entry->type == CONFIG_TYPE_SIZE && *end != '\0') {
        static const char units[] = "KMGkmg";
        const char *unit = strchr(units, *end);
        shift = unit != NULL ? 10 * (int)((unit - units) % 3 + 1) : 0;
        end += unit != NULL ? 1 : 0;
        if (strcasecmp(end, "iB") == 0 || strcasecmp(end, "B") == 0) {
            end += strlen(end);
        }
    }
    if (*end != '\0' || n < 0 || n > (INT64_MAX >> shift)) {
        return -EINVAL;
    }
    *out = (int64_t)n << shift;
    return *out >= entry->min && *out <= entry->max ? 0 : -EINVAL;
}

static int parse_bool(const char *text, int64_t *out) {
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < 4; i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *out = strcasecmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return -EINVAL;
}

/* "~/x" and relative paths, made whole. */
static int add_path(struct buf *out, const char *text, size_t len, bool absolute) {
    char *folder = NULL;
    int rc = 0;
    if (len >= 2 && text[0] == '~' && text[1] == '/' && getenv("HOME") != NULL) {
        rc = buf_puts(out, getenv("HOME"));
        text++;
        len--;
    } else if (absolute && len > 0 && text[0] != '/') {
        folder = getcwd(NULL, 0);
        rc = folder == NULL ? -errno : buf_puts(out, folder);
        rc = rc == 0 ? buf_putc(out, '/') : rc;
        free(folder);
    }
    return rc == 0 ? buf_append(out, text, len) : rc;
}

static int whole_text(const struct config_entry *entry, const char *text, struct buf *out) {
    if (entry->type == CONFIG_TYPE_PATHS) {
        int rc = 0;
        while (rc == 0 && *text != '\0') {
            size_t len = strcspn(text, ":");
            if (len > 0) {
                rc = out->len > 0 ? buf_putc(out, ':') : 0;
                rc = rc == 0 ? add_path(out, text, len, true) : rc;
            }
            text += len + (text[len] == ':');
        }
        return rc;
    }
    return add_path(out, text, strlen(text), entry->type == CONFIG_TYPE_PATH);
}

static int bad_value(const struct config_entry *entry, const char *text, const char *where, char *err,
                     size_t errlen) {
    switch (entry->type) {
    case CONFIG_TYPE_BOOL:
        return err_set(err, errlen, -EINVAL, "%s: %s is '%s'; it must be true or false", where, entry->name,
                       text);
    case CONFIG_TYPE_SIZE:
        return err_set(err, errlen, -EINVAL,
                       "%s: %s is '%s'; it must be a number of bytes, such as 512M or 2G", where, entry->name,
                       text);
    default:
        return err_set(err, errlen, -EINVAL, "%s: %s is '%s'; it must be a number from %lld to %lld", where,
                       entry->name, text, (long long)entry->min, (long long)entry->max);
    }
}

int config_set(struct config *c, enum config_key key, const char *text, enum config_origin origin,
               const char *where, char *err, size_t errlen) {
    const struct config_entry *entry = &config_table[key];
    struct config_value *value = &c->values[key];
    int64_t number = 0;
    int rc = 0;
    if (entry->type == CONFIG_TYPE_INT || entry->type == CONFIG_TYPE_SIZE) {
        rc = parse_number(entry, text, &number);
    } else if (entry->type == CONFIG_TYPE_BOOL) {
        rc = parse_bool(text, &number);
    } else if (key == CONFIG_LOG_LEVEL) {
        enum log_level level;
        if (log_level_parse(text, &level) != 0) {
            return err_set(err, errlen, -EINVAL,
                           "%s: log_level is '%s'; it must be debug, info, warn or error", where, text);
        }
    } else if (key == CONFIG_DEVICE && strcmp(text, "auto") != 0 && strcmp(text, "cpu") != 0 &&
               strcmp(text, "cuda") != 0) {
        return err_set(err, errlen, -EINVAL, "%s: device is '%s'; it must be auto, cpu or cuda", where, text);
    } else if (key == CONFIG_DEVICES) {
        struct gpus gpus;
        if (gpus_parse(text, &gpus) != 0) {
            return err_set(err, errlen, -EINVAL,
                           "%s: devices is '%s'; it must be numbers of GPUs apart by commas, such as 0,1, "
                           "each once, from 0 to %d, at most %d of them",
                           where, text, GPUS_LARGEST, GPUS_MAX);
        }
    } else if (key == CONFIG_KV) {
        enum engine_kv kv;
        if (engine_kv_parse(text, &kv) != 0) {
            return err_set(err, errlen, -EINVAL, "%s: kv is '%s'; it must be f16, f32 or q8", where, text);
        }
    }
    if (rc != 0) {
        return bad_value(entry, text, where, err, errlen);
    }
    if (value->where != NULL && value->origin > origin) {
        return 0;
    }
    struct buf whole;
    buf_init(&whole, 65536);
    bool more = value->where != NULL && value->origin == origin && entry->type == CONFIG_TYPE_PATHS;
    rc = more ? buf_puts(&whole, value->text) : 0;
    rc = rc == 0 ? whole_text(entry, text, &whole) : rc;
    size_t len = 0;
    char *kept = rc == 0 ? buf_take(&whole, &len) : NULL;
    char *from = strdup(where);
    buf_finish(&whole);
    if (kept == NULL || from == NULL) {
        free(kept);
        free(from);
        return err_set(err, errlen, rc == 0 ? -ENOMEM : rc, "%s: %s is too long, or memory is out", where,
                       entry->name);
    }
    free(value->text);
    free(value->where);
    *value = (struct config_value){.text = kept, .number = number, .origin = origin, .where = from};
    return 0;
}

const char *config_text(const struct config *c, enum config_key key) {
    const char *text = c->values[key].text;
    return text != NULL && text[0] != '\0' ? text : NULL;
}

int64_t config_int(const struct config *c, enum config_key key) {
    return c->values[key].number;
}

int config_print(const struct config *c, struct buf *out) {
    int rc = 0;
    for (int i = 0; i < CONFIG_KEYS && rc == 0; i++) {
        const struct config_value *value = &c->values[i];
        rc = buf_printf(out, "%-24s = %s%s# %s\n", config_table[i].name,
                        value->text != NULL ? value->text : "",
                        value->text != NULL && value->text[0] != '\0' ? "   " : "",
                        value->where != NULL ? value->where : "not set");
    }
    return rc == 0 ? config_plugin_print(c, out) : rc;
}
