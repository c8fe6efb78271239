#include "agent/answer.h"

#include "agent/repair.h"
#include "base/json.h"
#include "tools/schema.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REPAIRED_BYTES_MAX                                                                                   \
    (2u * ANSWER_BYTES_MAX) /* an escaped byte may have six; more is too long anyway                         \
                             */

int answer_init(struct answer *a, const struct agent_answer *config, char *err, size_t errlen) {
    char why[200];
    *a = (struct answer){.on = config != NULL};
    buf_init(&a->json, 2 * REPAIRED_BYTES_MAX); /* a blank behind each ',' and ':' */
    if (config == NULL)
        return 0;
    a->schema = config->schema;
    a->in_system = config->in_system;
    if (config->prompt_schema == NULL)
        return 0;
    int rc = json_check(config->prompt_schema, strlen(config->prompt_schema), NULL, why, sizeof why);
    if (rc < 0)
        return err_set(err, errlen, rc == -ENOMEM ? rc : -EINVAL,
                       "The schema of the answer cannot be used: %s.", why);
    a->prompt_schema = strdup(config->prompt_schema);
    return a->prompt_schema != NULL
               ? 0
               : err_set(err, errlen, -ENOMEM, "Not enough memory for the schema of the answer.");
}

void answer_finish(struct answer *a) {
    free(a->prompt_schema);
    buf_finish(&a->json);
    *a = (struct answer){.json = a->json};
}

/* The place of a value is said from where the model stands: "arguments" are a tool's. */
static int explain(struct answer *a, const char *why) {
    static const char place[] = "arguments";
    size_t n = strncmp(why, place, sizeof place - 1) == 0 ? sizeof place - 1 : 0;
    return err_set(a->why, sizeof a->why, -EINVAL, "The answer does not fit its JSON schema: %s%s",
                   n > 0 ? "answer" : "", why + n);
}

/* Whether the JSON fits. */
static int check(struct answer *a, const struct buf *json) {
    static const struct json_limits limits = {
        .max_bytes = ANSWER_BYTES_MAX, .max_nodes = 100000, .max_depth = ANSWER_DEPTH_MAX};
    struct value_document *document = NULL;
    char why[500] = "";
    int rc = value_parse(json->data, json->len, &limits, &document, why, sizeof why);
    if (rc == -EINVAL || rc == -E2BIG)
        return err_set(a->why, sizeof a->why, -EINVAL, "The answer cannot be used: %s.", why);
    rc = rc ? rc : schema_check(a->schema, value_root(document), why, sizeof why);
    value_destroy(document);
    return rc == -EINVAL || rc == -E2BIG ? explain(a, why) : rc;
}

/* The answer as strict JSON, however it is spaced. */
static int make_strict(struct answer *a, const char *text, size_t len, struct buf *json) {
    struct shapes_set repaired = {{0}};
    int rc = repair_answer_json(text, len, json, &repaired, a->why, sizeof a->why);
    shapes_names(&repaired, a->repaired, sizeof a->repaired);
    return rc != -ENOBUFS ? rc : err_set(a->why, sizeof a->why, -EINVAL, "The answer is too long.");
}

int answer_read(struct answer *a, const char *text, size_t len) {
    struct buf json;
    buf_clear(&a->json);
    if (len == 0)
        return err_set(a->why, sizeof a->why, -EINVAL, "The turn was empty.");
    buf_init(&json, REPAIRED_BYTES_MAX);
    int rc = make_strict(a, text, len, &json);
    rc = rc ? rc : check(a, &json);
    rc = rc ? rc : json_respace(&a->json, json.data, json.len, false);
    buf_finish(&json);
    return rc;
}

bool answer_again(struct answer *a, struct buf *out, int *status) {
    *status = 0;
    if (++a->failures >= ANSWER_TRIES)
        return false;
    size_t len = strlen(a->why);
    bool ended = len > 0 && a->why[len - 1] == '.';
    *status = buf_printf(out, "%s%s Answer again, with the JSON and nothing else.", a->why, ended ? "" : ".");
    return true;
}
