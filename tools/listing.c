#include "tools/listing.h"

#include "base/json.h"
#include "base/utf8.h"
#include "tools/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES        64
#define DESCRIPTION_MAX_BYTES 4096

uint64_t listing_hash(uint64_t hash, const struct frame *frame) {
    if (hash == 0)
        hash = 0xcbf29ce484222325u;
    hash = (hash ^ frame->type) * 0x100000001b3u;
    for (size_t i = 0; i < frame->len; i++)
        hash = (hash ^ (unsigned char)frame->payload[i]) * 0x100000001b3u;
    return hash;
}

static bool is_name(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              c == '-'))
            return false;
    }
    return len >= 1 && len <= NAME_MAX_BYTES;
}

/* Characters of text that a terminal or a prompt can take: UTF-8, no control character but a line's end. */
static bool is_text(const char *text, size_t len, size_t max) {
    for (size_t at = 0; at < len;) {
        size_t n = utf8_length(text + at, len - at);
        if (n == 0 || ((unsigned char)text[at] < 0x20 && text[at] != '\n') || text[at] == 0x7f)
            return false;
        at += n;
    }
    return len <= max;
}

static int list_plugin(struct plugin *p, struct frame_reader *r, char *err, size_t errlen) {
    size_t name_len, version_len;
    const char *name = frame_read_text(r, &name_len), *version = frame_read_text(r, &version_len);
    if (frame_done(r) != 0 || p->name != NULL)
        return err_set(err, errlen, -EPROTO, "its worker broke the protocol");
    if (!is_name(name, name_len))
        return err_set(err, errlen, -EINVAL, "its name must be 1 to %d of a-z A-Z 0-9 _ -", NAME_MAX_BYTES);
    if (!is_text(version, version_len, NAME_MAX_BYTES))
        return err_set(err, errlen, -EINVAL, "its version must be text of at most %d bytes", NAME_MAX_BYTES);
    p->name = strndup(name, name_len);
    p->version = strndup(version, version_len);
    return p->name != NULL && p->version != NULL ? 0
                                                 : err_set(err, errlen, -ENOMEM, "no memory for a plugin");
}

void listing_free_tool(struct tool *tool) {
    if (tool == NULL)
        return;
    free((char *)(uintptr_t)tool->info.name);
    free((char *)(uintptr_t)tool->info.description);
    free((char *)(uintptr_t)tool->info.schema);
    schema_destroy(tool->schema);
    free(tool);
}

static uint32_t lower_of(uint32_t wish, uint32_t ours) {
    return wish != 0 && wish < ours ? wish : ours;
}

/* Limits: what the plugin says, never above ours; 0 means ours. */
static void take_limits(struct tool *tool, struct frame_reader *r, const struct tools_config *config) {
    tool->info.flags = frame_read_u32(r);
    uint32_t timeout_ms = frame_read_u32(r), max_result = frame_read_u32(r), concurrency = frame_read_u32(r);
    tool->info.timeout_ms = timeout_ms != 0 ? timeout_ms : config->default_timeout_ms;
    tool->unlimited = timeout_ms == 0;
    tool->max_result_bytes = lower_of(max_result, (uint32_t)config->max_result_bytes);
    tool->max_concurrency = concurrency == 0 ? 1 : lower_of(concurrency, 64);
}

static int check_tool(const struct plugin *p, const char *const text[4], const size_t len[4], char *err,
                      size_t errlen) {
    static const struct json_limits limits = {.max_bytes = 256u * 1024, .max_nodes = 20000, .max_depth = 40};
    char why[256];
    if (!is_name(text[0], len[0]))
        return err_set(err, errlen, -EINVAL,
                       "tool number %zu: a tool's name must be 1 to %d of a-z A-Z 0-9 _ -", p->tool_count + 1,
                       NAME_MAX_BYTES);
    for (size_t i = 0; i < p->tool_count; i++)
        if (strlen(p->tool[i]->info.name) == len[0] && memcmp(p->tool[i]->info.name, text[0], len[0]) == 0)
            return err_set(err, errlen, -EEXIST, "tool '%.*s' is listed twice", (int)len[0], text[0]);
    if (len[1] == 0 || !is_text(text[1], len[1], DESCRIPTION_MAX_BYTES))
        return err_set(err, errlen, -EINVAL, "tool '%.*s': the description must be text of 1 to %d bytes",
                       (int)len[0], text[0], DESCRIPTION_MAX_BYTES);
    if (len[3] > 0 && json_check(text[3], len[3], &limits, why, sizeof why) != 0)
        return err_set(err, errlen, -EINVAL, "tool '%.*s': result_schema: not JSON: %s", (int)len[0], text[0],
                       why);
    return 0;
}

static int list_tool(struct plugin *p, struct frame_reader *r, char *err, size_t errlen) {
    const char *text[4]; /* name, description, args_schema, result_schema */
    size_t len[4];
    char why[1024];
    struct tool *tool = calloc(1, sizeof *tool);
    struct tool **more = realloc(p->tool, (p->tool_count + 1) * sizeof(struct tool *));
    if (more != NULL)
        p->tool = more;
    if (tool == NULL || more == NULL) {
        free(tool);
        return err_set(err, errlen, -ENOMEM, "no memory for a tool");
    }
    take_limits(tool, r, &p->tools->config);
    for (int i = 0; i < 4; i++)
        text[i] = frame_read_text(r, &len[i]);
    int rc = frame_done(r) != 0 || p->name == NULL
                 ? err_set(err, errlen, -EPROTO, "its worker broke the protocol")
                 : check_tool(p, text, len, err, errlen);
    if (rc == 0 && (rc = schema_compile(text[2], len[2], &tool->schema, why, sizeof why)) != 0)
        rc = err_set(err, errlen, rc, "tool '%.*s': args_schema: %s", (int)len[0], text[0], why);
    if (rc == 0) {
        tool->info.name = strndup(text[0], len[0]);
        tool->info.description = strndup(text[1], len[1]);
        tool->info.schema = strndup(text[2], len[2]);
        if (tool->info.name == NULL || tool->info.description == NULL || tool->info.schema == NULL)
            rc = err_set(err, errlen, -ENOMEM, "no memory for a tool");
    }
    if (rc != 0) {
        listing_free_tool(tool);
        return rc;
    }
    tool->plugin = p;
    tool->index = (uint32_t)p->tool_count;
    tool->info.plugin = p->name;
    tool->info.plugin_version = p->version;
    tool->info.plugin_path = p->path;
    tool->info.confinement = p->confinement;
    p->tool[p->tool_count++] = tool;
    return 0;
}

int listing_frame(struct plugin *p, const struct frame *frame, char *err, size_t errlen) {
    struct frame_reader r;
    frame_read(&r, frame);
    if (frame->type == FRAME_PLUGIN)
        return list_plugin(p, &r, err, errlen);
    if (frame->type == FRAME_TOOL)
        return list_tool(p, &r, err, errlen);
    if (frame->type != FRAME_LISTED || frame_read_u32(&r) != p->tool_count || frame_done(&r) != 0 ||
        p->tool_count == 0)
        return err_set(err, errlen, -EPROTO, "its worker broke the protocol");
    return 0;
}
