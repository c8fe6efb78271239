/* files: listing, reading, writing and searching text files inside the workspace. */
#include "plugins/beneath.h"
#include "plugins/door.h"
#include "plugins/files_search.h"
#include "plugins/files_write.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_MAX (64 * 1024) /* bytes of a file that are told */

/* What all four tools have in common: the workspace opened, the arguments at hand, a result to fill; `work`
 * gives 0 or -errno with a sentence. */
static int run(void *state, hermes_call *call, hermes_str args_json,
               int (*work)(int root, const cJSON *arguments, struct door_call *c, struct text *out, char *err,
                           size_t errlen)) {
    struct door_folder *workspace = state;
    struct door_call c = {.host = workspace->host, .call = call};
    struct text result;
    char err[512];
    int root = door_folder_open(workspace, err, sizeof err);
    if (root < 0)
        return door_refuse(&c, HERMES_E_TOOL, err);
    cJSON *arguments = door_arguments(args_json);
    text_init(&result, 1024 * 1024);
    int status = work(root, arguments, &c, &result, err, sizeof err);
    cJSON_Delete(arguments);
    if (status == 0)
        return door_reply(&c, &result);
    text_finish(&result);
    return door_refuse(&c, door_code(status), err);
}

static int work_list(int root, const cJSON *arguments, struct door_call *c, struct text *out, char *err,
                     size_t errlen) {
    struct files_names names;
    (void)c;
    int status = files_read_names(root, door_string(arguments, "path", "."), &names, err, errlen);
    if (status != 0)
        return status;
    text_put(out, "{\"entries\": [");
    for (size_t i = 0; i < names.count && i < FILES_ENTRIES_MAX; i++) {
        text_put(out, i == 0 ? "" : ", ");
        text_quote(out, names.name[i], strlen(names.name[i]));
    }
    text_put(out, names.count > FILES_ENTRIES_MAX ? "], \"truncated\": true}" : "]}");
    files_free_names(&names);
    return 0;
}

/* The text as it is, less one newline at its end: models copy values, and that newline is no part of one. */
static int work_read(int root, const cJSON *arguments, struct door_call *c, struct text *out, char *err,
                     size_t errlen) {
    const char *path = door_string(arguments, "path", "");
    char *data;
    size_t len;
    bool more;
    (void)c;
    int fd = beneath_open_file(root, path, err, errlen);
    if (fd < 0)
        return fd;
    int status = files_read_whole(fd, READ_MAX, &data, &len, &more);
    close(fd);
    if (status != 0) {
        beneath_explain(status, path, err, errlen);
        return status;
    }
    if (more)
        len = text_cut(data, len + 1, len);
    else if (len > 0 && data[len - 1] == '\n')
        len -= len > 1 && data[len - 2] == '\r' ? 2 : 1;
    if (text_is_utf8(data, len)) {
        text_put(out, "{\"content\": ");
        text_quote(out, data, len);
        text_put(out, more ? ", \"truncated\": true}" : "}");
    } else {
        snprintf(err, errlen, "not a text file: %.200s", path);
        status = -EINVAL;
    }
    free(data);
    return status;
}

static int work_write(int root, const cJSON *arguments, struct door_call *c, struct text *out, char *err,
                      size_t errlen) {
    const char *path = door_string(arguments, "path", ""), *content = door_string(arguments, "content", "");
    (void)c;
    int status = files_write(root, path, content, strlen(content), err, errlen);
    if (status != 0)
        return status;
    text_put(out, "{\"path\": ");
    text_quote(out, path, strlen(path));
    text_format(out, ", \"bytes\": %zu}", strlen(content));
    return 0;
}

static int work_search(int root, const cJSON *arguments, struct door_call *c, struct text *out, char *err,
                       size_t errlen) {
    const char *needle = door_string(arguments, "text", "");
    if (needle[0] == '\0' || strchr(needle, '\n') != NULL) {
        snprintf(err, errlen, "text must be one line and not empty");
        return -EINVAL;
    }
    return files_search(root, door_string(arguments, "path", "."), needle, door_should_stop, c, out, err,
                        errlen);
}

static int list_files(void *state, hermes_call *call, hermes_str args_json) {
    return run(state, call, args_json, work_list);
}

static int read_file(void *state, hermes_call *call, hermes_str args_json) {
    return run(state, call, args_json, work_read);
}

static int write_file(void *state, hermes_call *call, hermes_str args_json) {
    return run(state, call, args_json, work_write);
}

static int search_files(void *state, hermes_call *call, hermes_str args_json) {
    return run(state, call, args_json, work_search);
}

static const hermes_tool tool_list_files = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_FS_READ |
             HERMES_T_PRIVATE_DATA,
    .name = "list_files",
    .description = "List the files in a folder of the workspace.",
    .args_schema = "{\"type\": \"object\", \"properties\": {\"path\": {\"type\": \"string\"}}, "
                   "\"additionalProperties\": false}",
    .timeout_ms = 5000,
    .max_concurrency = 4,
    .invoke = list_files,
};

static const hermes_tool tool_read_file = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_FS_READ |
             HERMES_T_PRIVATE_DATA,
    .name = "read_file",
    .description = "Read a text file of the workspace.",
    .args_schema = "{\"type\": \"object\", \"properties\": {\"path\": {\"type\": \"string\"}}, \"required\": "
                   "[\"path\"], \"additionalProperties\": false}",
    .timeout_ms = 5000,
    .max_concurrency = 4,
    .invoke = read_file,
};

static const hermes_tool tool_write_file = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_IDEMPOTENT | HERMES_T_CLOSED_WORLD | HERMES_T_FS_READ | HERMES_T_FS_WRITE,
    .name = "write_file",
    .description = "Write text to a file of the workspace.",
    .args_schema =
        "{\"type\": \"object\", \"properties\": {\"path\": {\"type\": \"string\"}, \"content\": {\"type\": "
        "\"string\"}}, \"required\": [\"path\", \"content\"], \"additionalProperties\": false}",
    .timeout_ms = 10000,
    .invoke = write_file,
};

static const hermes_tool tool_search_files = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_FS_READ |
             HERMES_T_PRIVATE_DATA,
    .name = "search_files",
    .description = "Find the lines of files that contain a text.",
    .args_schema = "{\"type\": \"object\", \"properties\": {\"text\": {\"type\": \"string\"}, \"path\": "
                   "{\"type\": \"string\"}}, \"required\": [\"text\"], \"additionalProperties\": false}",
    .timeout_ms = 20000,
    .max_concurrency = 4,
    .invoke = search_files,
};

static const hermes_tool *const tools[] = {&tool_list_files, &tool_read_file, &tool_write_file,
                                           &tool_search_files, NULL};

static const hermes_plugin plugin = {
    HERMES_PLUGIN_INIT,          .name = "files",          .version = "1.0.0", .tools = tools,
    .init = door_init_workspace, .fini = door_folder_fini,
};

HERMES_EXPORT const hermes_plugin *hermes_plugin_v1(void) {
    return &plugin;
}
