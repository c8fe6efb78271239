#include "daemon/job_request.h"

#include "agent/tags.h"
#include "base/json.h"
#include "base/utf8.h"
#include "plugins/hermes_plugin.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TITLE_MAX       200
#define MESSAGES_MAX    10000
#define METADATA_MAX    16
#define METADATA_KEY    64
#define METADATA_VALUE  512
#define DEADLINE_MAX_MS 86400000
#define DOCUMENTS_MAX   1000
#define DOCUMENT_ID     256
#define TAGS_WANTED                                                                                          \
    "an array of at most 16 names of reasoning sections, each of 1 to 21 letters, digits, '_' and '-', and " \
    "no other tag's"
#define STARS_MAX 3 /* in a name pattern; keeps matching cheap */

static const cJSON *member(const cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    return item == NULL || cJSON_IsNull(item) ? NULL : item;
}

/* ---- numbers ---- */

static int read_int(const cJSON *json, const char *name, int64_t min, int64_t max, int64_t *out,
                    struct job_problem *problem) {
    const cJSON *item = member(json, name);
    if (item == NULL) {
        return 0;
    }
    double n = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    if (!(n >= (double)min && n <= (double)max) || n != floor(n)) {
        return job_refuse(problem, "invalid_value", name, "'%s' must be a whole number from %lld to %lld",
                          name, (long long)min, (long long)max);
    }
    *out = (int64_t)n;
    return 0;
}

static int read_limit(const cJSON *json, const char *name, int max, int *out, struct job_problem *problem) {
    int64_t n = *out;
    int rc = read_int(json, name, 1, max, &n, problem);
    *out = (int)n;
    return rc;
}

static int read_float(const cJSON *json, const char *name, double min, double max, float *out,
                      struct job_problem *problem) {
    const cJSON *item = member(json, name);
    if (item == NULL) {
        return 0;
    }
    double n = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    if (!(n >= min && n <= max)) {
        return job_refuse(problem, "invalid_value", name, "'%s' must be a number from %g to %g", name, min,
                          max);
    }
    *out = (float)n;
    return 0;
}

/* When calls lead nowhere. */
static int read_loop_limits(struct job_request *r, struct job_problem *problem) {
    int64_t repeats = r->limits.max_cycle_repeats;
    int rc = read_limit(r->json, "max_identical_calls", 1000, &r->limits.max_identical_calls, problem);
    rc = rc == 0 ? read_int(r->json, "max_cycle_repeats", 2, 1000, &repeats, problem) : rc;
    rc = rc == 0 ? read_limit(r->json, "max_idle_calls", 10000, &r->limits.max_idle_calls, problem) : rc;
    r->limits.max_cycle_repeats = (int)repeats;
    return rc;
}

static int read_numbers(struct job_request *r, struct job_problem *problem) {
    int64_t top_k = 0;
    int64_t seed = 0;
    int64_t priority = 0;
    r->limits = agent_limits_default;
    r->sampling = (struct engine_sampling){.top_p = 1.0f, .repeat_penalty = 1.0f};
    int rc = read_limit(r->json, "max_turns", 1000, &r->limits.max_turns, problem);
    rc = rc == 0 ? read_limit(r->json, "max_tool_calls", 10000, &r->limits.max_calls, problem) : rc;
    rc =
        rc == 0 ? read_limit(r->json, "max_calls_per_turn", 100, &r->limits.max_calls_per_turn, problem) : rc;
    rc = rc == 0 ? read_loop_limits(r, problem) : rc;
    rc = rc == 0 ? read_limit(r->json, "max_output_tokens", 1000000, &r->limits.max_output_tokens, problem)
                 : rc;
    rc = rc == 0 ? read_limit(r->json, "max_turn_tokens", 131072, &r->limits.max_turn_tokens, problem) : rc;
    rc = rc == 0 ? read_int(r->json, "deadline_ms", 1, DEADLINE_MAX_MS, &r->deadline_ms, problem) : rc;
    rc = rc == 0 ? read_float(r->json, "temperature", 0, 2, &r->sampling.temperature, problem) : rc;
    rc = rc == 0 ? read_int(r->json, "top_k", 0, 1000, &top_k, problem) : rc;
    rc = rc == 0 ? read_float(r->json, "top_p", 0, 1, &r->sampling.top_p, problem) : rc;
    rc = rc == 0 ? read_float(r->json, "min_p", 0, 1, &r->sampling.min_p, problem) : rc;
    rc = rc == 0 ? read_float(r->json, "repeat_penalty", 0.5, 2, &r->sampling.repeat_penalty, problem) : rc;
    rc = rc == 0 ? read_int(r->json, "seed", 0, (int64_t)1 << 53, &seed, problem) : rc;
    rc = rc == 0 ? read_int(r->json, "priority", -10, 10, &priority, problem) : rc;
    r->priority = (int)priority;
    r->sampling.top_k = (int)top_k;
    r->sampling.seed = (uint64_t)seed;
    r->has_seed = member(r->json, "seed") != NULL;
    return rc;
}

/* ---- messages ---- */

static int read_message(struct job_request *r, const cJSON *item, int index, bool last,
                        struct job_problem *problem) {
    char param[64];
    const cJSON *role = cJSON_IsObject(item) ? member(item, "role") : NULL;
    const cJSON *content = cJSON_IsObject(item) ? member(item, "content") : NULL;
    snprintf(param, sizeof param, "input[%d]", index);
    if (!cJSON_IsString(role) || !cJSON_IsString(content)) {
        return job_bad_value(problem, param, "an object with 'role' and 'content', both text");
    }
    bool user = strcmp(role->valuestring, "user") == 0;
    bool assistant = strcmp(role->valuestring, "assistant") == 0;
    if (strcmp(role->valuestring, "system") == 0 && index == 0 && r->system == NULL && !last) {
        r->system = content->valuestring;
        return 0;
    }
    if (!user && !assistant) {
        return job_bad_value(
            problem, param,
            "of the role 'user' or 'assistant', or 'system' as the first of several messages and "
            "without the member 'system'");
    }
    if (last && !user) {
        return job_bad_value(problem, param, "of the role 'user', because it is the last one");
    }
    if (user && content->valuestring[0] == '\0') {
        return job_bad_value(problem, param, "a message with some text");
    }
    r->messages[r->n_messages++] = (struct agent_message){
        .role = user ? AGENT_ROLE_USER : AGENT_ROLE_ASSISTANT,
        .text = content->valuestring,
    };
    return 0;
}

static int read_input(struct job_request *r, struct job_problem *problem) {
    const cJSON *input = member(r->json, "input");
    const cJSON *system = member(r->json, "system");
    if (system != NULL && !cJSON_IsString(system)) {
        return job_bad_value(problem, "system", "text");
    }
    r->system = system != NULL ? system->valuestring : NULL;
    int n = cJSON_IsArray(input) ? cJSON_GetArraySize(input) : 1;
    if (!(cJSON_IsString(input) && input->valuestring[0] != '\0') &&
        !(cJSON_IsArray(input) && n >= 1 && n <= MESSAGES_MAX)) {
        return job_bad_value(problem, "input", "some text, or an array of messages");
    }
    r->messages = calloc((size_t)n, sizeof *r->messages);
    if (r->messages == NULL) {
        return -ENOMEM;
    }
    if (cJSON_IsString(input)) {
        r->messages[r->n_messages++] =
            (struct agent_message){.role = AGENT_ROLE_USER, .text = input->valuestring};
        return 0;
    }
    int rc = 0;
    int index = 0;
    for (const cJSON *item = input->child; item != NULL && rc == 0; item = item->next, index++) {
        rc = read_message(r, item, index, item->next == NULL, problem);
    }
    return rc;
}

/* ---- documents ---- */

static int read_document(struct job_request *r, const cJSON *item, int index, struct job_problem *problem) {
    char param[64];
    const cJSON *id = cJSON_IsObject(item) ? member(item, "id") : NULL;
    const cJSON *text = cJSON_IsObject(item) ? member(item, "text") : NULL;
    snprintf(param, sizeof param, "documents[%d]", index);
    if (!cJSON_IsString(id) || !cJSON_IsString(text) || id->valuestring[0] == '\0' ||
        strlen(id->valuestring) > DOCUMENT_ID) {
        return job_bad_value(problem, param, "an object with 'id', text of 1 to 256 bytes, and 'text'");
    }
    for (size_t i = 0; i < r->n_documents; i++) {
        if (strcmp(r->documents[i].id, id->valuestring) == 0) {
            return job_bad_value(problem, param, "a document with an id of its own");
        }
    }
    r->documents[r->n_documents++] =
        (struct agent_document){.id = id->valuestring, .text = text->valuestring};
    return 0;
}

static int read_documents(struct job_request *r, struct job_problem *problem) {
    const cJSON *documents = member(r->json, "documents");
    int n = documents != NULL && cJSON_IsArray(documents) ? cJSON_GetArraySize(documents) : 0;
    if (documents != NULL && (!cJSON_IsArray(documents) || n > DOCUMENTS_MAX)) {
        return job_bad_value(problem, "documents", "an array of at most 1000 documents");
    }
    if (n == 0) {
        return 0;
    }
    r->documents = calloc((size_t)n, sizeof *r->documents);
    if (r->documents == NULL) {
        return -ENOMEM;
    }
    int rc = 0;
    int index = 0;
    for (const cJSON *item = documents->child; item != NULL && rc == 0; item = item->next, index++) {
        rc = read_document(r, item, index, problem);
    }
    return rc;
}

/* ---- the rest ---- */

static int read_bool(const cJSON *json, const char *name, bool *out, struct job_problem *problem) {
    const cJSON *item = member(json, name);
    if (item != NULL && !cJSON_IsBool(item)) {
        return job_bad_value(problem, name, "true or false");
    }
    *out = cJSON_IsTrue(item);
    return 0;
}

/* The same for one that is true where it is not given. */
static int read_bool_or_true(const cJSON *json, const char *name, bool *out, struct job_problem *problem) {
    int rc = read_bool(json, name, out, problem);
    *out = *out || member(json, name) == NULL;
    return rc;
}

/* The names as agent/tags.h reads them. */
static int join_tags(const cJSON *names, char **out, struct job_problem *problem) {
    struct buf text;
    buf_init(&text, (TAGS_NAME_MAX + 1) * TAGS_MORE_MAX);
    int rc = cJSON_GetArraySize(names) <= TAGS_MORE_MAX ? 0 : -EINVAL;
    for (const cJSON *item = names->child; item != NULL && rc == 0; item = item->next) {
        bool good =
            cJSON_IsString(item) && item->valuestring[0] != '\0' && strchr(item->valuestring, ',') == NULL;
        rc = good ? 0 : -EINVAL;
        rc = rc == 0 && text.len > 0 ? buf_putc(&text, ',') : rc;
        rc = rc == 0 ? buf_puts(&text, item->valuestring) : rc;
    }
    if (rc == 0 && text.len > 0) {
        *out = buf_take(&text, NULL);
        rc = *out != NULL ? 0 : -ENOMEM;
    }
    buf_finish(&text);
    return rc == 0 || rc == -ENOMEM ? rc : job_bad_value(problem, "reasoning_tags", TAGS_WANTED);
}

static int read_sections(struct job_request *r, struct job_problem *problem) {
    const cJSON *tags = member(r->json, "reasoning_tags"), *section = member(r->json, "open_section");
    struct tags_more more;
    const char *bad = NULL;
    if (tags != NULL && !cJSON_IsArray(tags)) {
        return job_bad_value(problem, "reasoning_tags", TAGS_WANTED);
    }
    int rc = tags != NULL ? join_tags(tags, &r->reasoning_tags, problem) : 0;
    if (rc == 0 && tags_more_read(&more, r->reasoning_tags, &bad) != 0) {
        return job_bad_value(problem, "reasoning_tags", TAGS_WANTED);
    }
    if (rc == 0 && section != NULL &&
        (!cJSON_IsString(section) || tags_section(&more, section->valuestring) == NULL)) {
        return job_bad_value(problem, "open_section", "the name of a reasoning section, such as \"think\"");
    }
    r->open_section = section != NULL ? section->valuestring : NULL;
    return rc;
}

/* How the model's calls and sections are read, and how its turns are run. */
static int read_reading(struct job_request *r, struct job_problem *problem) {
    int rc = read_sections(r, problem);
    rc = rc == 0 ? read_bool(r->json, "strict", &r->strict, problem) : rc;
    rc = rc == 0 ? read_bool(r->json, "lenient_calls", &r->lenient_calls, problem) : rc;
    rc = rc == 0 ? read_bool_or_true(r->json, "constrained", &r->constrained, problem) : rc;
    rc = rc == 0 ? read_bool_or_true(r->json, "overlap", &r->overlap, problem) : rc;
    return rc == 0 ? read_bool_or_true(r->json, "speculation", &r->speculation, problem) : rc;
}

static int read_metadata(const cJSON *json, struct job_problem *problem) {
    const cJSON *metadata = member(json, "metadata");
    int n = 0;
    if (metadata != NULL && !cJSON_IsObject(metadata)) {
        return job_bad_value(problem, "metadata", "an object of text pairs");
    }
    for (const cJSON *item = metadata != NULL ? metadata->child : NULL; item != NULL; item = item->next) {
        if (!cJSON_IsString(item) || strlen(item->string) > METADATA_KEY ||
            strlen(item->valuestring) > METADATA_VALUE || ++n > METADATA_MAX) {
            return job_bad_value(problem, "metadata",
                                 "at most 16 pairs of text, keys of at most 64 bytes, values of at most 512");
        }
    }
    return 0;
}

static int read_choices(struct job_request *r, struct job_problem *problem) {
    const cJSON *title = member(r->json, "title");
    const cJSON *profile = member(r->json, "profile");
    const cJSON *choice = member(r->json, "tool_choice");
    r->tools = member(r->json, "tools");
    if (title != NULL && (!cJSON_IsString(title) || strlen(title->valuestring) > TITLE_MAX)) {
        return job_bad_value(problem, "title", "text of at most 200 bytes");
    }
    r->title = title != NULL ? title->valuestring : NULL;
    if (profile != NULL && !(cJSON_IsString(profile) && (strcmp(profile->valuestring, "stable") == 0 ||
                                                         strcmp(profile->valuestring, "hf-compat") == 0))) {
        return job_bad_value(problem, "profile", "\"stable\" or \"hf-compat\"");
    }
    r->profile =
        profile != NULL && profile->valuestring[0] == 'h' ? AGENT_PROFILE_HF_COMPAT : AGENT_PROFILE_STABLE;
    if (choice != NULL && !(cJSON_IsString(choice) && (strcmp(choice->valuestring, "auto") == 0 ||
                                                       strcmp(choice->valuestring, "none") == 0))) {
        return job_bad_value(problem, "tool_choice", "\"auto\" or \"none\"");
    }
    r->no_tools = choice != NULL && strcmp(choice->valuestring, "none") == 0;
    if (r->tools != NULL && !cJSON_IsArray(r->tools)) {
        return job_bad_value(problem, "tools", "an array of names");
    }
    return read_metadata(r->json, problem);
}

int job_request_parse(const char *text, size_t len, struct job_request *out, struct job_problem *problem) {
    static const struct json_limits limits = {.max_bytes = 8u << 20, .max_nodes = 100000, .max_depth = 64};
    struct job_request r = {0};
    char err[256] = "";
    memset(problem, 0, sizeof *problem);
    int rc = json_parse(text, len, &limits, &r.json, err, sizeof err);
    if (rc != 0 && rc != -ENOMEM) {
        return job_refuse(problem, "invalid_json", "", "the body is no JSON that is accepted here: %s", err);
    }
    if (rc == 0 && !cJSON_IsObject(r.json)) {
        rc = job_refuse(problem, "invalid_json", "", "the body must be a JSON object");
    }
    rc = rc == 0 ? read_input(&r, problem) : rc;
    rc = rc == 0 ? read_numbers(&r, problem) : rc;
    rc = rc == 0 ? read_choices(&r, problem) : rc;
    rc = rc == 0 ? read_documents(&r, problem) : rc;
    rc = rc == 0 ? read_reading(&r, problem) : rc;
    rc = rc == 0 ? job_format_read(text, len, &r.format, problem) : rc;
    rc = rc == 0 ? job_format_of_system(r.system, &r.format, problem) : rc;
    if (rc == -ENOMEM) {
        (void)job_refuse(problem, "internal_error", "", "memory is out");
    }
    if (rc != 0) {
        job_request_finish(&r);
        return rc;
    }
    *out = r;
    return 0;
}

void job_request_finish(struct job_request *request) {
    cJSON_Delete(request->json);
    free(request->messages);
    free(request->documents);
    free(request->reasoning_tags);
    job_format_finish(&request->format);
    memset(request, 0, sizeof *request);
}

int job_request_check_model(const struct job_request *request, const char *model,
                            struct job_problem *problem) {
    const cJSON *item = member(request->json, "model");
    if (item == NULL || (cJSON_IsString(item) && strcmp(item->valuestring, model) == 0)) {
        return 0;
    }
    return job_refuse(problem, "model_not_found", "model", "the model '%s' is not loaded; '%s' is",
                      cJSON_IsString(item) ? item->valuestring : "?", model);
}

void job_request_title(const struct job_request *request, char title[201]) {
    const char *text =
        request->title != NULL ? request->title : request->messages[request->n_messages - 1].text;
    text += strspn(text, " \t\r\n");
    size_t len = strcspn(text, "\r\n");
    size_t keep = 0;
    size_t step = 0;
    while (keep < len && (step = utf8_length(text + keep, len - keep)) > 0 && keep + step <= TITLE_MAX) {
        keep += step;
    }
    memcpy(title, text, keep);
    title[keep] = '\0';
}

/* ---- tools ---- */

static bool matches(const char *pattern, const char *name) {
    if (*pattern == '*') {
        return matches(pattern + 1, name) || (*name != '\0' && matches(pattern, name + 1));
    }
    return *pattern == *name && (*pattern == '\0' || matches(pattern + 1, name + 1));
}

static void write_tool(struct json_writer *w, const struct tool_info *tool, bool strict) {
    json_object_begin(w);
    json_key(w, "name");
    json_string(w, tool->name);
    json_key(w, "description");
    json_string(w, tool->description);
    json_key(w, "schema");
    json_string(w, tool->schema);
    if (strict) {
        json_key(w, "strict");
        json_bool(w, true);
    }
    if ((tool->flags & HERMES_T_POLL) != 0) {
        json_key(w, "poller");
        json_bool(w, true);
    }
    if ((tool->flags & HERMES_T_READ_ONLY) != 0) {
        json_key(w, "read_only");
        json_bool(w, true);
    }
    json_object_end(w);
}

static int no_such_tool(const struct tools *tools, const cJSON *item, int index,
                        struct job_problem *problem) {
    char param[64];
    snprintf(param, sizeof param, "tools[%d]", index);
    if (!cJSON_IsString(item) || strlen(item->valuestring) > 256) {
        return job_bad_value(problem, param, "the name of a tool");
    }
    const char *near = tools_suggest(tools, item->valuestring);
    return near != NULL
               ? job_refuse(problem, "tool_not_found", param,
                            "tool '%s' is not registered; did you mean '%s'?", item->valuestring, near)
               : job_refuse(problem, "tool_not_found", param,
                            "tool '%s' is not registered; GET /v1/tools names those that are",
                            item->valuestring);
}

static int stars(const char *pattern) {
    int n = 0;
    for (; *pattern != '\0'; pattern++) {
        n += *pattern == '*';
    }
    return n;
}

/* Marks what the request's names and patterns cover. */
static int choose(const cJSON *names, const struct tools *tools, bool *chosen, struct job_problem *problem) {
    int index = 0;
    for (const cJSON *item = names->child; item != NULL; item = item->next, index++) {
        bool found = false;
        bool usable = cJSON_IsString(item) && stars(item->valuestring) <= STARS_MAX;
        for (size_t i = 0; usable && i < tools_count(tools); i++) {
            if (matches(item->valuestring, tools_get(tools, i)->name)) {
                chosen[i] = true;
                found = true;
            }
        }
        if (!found) {
            return no_such_tool(tools, item, index, problem);
        }
    }
    return 0;
}

int job_tools_choose(const struct job_request *request, const struct tools *tools, struct buf *out,
                     struct job_problem *problem) {
    size_t n = tools_count(tools);
    bool *chosen = calloc(n + 1, sizeof *chosen);
    if (chosen == NULL) {
        (void)job_refuse(problem, "internal_error", "", "memory is out");
        return -ENOMEM;
    }
    int rc = 0;
    if (request->tools != NULL) {
        rc = choose(request->tools, tools, chosen, problem);
    } else {
        memset(chosen, true, n);
    }
    struct json_writer w;
    json_writer_begin(&w, out);
    json_array_begin(&w);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (chosen[i] && !request->no_tools) {
            write_tool(&w, tools_get(tools, i), request->strict);
        }
    }
    json_array_end(&w);
    free(chosen);
    if (rc == 0 && (rc = json_writer_end(&w)) != 0) {
        (void)job_refuse(problem, "internal_error", "", "memory is out");
    }
    return rc;
}

int job_tools_read(const char *text, struct job_tools *out) {
    static const struct json_limits limits = {.max_bytes = 64u << 20, .max_nodes = 1000000, .max_depth = 16};
    struct job_tools t = {0};
    int rc = json_parse(text, strlen(text), &limits, &t.json, NULL, 0);
    int n = rc == 0 ? cJSON_GetArraySize(t.json) : 0;
    if (rc == 0 && (t.items = calloc((size_t)n + 1, sizeof *t.items)) == NULL) {
        rc = -ENOMEM;
    }
    for (const cJSON *item = rc == 0 ? t.json->child : NULL; item != NULL; item = item->next) {
        struct agent_tool *one = &t.items[t.n++];
        one->name = json_get_string(item, "name");
        one->description = json_get_string(item, "description");
        one->schema = json_get_string(item, "schema");
        one->strict = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "strict"));
        one->poller = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "poller"));
        one->read_only = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "read_only"));
        if (one->name == NULL || one->description == NULL || one->schema == NULL) {
            rc = -EINVAL;
        }
    }
    if (rc != 0) {
        job_tools_finish(&t);
        return rc;
    }
    *out = t;
    return 0;
}

void job_tools_finish(struct job_tools *tools) {
    cJSON_Delete(tools->json);
    free(tools->items);
    memset(tools, 0, sizeof *tools);
}
