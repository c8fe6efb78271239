#include "tests/engine/logits.h"

#include "engine/cli_logits.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

cJSON *logits_read_json(const char *path) {
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        fail_msg("there is no %s", path);
    struct buf text;
    buf_init(&text, (size_t)16 << 20);
    char block[4096];
    size_t n;
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        assert_int_equal(buf_append(&text, block, n), 0);
    (void)fclose(f);
    cJSON *json = NULL;
    char err[300] = "";
    struct json_limits limits = {.max_bytes = (size_t)16 << 20, .max_nodes = 1000000, .max_depth = 16};
    if (json_parse(text.data, text.len, &limits, &json, err, sizeof err) < 0)
        fail_msg("%s: %s", path, err);
    buf_finish(&text);
    return json;
}

int logits_read_ids(const cJSON *array, int32_t *ids) {
    int n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, array) {
        assert_true(n < LOGITS_MAX_IDS);
        ids[n++] = (int32_t)item->valuedouble;
    }
    assert_true(n > 0);
    return n;
}

/* {"logits": […]} of engine_cli_logits(). */
static cJSON *all_logits(const char *model, const int32_t *ids, int n) {
    struct buf out;
    buf_init(&out, 16 << 20);
    char err[300] = "";
    if (engine_cli_logits(model, ids, n, 0, &out, err, sizeof err) < 0)
        fail_msg("%s: %s", model, err);
    cJSON *got = NULL;
    struct json_limits limits = {.max_bytes = (size_t)16 << 20, .max_nodes = 1000000, .max_depth = 16};
    assert_int_equal(json_parse(out.data, out.len, &limits, &got, err, sizeof err), 0);
    buf_finish(&out);
    return got;
}

double logits_difference(const char *model, const int32_t *ids, int n, const cJSON *want) {
    cJSON *got = all_logits(model, ids, n);
    const cJSON *logits = cJSON_GetObjectItem(got, "logits");
    assert_int_equal(cJSON_GetArraySize(logits), cJSON_GetArraySize(want));
    double worst = 0;
    for (const cJSON *a = logits->child, *b = want->child; a != NULL; a = a->next, b = b->next)
        worst = fmax(worst, fabs(a->valuedouble - b->valuedouble));
    cJSON_Delete(got);
    return worst;
}

double logits_top_difference(const char *model, const int32_t *ids, int n, const cJSON *top) {
    cJSON *got = all_logits(model, ids, n);
    const cJSON *logits = cJSON_GetObjectItem(got, "logits"), *item;
    double worst = 0, best = -INFINITY;
    int best_id = -1, id = 0;
    cJSON_ArrayForEach(item, logits) {
        if (item->valuedouble > best) {
            best = item->valuedouble;
            best_id = id;
        }
        id++;
    }
    cJSON_ArrayForEach(item, top) {
        const cJSON *ours = cJSON_GetArrayItem(logits, cJSON_GetObjectItem(item, "id")->valueint);
        assert_non_null(ours);
        worst = fmax(worst, fabs(ours->valuedouble - cJSON_GetObjectItem(item, "logit")->valuedouble));
    }
    if (best_id != cJSON_GetObjectItem(top->child, "id")->valueint)
        fail_msg("%s: after %d tokens the best is %d and should be %d", model, n, best_id,
                 cJSON_GetObjectItem(top->child, "id")->valueint);
    cJSON_Delete(got);
    return worst;
}
