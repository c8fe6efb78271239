#include "agent/toolcall.h"

#include "agent/rawjson.h"
#include "base/json.h"
#include "tools/value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHAPE "Write {\"name\": <function-name>, \"arguments\": <args-dict>}."

static int read_name(struct rawjson object, struct toolcall *out, char *err, size_t errlen) {
    struct rawjson value;
    if (!rawjson_get(object, "name", &value)) {
        bool other = rawjson_get(object, "tool_name", &value) || rawjson_get(object, "function", &value);
        return err_set(err, errlen, -EINVAL,
                       other ? "The key for the function's name is \"name\". " SHAPE
                             : "The call has no \"name\". " SHAPE);
    }
    if (rawjson_type(value) != '"')
        return err_set(err, errlen, -EINVAL, "\"name\" must be a string. " SHAPE);
    free(out->name);
    out->name = rawjson_string(value);
    if (out->name == NULL)
        return err_set(err, errlen, -ENOMEM, "Out of memory.");
    if (out->name[0] == '\0')
        return err_set(err, errlen, -EINVAL, "\"name\" is empty.");
    return 0;
}

static int read_arguments(struct rawjson object, struct toolcall *out, char *err, size_t errlen) {
    struct rawjson value, other;
    bool has = rawjson_get(object, "arguments", &value);
    if (!has && (rawjson_get(object, "parameters", &other) || rawjson_get(object, "args", &other) ||
                 rawjson_get(object, "params", &other)))
        return err_set(err, errlen, -EINVAL, "The key for the arguments is \"arguments\". " SHAPE);
    if (!has || rawjson_type(value) == 'n')
        value = rawjson_of("{}", 2);
    if (rawjson_type(value) != '{')
        return err_set(err, errlen, -EINVAL, "\"arguments\" must be a JSON object. " SHAPE);
    out->arguments = strndup(value.text, value.len);
    if (out->arguments == NULL)
        return err_set(err, errlen, -ENOMEM, "Out of memory.");
    return 0;
}

int toolcall_read(const char *json, size_t len, struct toolcall *out, char *err, size_t errlen) {
    *out = (struct toolcall){.name = strdup("")};
    if (out->name == NULL)
        return err_set(err, errlen, -ENOMEM, "Out of memory.");
    char why[200];
    int rc = json_check(json, len, NULL, why, sizeof why);
    if (rc == -ENOMEM)
        return err_set(err, errlen, rc, "Out of memory.");
    if (rc < 0)
        return err_set(err, errlen, -EINVAL, "The call is not valid JSON (%s). " SHAPE, why);
    struct rawjson object = rawjson_of(json, len);
    if (rawjson_type(object) != '{')
        return err_set(err, errlen, -EINVAL, "A call is one JSON object. " SHAPE);
    rc = read_name(object, out, err, errlen);
    return rc ? rc : read_arguments(object, out, err, errlen);
}

void toolcall_finish(struct toolcall *call) {
    free(call->name);
    free(call->arguments);
    *call = (struct toolcall){0};
}

/* FNV-1a, 64 bits, going on from `hash`. */
static uint64_t mix(uint64_t hash, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

#define SEED 14695981039346656037u

int toolcall_signature(const char *name, const char *arguments, size_t len, uint64_t *signature) {
    uint64_t hash = mix(SEED, name, strlen(name) + 1);
    struct value_document *document;
    int rc = value_parse(arguments, len, &json_limits_default, &document, NULL, 0);
    if (rc == -ENOMEM)
        return rc;
    if (rc < 0) {
        *signature = mix(hash, arguments, len);
        return 0;
    }
    *signature = mix(hash, &value_root(document)->hash, sizeof(uint64_t));
    value_destroy(document);
    return 0;
}
