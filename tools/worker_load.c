#include "tools/worker_load.h"

#include "tools/protocol.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#define TOOLS_MAX 256
#define TEXT_MAX  (256u * 1024) /* of one name, description or schema */

/* Sizes as of ABI 1.0: later members come behind. */
#define PLUGIN_SIZE_1_0 (offsetof(hermes_plugin, fini) + sizeof(void (*)(void)))
#define TOOL_SIZE_1_0   (offsetof(hermes_tool, cancel) + sizeof(void (*)(void)))

static int check_tool(const hermes_tool *tool, size_t index, char *err, size_t errlen) {
    if (tool->size < TOOL_SIZE_1_0)
        return err_set(err, errlen, -EPROTO,
                       "tool number %zu has size %u, but a hermes_tool has at least %zu bytes; set .size = "
                       "HERMES_TOOL_SIZE",
                       index + 1, (unsigned)tool->size, TOOL_SIZE_1_0);
    if (tool->name == NULL || tool->description == NULL || tool->args_schema == NULL)
        return err_set(err, errlen, -EPROTO, "tool number %zu lacks its %s", index + 1,
                       tool->name == NULL          ? "name"
                       : tool->description == NULL ? "description"
                                                   : "args_schema");
    if ((tool->invoke == NULL) == (tool->start == NULL))
        return err_set(err, errlen, -EPROTO, "tool '%.64s' has %s of invoke and start; exactly one is wanted",
                       tool->name, tool->invoke == NULL ? "neither" : "both");
    return 0;
}

static int check(const hermes_plugin *plugin, char *err, size_t errlen) {
    if (plugin == NULL)
        return err_set(err, errlen, -EPROTO, "hermes_plugin_v1() gave NULL");
    if (plugin->magic != HERMES_TOOL_MAGIC)
        return err_set(
            err, errlen, -EPROTO,
            "hermes_plugin_v1() gave no plugin: its first member is 0x%08x, not HERMES_PLUGIN_INIT",
            (unsigned)plugin->magic);
    if (plugin->abi_major != HERMES_TOOL_ABI_MAJOR)
        return err_set(err, errlen, -EPROTO,
                       "built for ABI major %u, this host has %d; build it with this host's hermes_plugin.h",
                       (unsigned)plugin->abi_major, HERMES_TOOL_ABI_MAJOR);
    if (plugin->size < PLUGIN_SIZE_1_0)
        return err_set(err, errlen, -EPROTO,
                       "its description has size %u, but a hermes_plugin has at least %zu bytes",
                       (unsigned)plugin->size, PLUGIN_SIZE_1_0);
    if (plugin->name == NULL || plugin->version == NULL || plugin->tools == NULL)
        return err_set(err, errlen, -EPROTO, "its description lacks name, version or tools");
    size_t n = 0;
    for (; plugin->tools[n] != NULL; n++) {
        if (n == TOOLS_MAX)
            return err_set(err, errlen, -EPROTO, "more than %d tools; does the array end with NULL?",
                           TOOLS_MAX);
        int rc = check_tool(plugin->tools[n], n, err, errlen);
        if (rc != 0)
            return rc;
    }
    return n > 0 ? 0 : err_set(err, errlen, -EPROTO, "it has no tools");
}

int worker_load(const char *path, const hermes_plugin **out, char *err, size_t errlen) {
    /* NODELETE: unloading runs under threads and thread-local destructors that are still there; the worker
     * ends instead. */
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (object == NULL)
        return err_set(err, errlen, -ENOEXEC, "cannot be loaded: %s", dlerror());
    const hermes_plugin *(*describe)(void) = NULL;
    void *symbol = dlsym(object, "hermes_plugin_v1");
    if (symbol == NULL)
        return err_set(err, errlen, -ENOEXEC,
                       "exports no function hermes_plugin_v1(), so it is no plugin of this host");
    memcpy(&describe, &symbol, sizeof describe); /* ISO C has no cast from void * to a function */
    const hermes_plugin *plugin = describe();
    int rc = check(plugin, err, errlen);
    if (rc == 0)
        *out = plugin;
    return rc;
}

static void put_text(struct frame_writer *w, const char *text) {
    frame_text(w, text != NULL ? text : "", text != NULL ? strnlen(text, TEXT_MAX + 1) : 0);
}

int worker_load_list(const hermes_plugin *plugin, struct buf *out, char *err, size_t errlen) {
    struct frame_writer w;
    uint32_t n = 0;
    frame_begin(&w, out, FRAME_PLUGIN, 0);
    put_text(&w, plugin->name);
    put_text(&w, plugin->version);
    int rc = frame_end(&w);
    for (; plugin->tools[n] != NULL && rc == 0; n++) {
        const hermes_tool *tool = plugin->tools[n];
        frame_begin(&w, out, FRAME_TOOL, 0);
        frame_u32(&w, tool->flags);
        frame_u32(&w, tool->timeout_ms);
        frame_u32(&w, tool->max_result_bytes);
        frame_u32(&w, tool->max_concurrency);
        put_text(&w, tool->name);
        put_text(&w, tool->description);
        put_text(&w, tool->args_schema);
        put_text(&w, tool->result_schema);
        rc = frame_end(&w);
    }
    if (rc == 0) {
        frame_begin(&w, out, FRAME_LISTED, 0);
        frame_u32(&w, n);
        rc = frame_end(&w);
    }
    return rc == 0 ? 0 : err_set(err, errlen, rc, "its descriptions and schemas are too long");
}

const hermes_tool *worker_load_tool(const hermes_plugin *plugin, uint32_t index) {
    for (uint32_t i = 0; plugin->tools[i] != NULL; i++)
        if (i == index)
            return plugin->tools[i];
    return NULL;
}
