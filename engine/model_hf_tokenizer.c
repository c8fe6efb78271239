/* tokenizer.json of a Hugging Face folder: a byte-level BPE with the Llama-3 split, and nothing else. */
#include "engine/bpe.h"
#include "engine/model_hf.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct vocabulary {
    struct bpe_text *tokens;
    bool *added, *user_defined;
    int n; /* highest id + 1 */
    struct bpe_text *merges;
    char *joined; /* merges written as pairs, joined here */
    size_t n_merges;
};

static int refuse(const struct model *m, int code, const char *what, char *err, size_t errlen) {
    return err_set(err, errlen, code, "tokenizer.json of model '%s': %s.", m->path, what);
}

/* The pre-tokenizer is a Split by Llama 3's pattern, then ByteLevel without a pattern of its own. */
static int check_split(const struct model *m, const cJSON *json, char *err, size_t errlen) {
    const cJSON *pre = cJSON_GetObjectItemCaseSensitive(json, "pre_tokenizer");
    const cJSON *steps = cJSON_GetObjectItemCaseSensitive(pre, "pretokenizers");
    const cJSON *split = cJSON_IsArray(steps) ? steps->child : NULL,
                *level = split != NULL ? split->next : NULL;
    const char *first = json_get_string(split, "type"), *second = json_get_string(level, "type");
    const char *regex = json_get_string(cJSON_GetObjectItemCaseSensitive(split, "pattern"), "Regex");
    const char *behavior = json_get_string(split, "behavior");
    if (first == NULL || second == NULL || level->next != NULL || strcmp(first, "Split") != 0 ||
        strcmp(second, "ByteLevel") != 0)
        return refuse(m, -ENOTSUP, "pre_tokenizer should be a Split, then ByteLevel, as Llama 3's is", err,
                      errlen);
    if (regex == NULL || strcmp(regex, bpe_split_pattern) != 0 || behavior == NULL ||
        strcmp(behavior, "Isolated") != 0 || cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(split, "invert")))
        return refuse(m, -ENOTSUP, "the pattern of its pre_tokenizer is not Llama 3's", err, errlen);
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(level, "add_prefix_space")) ||
        cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(level, "use_regex")))
        return refuse(m, -ENOTSUP, "ByteLevel adds a space or splits once more, which Llama 3's does not",
                      err, errlen);
    const cJSON *normalizer = cJSON_GetObjectItemCaseSensitive(json, "normalizer");
    if (normalizer != NULL && !cJSON_IsNull(normalizer))
        return refuse(m, -ENOTSUP, "it has a normalizer, which Llama 3's has not", err, errlen);
    return 0;
}

/* Puts a token at its id. Equal tokens at one id are one (added tokens may stand in the vocabulary too). */
static int put(const struct model *m, struct vocabulary *v, const cJSON *id, const char *text, bool added,
               char *err, size_t errlen) {
    double n = cJSON_IsNumber(id) ? id->valuedouble : -1;
    if (!(n >= 0 && n < m->n_vocab && n == floor(n)))
        return err_set(err, errlen, -EINVAL,
                       "tokenizer.json of model '%s': the id of token '%.60s' should be 0 to %d.", m->path,
                       text, m->n_vocab - 1);
    int i = (int)n;
    if (v->tokens[i].data != NULL && strcmp(v->tokens[i].data, text) != 0)
        return err_set(err, errlen, -EINVAL, "tokenizer.json of model '%s': id %d belongs to two tokens.",
                       m->path, i);
    v->tokens[i] = (struct bpe_text){text, strlen(text)};
    v->added[i] = v->added[i] || added;
    v->n = i >= v->n ? i + 1 : v->n;
    return 0;
}

static int collect_tokens(const struct model *m, const cJSON *json, struct vocabulary *v, char *err,
                          size_t errlen) {
    const cJSON *vocab =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(json, "model"), "vocab");
    const cJSON *added = cJSON_GetObjectItemCaseSensitive(json, "added_tokens"), *item;
    v->tokens = calloc((size_t)m->n_vocab + 1, sizeof *v->tokens);
    v->added = calloc((size_t)m->n_vocab + 1, sizeof *v->added);
    v->user_defined = calloc((size_t)m->n_vocab + 1, sizeof *v->user_defined);
    if (v->tokens == NULL || v->added == NULL || v->user_defined == NULL)
        return refuse(m, -ENOMEM, "not enough memory", err, errlen);
    if (!cJSON_IsObject(vocab))
        return refuse(m, -EINVAL, "model.vocab should be an object", err, errlen);
    int rc = 0;
    cJSON_ArrayForEach(item, vocab) {
        rc = rc ? rc : put(m, v, item, item->string, false, err, errlen);
    }
    cJSON_ArrayForEach(item, added) {
        const char *content = json_get_string(item, "content");
        if (rc == 0 && (content == NULL || content[0] == '\0'))
            rc = refuse(m, -EINVAL, "an item of added_tokens has no content", err, errlen);
        const cJSON *id = cJSON_GetObjectItemCaseSensitive(item, "id");
        rc = rc ? rc : put(m, v, id, content, true, err, errlen);
        if (rc == 0 && cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(item, "special")))
            v->user_defined[(int)id->valuedouble] = true;
    }
    return rc;
}

static bool is_pair(const cJSON *item) {
    return cJSON_IsArray(item) && cJSON_GetArraySize(item) == 2 && cJSON_IsString(item->child) &&
           cJSON_IsString(item->child->next);
}

/* Merges are "left right", or ["left", "right"] as newer versions write them. */
static int collect_merges(const struct model *m, const cJSON *json, struct vocabulary *v, char *err,
                          size_t errlen) {
    const cJSON *merges =
        cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(json, "model"), "merges");
    size_t n = (size_t)cJSON_GetArraySize(merges), bytes = 1, at = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, merges) {
        if (is_pair(item))
            bytes += strlen(item->child->valuestring) + strlen(item->child->next->valuestring) + 1;
        else if (!cJSON_IsString(item))
            return refuse(m, -EINVAL, "an item of model.merges is neither a text nor two texts", err, errlen);
    }
    v->merges = calloc(n + 1, sizeof *v->merges);
    v->joined = malloc(bytes);
    if (v->merges == NULL || v->joined == NULL)
        return refuse(m, -ENOMEM, "not enough memory", err, errlen);
    cJSON_ArrayForEach(item, merges) {
        if (cJSON_IsString(item)) {
            v->merges[v->n_merges++] = (struct bpe_text){item->valuestring, strlen(item->valuestring)};
            continue;
        }
        size_t a = strlen(item->child->valuestring), b = strlen(item->child->next->valuestring);
        memcpy(v->joined + at, item->child->valuestring, a);
        v->joined[at + a] = ' ';
        memcpy(v->joined + at + a + 1, item->child->next->valuestring, b);
        v->merges[v->n_merges++] = (struct bpe_text){v->joined + at, a + b + 1};
        at += a + b + 1;
    }
    return 0;
}

/* What a BPE may have besides, and Llama 3's has not: it would split text otherwise. */
static int check_options(const struct model *m, const cJSON *bpe, char *err, size_t errlen) {
    static const char *const texts[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *text = json_get_string(bpe, texts[i]);
        if (text != NULL && text[0] != '\0')
            return err_set(err, errlen, -ENOTSUP,
                           "tokenizer.json of model '%s' has a %s, which Llama 3's has not.", m->path,
                           texts[i]);
    }
    const cJSON *dropout = cJSON_GetObjectItemCaseSensitive(bpe, "dropout");
    if (cJSON_IsNumber(dropout) && dropout->valuedouble != 0)
        return refuse(m, -ENOTSUP, "it leaves out merges at random (dropout)", err, errlen);
    return 0;
}

static int collect(const struct model *m, const cJSON *json, struct vocabulary *v, struct bpe_source *source,
                   char *err, size_t errlen) {
    const cJSON *bpe = cJSON_GetObjectItemCaseSensitive(json, "model");
    const char *type = json_get_string(bpe, "type");
    if (type == NULL || strcmp(type, "BPE") != 0)
        return refuse(m, -ENOTSUP, "model.type should be BPE", err, errlen);
    int rc = check_split(m, json, err, errlen);
    rc = rc ? rc : check_options(m, bpe, err, errlen);
    rc = rc ? rc : collect_tokens(m, json, v, err, errlen);
    rc = rc ? rc : collect_merges(m, json, v, err, errlen);
    if (rc < 0)
        return rc;
    *source = (struct bpe_source){.n_vocab = v->n,
                                  .tokens = v->tokens,
                                  .added = v->added,
                                  .merges = v->merges,
                                  .n_merges = v->n_merges,
                                  .ignore_merges =
                                      cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(bpe, "ignore_merges"))};
    return 0;
}

int model_hf_vocabulary(const struct model *m, model_hf_use_fn *use, void *arg, char *err, size_t errlen) {
    cJSON *json = NULL;
    int rc = model_hf_read_json(m, "tokenizer.json", &json, err, errlen);
    if (rc < 0)
        return rc;
    struct vocabulary v = {0};
    struct bpe_source source;
    rc = collect(m, json, &v, &source, err, errlen);
    rc = rc ? rc : use(arg, &source, v.user_defined, err, errlen);
    free(v.tokens);
    free(v.added);
    free(v.user_defined);
    free(v.merges);
    free(v.joined);
    cJSON_Delete(json);
    return rc;
}

static int make_tokenizer(void *arg, const struct bpe_source *source, const bool *user_defined, char *err,
                          size_t errlen) {
    struct model *m = arg;
    (void)user_defined;
    return bpe_create(source, &m->tokenizer, err, errlen);
}

int model_hf_tokenizer(struct model *m, char *err, size_t errlen) {
    m->add_bos = m->bos_id >= 0;
    return model_hf_vocabulary(m, make_tokenizer, m, err, errlen);
}
