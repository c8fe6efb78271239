#include "engine/script.h"

#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SCRIPT_BYTES ((size_t)16 << 20)

static const struct json_limits script_limits = {
    .max_bytes = MAX_SCRIPT_BYTES, .max_nodes = 1000000, .max_depth = 16};

static int read_file(const char *path, struct buf *text, char *err, size_t errlen) {
    FILE *f = fopen(path, "rbe");
    if (f == NULL)
        return err_set(err, errlen, -errno, "Cannot open the script '%s': %s.", path, strerror(errno));
    int rc = 0;
    char block[16384];
    size_t n;
    while (rc == 0 && (n = fread(block, 1, sizeof block, f)) > 0)
        rc = buf_append(text, block, n);
    if (rc == 0 && ferror(f))
        rc = -EIO;
    (void)fclose(f);
    if (rc < 0)
        return err_set(err, errlen, rc, "Cannot read the script '%s': %s.", path, strerror(-rc));
    return 0;
}

static int integer(const cJSON *object, const char *key, int fallback) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valueint : fallback;
}

static char *copy_string(const cJSON *item) {
    return cJSON_IsString(item) ? strdup(item->valuestring) : NULL;
}

static int read_entry(const cJSON *from, int delay_ms, struct script_entry *to) {
    const cJSON *turns = cJSON_GetObjectItemCaseSensitive(from, "turns");
    const cJSON *match = cJSON_GetObjectItemCaseSensitive(from, "match");
    const cJSON *fail = cJSON_GetObjectItemCaseSensitive(from, "fail");
    if (!cJSON_IsObject(from) || !cJSON_IsArray(turns) || !cJSON_IsString(match) ||
        (fail != NULL && !cJSON_IsString(fail)))
        return -EINVAL;
    to->repeat = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(from, "repeat"));
    to->delay_ms = integer(from, "delay_ms", delay_ms);
    to->match = copy_string(match);
    to->fail = copy_string(fail);
    to->turns = calloc((size_t)cJSON_GetArraySize(turns) + 1, sizeof *to->turns);
    if (to->match == NULL || to->turns == NULL || (fail != NULL && to->fail == NULL))
        return -ENOMEM;
    const cJSON *turn;
    cJSON_ArrayForEach(turn, turns) {
        if (!cJSON_IsString(turn) || (to->repeat && turn->valuestring[0] == '\0'))
            return -EINVAL;
        to->turns[to->n_turns] = copy_string(turn);
        if (to->turns[to->n_turns] == NULL)
            return -ENOMEM;
        to->n_turns++;
    }
    return 0;
}

static int read_entries(const cJSON *root, struct script *s, const char *path, char *err, size_t errlen) {
    const cJSON *entries = cJSON_GetObjectItemCaseSensitive(root, "scripts");
    s->chunk = integer(root, "chunk", 3);
    if (!cJSON_IsArray(entries) || s->chunk < 1 || s->chunk > 3)
        return err_set(err, errlen, -EINVAL,
                       "Script '%s' needs an array \"scripts\" and a \"chunk\" of 1 to 3.", path);
    s->entries = calloc((size_t)cJSON_GetArraySize(entries) + 1, sizeof *s->entries);
    if (s->entries == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for script '%s'.", path);
    const cJSON *entry;
    cJSON_ArrayForEach(entry, entries) {
        int rc = read_entry(entry, integer(root, "delay_ms", 0), &s->entries[s->n_entries++]);
        if (rc == -ENOMEM)
            return err_set(err, errlen, rc, "Not enough memory for script '%s'.", path);
        if (rc < 0)
            return err_set(
                err, errlen, rc,
                "Entry %d of script '%s' needs a string \"match\" and an array of strings \"turns\".",
                s->n_entries - 1, path);
    }
    return 0;
}

int script_read(const char *path, struct script **out, char *err, size_t errlen) {
    struct script *s = calloc(1, sizeof *s);
    if (s == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for script '%s'.", path);
    struct buf text;
    buf_init(&text, MAX_SCRIPT_BYTES);
    cJSON *root = NULL;
    int rc = read_file(path, &text, err, errlen);
    if (rc == 0) {
        char why[200];
        rc = json_parse(text.data != NULL ? text.data : "", text.len, &script_limits, &root, why, sizeof why);
        if (rc < 0)
            err_set(err, errlen, rc, "Script '%s': %s", path, why);
    }
    if (rc == 0)
        rc = read_entries(root, s, path, err, errlen);
    cJSON_Delete(root);
    buf_finish(&text);
    if (rc < 0) {
        script_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void script_free(struct script *s) {
    if (s == NULL)
        return;
    for (int i = 0; i < s->n_entries; i++) {
        struct script_entry *entry = &s->entries[i];
        for (int t = 0; t < entry->n_turns; t++)
            free(entry->turns[t]);
        free(entry->turns);
        free(entry->match);
        free(entry->fail);
    }
    free(s->entries);
    free(s);
}

const struct script_entry *script_find(const struct script *s, const char *text) {
    for (int i = 0; i < s->n_entries; i++)
        if (strstr(text, s->entries[i].match) != NULL)
            return &s->entries[i];
    return NULL;
}
