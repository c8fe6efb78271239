/* Tools for the end-to-end tests: what they do is seen from outside, in files of the workspace. */
#include "hermes_plugin.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

struct probe {
    const hermes_host *host;
    char workspace[512];
};

/* One line per run: the idempotency key. O_APPEND keeps lines of several workers whole. */
static int leave_line(const struct probe *p, const hermes_call *call, const char *file) {
    char path[600];
    char line[300];
    snprintf(path, sizeof path, "%s/%s", p->workspace, file);
    int n = snprintf(line, sizeof line, "%s\n", p->host->idempotency_key(call));
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -1;
    }
    ssize_t written = write(fd, line, (size_t)n);
    close(fd);
    return written == n ? 0 : -1;
}

static int run_counted(struct probe *p, hermes_call *call, const char *file) {
    if (leave_line(p, call, file) != 0) {
        return hermes_refuse(p->host, call, HERMES_E_TOOL, "the workspace cannot be written");
    }
    usleep(3000); /* a window between the effect and its result */
    return hermes_reply(p->host, call, "{\"counted\": true}");
}

static int count(void *state, hermes_call *call, hermes_str args_json) {
    (void)args_json;
    return run_counted(state, call, "count.log");
}

static int count_again(void *state, hermes_call *call, hermes_str args_json) {
    (void)args_json;
    return run_counted(state, call, "again.log");
}

static int nap(void *state, hermes_call *call, hermes_str args_json) {
    const hermes_host *host = ((struct probe *)state)->host;
    int64_t ms = 0;
    if (hermes_arg_int(args_json, "ms", &ms) == 0) {
        return hermes_refuse(host, call, HERMES_E_ARGS, "ms must be a number");
    }
    host->progress(call, 0.5, hermes_str_of("half asleep"));
    struct pollfd cancelled = {.fd = host->cancel_fd(call), .events = POLLIN};
    if (poll(&cancelled, 1, (int)ms) > 0) {
        return HERMES_E_CANCELLED;
    }
    return hermes_reply(host, call, "{\"slept\": true}");
}

/* Returns when the file is there, which the test makes when it has seen what it wants to see. */
static int await(void *state, hermes_call *call, hermes_str args_json) {
    struct probe *p = state;
    char name[100], path[700];
    if (hermes_arg_string(args_json, "file", name, sizeof name) == NULL) {
        return hermes_refuse(p->host, call, HERMES_E_ARGS, "file must be a name");
    }
    snprintf(path, sizeof path, "%s/%s", p->workspace, name);
    struct pollfd cancelled = {.fd = p->host->cancel_fd(call), .events = POLLIN};
    while (access(path, F_OK) != 0) {
        if (poll(&cancelled, 1, 2) > 0) {
            return HERMES_E_CANCELLED;
        }
    }
    return hermes_reply(p->host, call, "{\"there\": true}");
}

/* These return when the file of their name is there. */
static int hold(void *state, hermes_call *call, hermes_str args_json) {
    static const char file[] = "{\"file\": \"hold\"}";
    (void)args_json;
    return await(state, call, hermes_str_of(file));
}

static int hold_too(void *state, hermes_call *call, hermes_str args_json) {
    static const char file[] = "{\"file\": \"hold_too\"}";
    (void)args_json;
    return await(state, call, hermes_str_of(file));
}

static int count_slowly(void *state, hermes_call *call, hermes_str args_json) {
    struct probe *p = state;
    int64_t ms = 0;
    if (hermes_arg_int(args_json, "ms", &ms) == 0 || leave_line(p, call, "count.log") != 0) {
        return hermes_refuse(p->host, call, HERMES_E_TOOL, "the workspace cannot be written");
    }
    usleep((useconds_t)ms * 1000);
    return hermes_reply(p->host, call, "{\"counted\": true}");
}

static int crash(void *state, hermes_call *call, hermes_str args_json) {
    (void)state;
    (void)call;
    (void)args_json;
    abort();
}

static int long_text(void *state, hermes_call *call, hermes_str args_json) {
    const hermes_host *host = ((struct probe *)state)->host;
    (void)args_json;
    int status = HERMES_OK;
    for (int i = 0; i < 1000 && status == HERMES_OK; i++) {
        status = hermes_reply(
            host, call,
            "0123456789 \xc3\xa4\xc3\xb6\xc3\xbc \xe2\x82\xac 0123456789 0123456789 0123456789 0123456789\n");
    }
    return status;
}

static int passages(void *state, hermes_call *call, hermes_str args_json) {
    (void)args_json;
    return hermes_reply(((struct probe *)state)->host, call,
                        "{\"passages\": [{\"id\": \"p#1\", \"text\": \"One.\"}, {\"id\": \"p#2\", \"text\": "
                        "\"Two.\"}]}");
}

static int not_yet(void *state, hermes_call *call, hermes_str args_json) {
    (void)args_json;
    return hermes_reply(((struct probe *)state)->host, call, "{\"done\": false}");
}

#define LABEL_SCHEMA                                                                                         \
    HERMES_SCHEMA({"type" : "object", "properties" : {"label" : {"type" : "string"}}, "required" : ["label"]})

static const hermes_tool tool_count = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_FS_READ | HERMES_T_FS_WRITE,
    .name = "count",
    .description = "Count, and never twice.",
    .args_schema = LABEL_SCHEMA,
    .max_concurrency = 4,
    .invoke = count,
};
static const hermes_tool tool_count_again = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_IDEMPOTENT | HERMES_T_FS_READ | HERMES_T_FS_WRITE,
    .name = "count_again",
    .description = "Count; twice does no harm.",
    .args_schema = LABEL_SCHEMA,
    .max_concurrency = 4,
    .invoke = count_again,
};
static const hermes_tool tool_count_slowly = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_FS_READ | HERMES_T_FS_WRITE,
    .name = "count_slowly",
    .description = "Count, never twice, and take some time for it.",
    .args_schema =
        HERMES_SCHEMA({"type" : "object", "properties" : {"ms" : {"type" : "integer"}}, "required" : ["ms"]}),
    .invoke = count_slowly,
};
static const hermes_tool tool_await = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_FS_READ,
    .name = "await",
    .description = "Wait for a file.",
    .args_schema = HERMES_SCHEMA(
        {"type" : "object", "properties" : {"file" : {"type" : "string"}}, "required" : ["file"]}),
    .max_concurrency = 4,
    .invoke = await,
};
static const hermes_tool tool_hold = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_FS_READ,
    .name = "hold",
    .description = "Wait.",
    .args_schema = HERMES_SCHEMA({"type" : "object", "additionalProperties" : false}),
    .max_concurrency = 4,
    .invoke = hold,
};
static const hermes_tool tool_hold_too = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_FS_READ,
    .name = "hold_too",
    .description = "Wait as well.",
    .args_schema = HERMES_SCHEMA({"type" : "object", "additionalProperties" : false}),
    .max_concurrency = 4,
    .invoke = hold_too,
};
static const hermes_tool tool_nap = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY,
    .name = "nap",
    .description = "Sleep.",
    .args_schema =
        HERMES_SCHEMA({"type" : "object", "properties" : {"ms" : {"type" : "integer"}}, "required" : ["ms"]}),
    .max_concurrency = 4,
    .invoke = nap,
};
static const hermes_tool tool_crash = {
    .size = HERMES_TOOL_SIZE,
    .name = "crash",
    .description = "Crash.",
    .args_schema = HERMES_SCHEMA({"type" : "object"}),
    .invoke = crash,
};
static const hermes_tool tool_long_text = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY,
    .name = "long_text",
    .description = "Say more than a model is shown.",
    .args_schema = HERMES_SCHEMA({"type" : "object"}),
    .invoke = long_text,
};

static const hermes_tool tool_passages = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY,
    .name = "passages",
    .description = "Passages to cite.",
    .args_schema = HERMES_SCHEMA({"type" : "object"}),
    .invoke = passages,
};

static const hermes_tool tool_is_done = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY | HERMES_T_POLL,
    .name = "is_done",
    .description = "Look whether it is done.",
    .args_schema = HERMES_SCHEMA({"type" : "object"}),
    .invoke = not_yet,
};
static const hermes_tool tool_look_up = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY,
    .name = "look_up",
    .description = "Look it up; it is never there.",
    .args_schema = LABEL_SCHEMA,
    .invoke = not_yet,
};

static const hermes_tool tool_pick = {
    .size = HERMES_TOOL_SIZE,
    .flags = HERMES_T_READ_ONLY,
    .name = "pick",
    .description = "Pick a side; there are two calls of it in all.",
    .args_schema = HERMES_SCHEMA({
        "type" : "object",
        "properties" : {"side" : {"enum" : [ "left", "right" ]}},
        "required" : ["side"],
        "additionalProperties" : false
    }),
    .invoke = not_yet,
};

static const hermes_tool *const tools[] = {
    &tool_count,     &tool_count_again, &tool_count_slowly, &tool_nap,     &tool_crash,
    &tool_long_text, &tool_passages,    &tool_is_done,      &tool_look_up, &tool_pick,
    &tool_await,     &tool_hold,        &tool_hold_too,     NULL};

static int init(const hermes_host *host, hermes_str config_json, void **state) {
    static struct probe probe; /* one worker, one plugin, one state */
    probe.host = host;
    if (hermes_arg_string(config_json, "workspace", probe.workspace, sizeof probe.workspace) == NULL) {
        probe.workspace[0] = '\0';
    }
    *state = &probe;
    return HERMES_OK;
}

static const hermes_plugin plugin = {
    HERMES_PLUGIN_INIT, .name = "probe", .version = "1.0.0", .tools = tools, .init = init,
};

HERMES_EXPORT const hermes_plugin *hermes_plugin_v1(void) {
    return &plugin;
}
