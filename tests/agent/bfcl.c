#include "tests/agent/bfcl.h"

#include "base/json.h"
#include "tests/shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 2000
#define LINE_BYTES  (1 << 20)
#define CALLS_MAX   32

static const struct json_limits line_limits = {.max_bytes = LINE_BYTES, .max_nodes = 100000, .max_depth = 64};

static void must(bool ok, const char *why) {
    if (ok)
        return;
    (void)printf("%s\n", why);
    exit(1);
}

/* ---- the data's types, which are Python's and Java's ---- */

static const char *json_type(const char *type) {
    static const char *const names[][2] = {
        {"dict", "object"}, {"HashMap", "object"},  {"float", "number"},    {"double", "number"},
        {"tuple", "array"}, {"ArrayList", "array"}, {"Array", "array"},     {"String", "string"},
        {"char", "string"}, {"long", "integer"},    {"Boolean", "boolean"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(type, names[i][0]) == 0)
            return names[i][1];
    return type;
}

static void to_json_schema(cJSON *schema) {
    cJSON *type = cJSON_GetObjectItemCaseSensitive(schema, "type"), *child;
    if (cJSON_IsString(type)) {
        if (strcmp(type->valuestring, "any") == 0 || type->valuestring[0] == '\0')
            cJSON_DeleteItemFromObjectCaseSensitive(schema, "type");
        else
            (void)cJSON_SetValuestring(type, json_type(type->valuestring));
    }
    cJSON_DeleteItemFromObjectCaseSensitive(schema, "optional"); /* a note of the data */
    cJSON *properties = cJSON_GetObjectItemCaseSensitive(schema, "properties");
    cJSON_ArrayForEach(child, properties) to_json_schema(child);
    cJSON *items = cJSON_GetObjectItemCaseSensitive(schema, "items");
    if (cJSON_IsObject(items))
        to_json_schema(items);
}

/* ---- functions ---- */

static const char *text_of(const cJSON *object, const char *key) {
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(text) ? text->valuestring : "";
}

/* The first message of the first turn. */
static char *question_of(const cJSON *json) {
    const cJSON *turn = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(json, "question"), 0);
    return strdup(text_of(cJSON_GetArrayItem(turn, 0), "content"));
}

static void add_function(struct bfcl *b, struct bfcl_entry *e, const cJSON *function) {
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(function, "name");
    cJSON *parameters = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(function, "parameters"), true);
    char err[300] = "";
    b->n_functions++;
    to_json_schema(parameters);
    char *text = cJSON_PrintUnformatted(parameters);
    must(text != NULL, "no memory");
    struct schema *schema = NULL;
    if (e->n == BFCL_TOOLS_MAX || schema_compile(text, strlen(text), &schema, err, sizeof err) != 0) {
        b->n_refused++;
        (void)printf("%s: %s\n", name->valuestring, err);
    } else {
        e->names[e->n] = strdup(name->valuestring);
        e->descriptions[e->n] = strdup(text_of(function, "description"));
        e->parameters[e->n] = strdup(text);
        e->schemas[e->n] = schema;
        e->tools[e->n] = (struct constrain_tool){.name = e->names[e->n], .schema = schema};
        e->n++;
    }
    free(text);
    cJSON_Delete(parameters);
}

static struct bfcl_entry *add_entry(struct bfcl *b, const char *line) {
    cJSON *json = NULL, *function;
    struct constrain_report report;
    char err[300] = "";
    must(json_parse(line, strlen(line), &line_limits, &json, err, sizeof err) == 0, err);
    struct bfcl_entry *e = &b->entries[b->n];
    cJSON_ArrayForEach(function, cJSON_GetObjectItemCaseSensitive(json, "function"))
        add_function(b, e, function);
    if (e->n > 0) {
        e->question = question_of(json);
        e->system = strdup(text_of(json, "system"));
    }
    cJSON_Delete(json);
    if (e->n == 0)
        return NULL;
    must(constrain_call(e->tools, e->n, &e->grammar, &report, err, sizeof err) == 0, err);
    b->n_inexact += !report.exact;
    b->n++;
    return e;
}

/* ---- right answers ---- */

/* The first acceptable value that is one; NULL: the argument is left out. */
static cJSON *picked(const cJSON *value);

static cJSON *picked_from(const cJSON *acceptable) {
    const cJSON *one;
    cJSON_ArrayForEach(one, acceptable) {
        if (!cJSON_IsString(one) || one->valuestring[0] != '\0')
            return picked(one);
    }
    return NULL;
}

/* Objects list the acceptable values of each member, also inside of arrays. */
static cJSON *picked(const cJSON *value) {
    const cJSON *child;
    if (cJSON_IsArray(value)) {
        cJSON *array = cJSON_CreateArray();
        cJSON_ArrayForEach(child, value) cJSON_AddItemToArray(array, picked(child));
        return array;
    }
    if (!cJSON_IsObject(value))
        return cJSON_Duplicate(value, true);
    cJSON *object = cJSON_CreateObject();
    cJSON_ArrayForEach(child, value) {
        cJSON *item = picked_from(child);
        if (item != NULL)
            cJSON_AddItemToObject(object, child->string, item);
    }
    return object;
}

static bool spell(const struct bfcl_entry *e, const char *name, const char *arguments, struct buf *out) {
    for (size_t i = 0; i < e->n; i++) {
        struct value_document *document = NULL;
        char err[300];
        if (strcmp(e->names[i], name) != 0)
            continue;
        bool ok = value_parse(arguments, strlen(arguments), &json_limits_default, &document, err,
                              sizeof err) == 0 &&
                  schema_check(e->schemas[i], value_root(document), err, sizeof err) == 0 &&
                  buf_printf(out, "\n{\"name\": \"%s\", \"arguments\": ", name) == 0 &&
                  constrain_spell(e->schemas[i], value_root(document), out) == 0 &&
                  buf_puts(out, "}\n</tool_call>") == 0;
        value_destroy(document);
        return ok;
    }
    return false;
}

/* A call with the values of the answer is one that the grammar writes. */
static bool matches(struct grammar *g, const struct buf *text) {
    struct grammar_matcher m = {0};
    bool ok = grammar_matcher_init(&m, g) == 0 && grammar_matcher_bytes(&m, text->data, text->len) == 1 &&
              grammar_matcher_is_complete(&m);
    grammar_matcher_finish(&m);
    return ok;
}

static void add_call(struct bfcl *b, struct bfcl_entry *e, const cJSON *call) {
    struct buf text;
    cJSON *values = picked(call->child);
    char *arguments = cJSON_PrintUnformatted(values);
    buf_init(&text, LINE_BYTES);
    if (e->n_calls < CALLS_MAX && spell(e, call->child->string, arguments, &text) &&
        matches(e->grammar, &text)) {
        size_t len;
        e->calls[e->n_calls++] = buf_take(&text, &len);
        b->n_calls++;
    } else {
        b->n_left_out++;
    }
    buf_finish(&text);
    cJSON_Delete(values);
    free(arguments);
}

static void add_answers(struct bfcl *b, struct bfcl_entry *e, const char *line) {
    cJSON *json = NULL, *call;
    char err[300] = "";
    must(json_parse(line, strlen(line), &line_limits, &json, err, sizeof err) == 0, err);
    e->calls = calloc(CALLS_MAX, sizeof *e->calls);
    must(e->calls != NULL, "no memory");
    cJSON_ArrayForEach(call, cJSON_GetObjectItemCaseSensitive(json, "ground_truth")) add_call(b, e, call);
    cJSON_Delete(json);
}

/* ---- files ---- */

static FILE *open_file(const char *folder, const char *name) {
    char path[4096], file[200];
    (void)snprintf(file, sizeof file, "bfcl/%sBFCL_v4_%s.json", folder, name);
    FILE *f = fopen(shared_path(path, file), "rb");
    must(f != NULL, "cannot read the data");
    return f;
}

void bfcl_read(struct bfcl *b, bool calls) {
    static const char *const files[] = {"simple_python", "simple_java", "simple_javascript",
                                        "multiple",      "parallel",    "parallel_multiple"};
    char *line = malloc(LINE_BYTES), *answers = malloc(LINE_BYTES);
    *b = (struct bfcl){.entries = calloc(ENTRIES_MAX, sizeof *b->entries)};
    must(line != NULL && answers != NULL && b->entries != NULL, "no memory");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        FILE *f = open_file("", files[i]), *right = calls ? open_file("possible_answer/", files[i]) : NULL;
        while (fgets(line, LINE_BYTES, f) != NULL && b->n < ENTRIES_MAX) {
            struct bfcl_entry *e = add_entry(b, line);
            if (right != NULL && fgets(answers, LINE_BYTES, right) != NULL && e != NULL)
                add_answers(b, e, answers);
        }
        (void)fclose(f);
        if (right != NULL)
            (void)fclose(right);
    }
    free(line);
    free(answers);
    (void)printf("%zu sets of %zu functions; %zu functions refused, %zu sets not exact\n", b->n,
                 b->n_functions, b->n_refused, b->n_inexact);
}

void bfcl_read_file(struct bfcl *b, const char *path) {
    FILE *f = fopen(path, "rb");
    char *line = malloc(LINE_BYTES);
    *b = (struct bfcl){.entries = calloc(ENTRIES_MAX, sizeof *b->entries)};
    must(f != NULL, "cannot read the file");
    must(line != NULL && b->entries != NULL, "no memory");
    while (fgets(line, LINE_BYTES, f) != NULL && b->n < ENTRIES_MAX)
        (void)add_entry(b, line);
    (void)fclose(f);
    free(line);
}

void bfcl_free(struct bfcl *b) {
    for (size_t i = 0; i < b->n; i++) {
        struct bfcl_entry *e = &b->entries[i];
        grammar_unref(e->grammar);
        for (size_t k = 0; k < e->n; k++) {
            schema_destroy(e->schemas[k]);
            free(e->names[k]);
            free(e->descriptions[k]);
            free(e->parameters[k]);
        }
        for (size_t k = 0; k < e->n_calls; k++)
            free(e->calls[k]);
        free(e->calls);
        free(e->question);
        free(e->system);
    }
    free(b->entries);
}
