/* Whole logits of model files against numbers of other programs, kept as JSON. */
#ifndef TESTS_ENGINE_LOGITS_H
#define TESTS_ENGINE_LOGITS_H

#include "base/json.h"

#include <stdint.h>

#define LOGITS_MAX_IDS 2048

/* Fails the running test when there is no such file. The caller's. */
cJSON *logits_read_json(const char *path);
/* Ids of an array; their number. */
int logits_read_ids(const cJSON *array, int32_t *ids);
/* Largest difference between engine_cli_logits() and the array. */
double logits_difference(const char *model, const int32_t *ids, int n, const cJSON *want);
/* Largest difference between engine_cli_logits() and the items {"id", "logit"} of `top`; fails the running
 * test when the largest logit is another's. */
double logits_top_difference(const char *model, const int32_t *ids, int n, const cJSON *top);

#endif
