/* A plugin with one fault, chosen by FAULT when it is compiled. */
#include "plugins/hermes_plugin.h"

#include <poll.h>
#include <unistd.h>

#define NONE        0 /* a good one, whose tool is called "hello" too */
#define WRONG_ABI   1
#define NO_SYMBOL   2
#define NOT_MAGIC   3
#define BAD_NAME    4
#define BAD_SCHEMA  5
#define CRASH_INIT  6
#define HANG_INIT   7
#define FAIL_INIT   8
#define EXIT_LOAD   9
#define SMALL_SIZE  10
#define NO_FUNCTION 11
#define TWICE       12
#define NO_TOOLS    13
#define PRINTS_INIT 14
#define HUGE_SCHEMA 15
#define SLOW_INIT   16 /* a good one, whose calls last long and whose start lasts twice as long */

static int hello(void *state, hermes_call *call, hermes_str args) {
    (void)args;
#if FAULT == SLOW_INIT
    poll(NULL, 0, 500);
#endif
    return hermes_reply(state, call, "\"hello\"");
}

static int init(const hermes_host *host, hermes_str config_json, void **state) {
#if FAULT == CRASH_INIT
    (void)host, (void)config_json, (void)state;
    abort();
#elif FAULT == HANG_INIT
    (void)host, (void)config_json, (void)state;
    for (;;)
        poll(NULL, 0, 1000);
    return HERMES_OK;
#elif FAULT == FAIL_INIT
    (void)host, (void)config_json, (void)state;
    return HERMES_E_INTERNAL;
#elif FAULT == SLOW_INIT
    poll(NULL, 0, 1000);
    return hermes_init_host(host, config_json, state);
#elif FAULT == PRINTS_INIT
    host->log(NULL, HERMES_LOG_INFO, config_json);
    return hermes_init_host(host, config_json, state);
#else
    return hermes_init_host(host, config_json, state);
#endif
}

#if FAULT == EXIT_LOAD
__attribute__((constructor)) static void leave(void) {
    _exit(3);
}
#endif

#if FAULT == HUGE_SCHEMA
static char huge[300 * 1024];
__attribute__((constructor)) static void fill(void) {
    memset(huge, ' ', sizeof huge - 1);
}
#endif

static const hermes_tool tool = {
    .size = FAULT == SMALL_SIZE ? 24 : HERMES_TOOL_SIZE,
    .name = FAULT == BAD_NAME      ? "say hello"
            : FAULT == PRINTS_INIT ? "settings"
                                   : "hello",
    .description = "Say hello.",
#if FAULT == HUGE_SCHEMA
    .args_schema = huge,
#elif FAULT == BAD_SCHEMA
    .args_schema =
        HERMES_SCHEMA({"type" : "object", "properties" : {"a/b" : {"type" : "string", "pattern" : "(?!x)"}}}),
#else
    .args_schema = HERMES_SCHEMA({"type" : "object"}),
#endif
    .invoke = FAULT == NO_FUNCTION ? NULL : hello,
};

static const hermes_tool *const tools[] = {FAULT == NO_TOOLS ? NULL : &tool, FAULT == TWICE ? &tool : NULL,
                                           NULL};

static const hermes_plugin plugin = {
    .magic = FAULT == NOT_MAGIC ? 7 : HERMES_TOOL_MAGIC,
    .abi_major = FAULT == WRONG_ABI ? 2 : HERMES_TOOL_ABI_MAJOR,
    .size = (uint32_t)sizeof(hermes_plugin),
    .name = "refused",
    .version = "1",
    .tools = tools,
    .init = init,
};

#if FAULT == NO_SYMBOL
HERMES_EXPORT const hermes_plugin *some_other_function(void);
HERMES_EXPORT const hermes_plugin *some_other_function(void) {
    return &plugin;
}
#else
HERMES_EXPORT const hermes_plugin *hermes_plugin_v1(void) {
    return &plugin;
}
#endif
