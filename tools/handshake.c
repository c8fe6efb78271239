#include "tools/handshake.h"

#include "base/json.h"
#include "tools/listing.h"
#include "tools/registry.h"
#include "tools/result.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_MAX (1u << 20)

static int hello(struct worker *w, struct frame_reader *r, char *err, size_t errlen) {
    size_t len;
    uint32_t version = frame_read_u32(r);
    const char *layers = frame_read_text(r, &len);
    char *to = w->plugin->confinement;
    if (frame_done(r) != 0 || len >= sizeof w->plugin->confinement)
        return err_set(err, errlen, -EPROTO, "its worker broke the protocol");
    if (version != PROTOCOL_VERSION)
        return err_set(err, errlen, -EPROTO,
                       "the worker speaks protocol version %u, not %d: it is not of this build",
                       (unsigned)version, PROTOCOL_VERSION);
    for (size_t i = 0; i < len; i++)
        to[i] = layers[i] >= 0x20 && layers[i] < 0x7f ? layers[i] : '?';
    to[len] = '\0';
    return 0;
}

/* ---- the plugin's settings ---- */

static bool put_string(cJSON *object, const char *key, const char *value) {
    return value == NULL || cJSON_AddStringToObject(object, key, value) != NULL;
}

/* Members of `more` win. */
static int merge(cJSON *object, const char *more, char *err, size_t errlen) {
    cJSON *extra = NULL;
    char why[256];
    const struct json_limits limits = {.max_bytes = CONFIG_MAX, .max_nodes = 20000, .max_depth = 40};
    int rc = json_parse(more, strlen(more), &limits, &extra, why, sizeof why);
    if (rc != 0 || !cJSON_IsObject(extra)) {
        cJSON_Delete(extra);
        return err_set(err, errlen, -EINVAL, "its settings are not a JSON object: %s",
                       rc != 0 ? why : "another kind of value");
    }
    while (extra->child != NULL) {
        cJSON *item = cJSON_DetachItemViaPointer(extra, extra->child);
        char *key = strdup(item->string);
        cJSON_DeleteItemFromObjectCaseSensitive(object, item->string);
        bool added = key != NULL && cJSON_AddItemToObject(object, key, item);
        free(key);
        if (!added) {
            cJSON_Delete(item);
            rc = -ENOMEM;
        }
    }
    cJSON_Delete(extra);
    return rc == 0 ? 0 : err_set(err, errlen, rc, "no memory for its settings");
}

static int make_config(struct plugin *p, char *err, size_t errlen) {
    const struct tools_config *config = &p->tools->config;
    cJSON *object = cJSON_CreateObject();
    int rc = 0;
    if (object == NULL || !put_string(object, "workspace", config->workspace) ||
        !put_string(object, "state_dir", config->state_dir) ||
        !put_string(object, "documents", config->documents) ||
        cJSON_AddBoolToObject(object, "allow_private_addresses", config->allow_private_addresses) == NULL)
        rc = err_set(err, errlen, -ENOMEM, "no memory for its settings");
    const char *more = rc == 0 && config->plugin_config != NULL
                           ? config->plugin_config(config->plugin_config_arg, p->name)
                           : NULL;
    if (more != NULL)
        rc = merge(object, more, err, errlen);
    if (rc == 0 && (p->config_json = cJSON_PrintUnformatted(object)) == NULL)
        rc = err_set(err, errlen, -ENOMEM, "no memory for its settings");
    cJSON_Delete(object);
    return rc;
}

static int send_init(struct worker *w, char *err, size_t errlen) {
    struct buf out;
    struct frame_writer f;
    int rc = w->plugin->config_json == NULL ? make_config(w->plugin, err, errlen) : 0;
    if (rc != 0)
        return rc;
    buf_init(&out, 2 * CONFIG_MAX);
    frame_begin(&f, &out, FRAME_INIT, 0);
    frame_text(&f, w->plugin->config_json, strlen(w->plugin->config_json));
    rc = frame_end(&f);
    if (rc == 0)
        rc = process_send(w->process, &out);
    buf_finish(&out);
    return rc == 0 ? 0 : err_set(err, errlen, rc, "its settings could not be sent: %s", strerror(-rc));
}

/* ---- the list ---- */

static int listed(struct worker *w, const struct frame *frame, char *err, size_t errlen) {
    struct plugin *p = w->plugin;
    w->hash = listing_hash(w->hash, frame);
    int rc = p->listed ? 0 : listing_frame(p, frame, err, errlen);
    if (rc != 0 || frame->type != FRAME_LISTED)
        return rc;
    if (p->listed && w->hash != p->hash)
        return err_set(err, errlen, -ESTALE,
                       "its file has changed since it was listed; restart the daemon to use the new one");
    p->listed = true;
    p->hash = w->hash;
    return send_init(w, err, errlen);
}

static int refused(struct frame_reader *r, char *err, size_t errlen) {
    size_t len;
    struct buf why;
    const char *text = frame_read_text(r, &len);
    buf_init(&why, 16u * 1024);
    int rc = result_clean(&why, text, len < 4096 ? len : 4096);
    rc = err_set(err, errlen, -ENOEXEC, "%s",
                 rc == 0 && why.len > 0 ? why.data : "its worker refused it without a reason");
    buf_finish(&why);
    return rc;
}

int handshake_frame(struct worker *w, const struct frame *frame, char *err, size_t errlen) {
    struct frame_reader r;
    frame_read(&r, frame);
    switch (frame->type) {
    case FRAME_HELLO:
        return hello(w, &r, err, errlen);
    case FRAME_PLUGIN:
    case FRAME_TOOL:
    case FRAME_LISTED:
        return listed(w, frame, err, errlen);
    case FRAME_READY:
        return w->plugin->listed && w->hash == w->plugin->hash
                   ? 1
                   : err_set(err, errlen, -EPROTO, "its worker broke the protocol");
    case FRAME_REFUSED:
        return refused(&r, err, errlen);
    case FRAME_LOG:
        return 0; /* of the plugin's init; pool.c passes it on */
    default:
        return err_set(err, errlen, -EPROTO, "its worker broke the protocol");
    }
}
