#include "plugins/door.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static cJSON *parse(hermes_str json) {
    return cJSON_ParseWithLength(json.p, json.n);
}

int door_init_host(const hermes_host *host, hermes_str config_json, void **state) {
    (void)config_json;
    *state = (void *)(uintptr_t)host;
    return HERMES_OK;
}

int door_init_workspace(const hermes_host *host, hermes_str config_json, void **state) {
    struct door_folder *folder = calloc(1, sizeof *folder);
    if (folder == NULL)
        return HERMES_E_INTERNAL;
    folder->host = host;
    folder->fd = -1;
    folder->path = door_setting(config_json, "workspace");
    *state = folder;
    return HERMES_OK;
}

void door_folder_fini(void *state) {
    struct door_folder *folder = state;
    if (folder->fd >= 0)
        close(folder->fd);
    free(folder->path);
    free(folder);
}

int door_folder_open(struct door_folder *folder, char *err, size_t errlen) {
    if (folder->fd >= 0)
        return folder->fd;
    if (folder->path == NULL) {
        snprintf(err, errlen, "no workspace is configured");
        return -ENOENT;
    }
    int fd = open(folder->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        fd = -errno;
        snprintf(err, errlen, "the workspace cannot be opened: %s", strerror(-fd));
        return fd;
    }
    return folder->fd = fd;
}

char *door_setting(hermes_str config_json, const char *key) {
    cJSON *config = parse(config_json);
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(config, key));
    char *copy = value != NULL && value[0] != '\0' ? strdup(value) : NULL;
    cJSON_Delete(config);
    return copy;
}

bool door_setting_flag(hermes_str config_json, const char *key) {
    cJSON *config = parse(config_json);
    bool value = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(config, key)) != 0;
    cJSON_Delete(config);
    return value;
}

cJSON *door_arguments(hermes_str args_json) {
    return parse(args_json);
}

const char *door_string(const cJSON *arguments, const char *key, const char *fallback) {
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(arguments, key));
    return value != NULL ? value : fallback;
}

int door_refuse(const struct door_call *c, int code, const char *sentence) {
    /* Quoted pieces of arguments are cut by length: what is left of a character at the cut is dropped. */
    size_t len = strlen(sentence), from = 0;
    for (size_t at = 0; at <= len;) {
        size_t n = at < len ? text_utf8_length((const unsigned char *)sentence + at, len - at) : 0;
        if (n == 0) {
            (void)c->host->write(c->call, sentence + from, at - from);
            from = at + 1;
        }
        at += n > 0 ? n : 1;
    }
    return code;
}

int door_reply(const struct door_call *c, struct text *result) {
    int code = HERMES_OK;
    if (result->status != 0)
        code =
            door_refuse(c, result->status == -ENOBUFS ? HERMES_E_LIMIT : HERMES_E_INTERNAL,
                        result->status == -ENOBUFS ? "the result is too large" : "no memory for the result");
    else
        code = c->host->write(c->call, result->data, result->len);
    text_finish(result);
    return code;
}

int door_reply_pair(const struct door_call *c, const char *key, const char *value) {
    struct text result;
    text_init(&result, 1024 * 1024);
    text_put(&result, "{");
    text_quote(&result, key, strlen(key));
    text_put(&result, ": ");
    text_quote(&result, value, strlen(value));
    text_put(&result, "}");
    return door_reply(c, &result);
}

int door_code(int status) {
    switch (-status) {
    case ENOMEM:
        return HERMES_E_INTERNAL;
    case EBUSY:
        return HERMES_E_TRANSIENT;
    case ETIMEDOUT:
        return HERMES_E_DEADLINE;
    case ECANCELED:
        return HERMES_E_CANCELLED;
    default:
        return HERMES_E_TOOL;
    }
}

bool door_should_stop(void *arg) {
    const struct door_call *c = arg;
    return c->host->cancelled(c->call) != 0 || c->host->remaining_ms(c->call) < 50;
}
