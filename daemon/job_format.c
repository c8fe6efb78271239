#include "daemon/job_format.h"

#include "agent/constrain.h"
#include "agent/rawjson.h"
#include "agent/render.h"
#include "base/json.h"
#include "daemon/job_problem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 64
#define CLOSERS_MAX    4 /* of the schema in a system text: all but the last stand in strings */

static const char object_schema[] = "{\"type\": \"object\"}"; /* of json_object */

/* ---- reading ---- */

/* {NULL, 0} for a member that is not there or null. */
static struct rawjson member(struct rawjson object, const char *name) {
    struct rawjson value = {0};
    if (!rawjson_get(object, name, &value) || rawjson_type(value) == 'n')
        return (struct rawjson){0};
    return value;
}

/* 1 for this text, 0 for another or no text, -ENOMEM. */
static int says(struct rawjson value, const char *text) {
    char *said = rawjson_type(value) == '"' ? rawjson_string(value) : NULL;
    if (said == NULL)
        return rawjson_type(value) == '"' ? -ENOMEM : 0;
    int same = strcmp(said, text) == 0;
    free(said);
    return same;
}

static int read_schema(struct rawjson schema, const char *param, struct job_format *out,
                       struct job_problem *problem) {
    if (rawjson_type(schema) != '{')
        return job_bad_value(problem, param, "a JSON Schema, which is an object");
    if (schema.len > JOB_FORMAT_SCHEMA_MAX)
        return job_refuse(problem, "schema_unsupported", param,
                          "'%s' has %zu bytes; a schema stands in the prompt and may have %zu", param,
                          schema.len, JOB_FORMAT_SCHEMA_MAX);
    out->param = param;
    out->schema = strndup(schema.text, schema.len);
    return out->schema != NULL ? 0 : -ENOMEM;
}

static int read_json_schema(struct rawjson inner, struct job_format *out, struct job_problem *problem) {
    struct rawjson name = member(inner, "name"), strict = member(inner, "strict");
    if (rawjson_type(inner) != '{')
        return job_bad_value(problem, "response_format.json_schema", "an object with 'schema'");
    if (rawjson_type(name) != 0 && (rawjson_type(name) != '"' || name.len > NAME_MAX_BYTES + 2))
        return job_bad_value(problem, "response_format.json_schema.name", "text of at most 64 bytes");
    if (rawjson_type(strict) != 0 && rawjson_type(strict) != 't' && rawjson_type(strict) != 'f')
        return job_bad_value(problem, "response_format.json_schema.strict", "true or false");
    out->strict = rawjson_type(strict) == 't';
    return read_schema(member(inner, "schema"), "response_format.json_schema.schema", out, problem);
}

static int read_type(struct rawjson format, struct job_format *out, struct job_problem *problem) {
    struct rawjson type = member(format, "type"), schema = member(format, "schema");
    int text = says(type, "text"), object = says(type, "json_object"), full = says(type, "json_schema");
    if (text < 0 || object < 0 || full < 0)
        return -ENOMEM;
    out->json = object || full;
    if (full)
        return read_json_schema(member(format, "json_schema"), out, problem);
    if (object && rawjson_type(schema) != 0) /* as llama.cpp has it */
        return read_schema(schema, "response_format.schema", out, problem);
    return text || object ? 0
                          : job_bad_value(problem, "response_format.type",
                                          "\"text\", \"json_object\" or \"json_schema\"");
}

int job_format_read(const char *body, size_t len, struct job_format *out, struct job_problem *problem) {
    struct job_format format = {.param = "response_format"};
    struct rawjson value = member(rawjson_of(body, len), "response_format");
    int rc = 0;
    format.named = rawjson_type(value) != 0;
    if (rawjson_type(value) == '{')
        rc = read_type(value, &format, problem);
    else if (rawjson_type(value) != 0)
        rc = job_bad_value(problem, "response_format", "an object with 'type'");
    if (rc != 0) {
        job_format_finish(&format);
        return rc;
    }
    *out = format;
    return 0;
}

/* The JSON object between the tags behind the sentence: its length, 0 where there is none. A tag inside a
 * string of it ends nothing. */
static size_t find_schema(const char *system, const char **schema) {
    static const char space[] = " \t\r\n";
    const char *at = strstr(system, RENDER_SCHEMA_SENTENCE);
    if (at == NULL)
        return 0;
    at += sizeof RENDER_SCHEMA_SENTENCE - 1;
    at += strspn(at, space);
    if (strncmp(at, RENDER_SCHEMA_OPEN, sizeof RENDER_SCHEMA_OPEN - 1) != 0)
        return 0;
    at += sizeof RENDER_SCHEMA_OPEN - 1;
    at += strspn(at, space);
    const char *end = *at == '{' ? at : NULL;
    for (int i = 0; i < CLOSERS_MAX && end != NULL; i++) {
        end = strstr(end + 1, RENDER_SCHEMA_CLOSE);
        if (end != NULL && json_check(at, (size_t)(end - at), NULL, NULL, 0) == 0) {
            *schema = at;
            while (strchr(space, end[-1]) != NULL)
                end--;
            return (size_t)(end - at);
        }
    }
    return 0;
}

int job_format_of_system(const char *system, struct job_format *out, struct job_problem *problem) {
    struct job_format format = {.json = true, .in_system = true};
    const char *schema = NULL;
    size_t len = system != NULL && !out->named ? find_schema(system, &schema) : 0;
    if (len == 0)
        return 0;
    int rc = read_schema(rawjson_of(schema, len), "system", &format, problem);
    if (rc == 0)
        *out = format;
    return rc;
}

void job_format_finish(struct job_format *format) {
    free(format->schema);
    *format = (struct job_format){0};
}

/* ---- judging ---- */

int job_format_compile(const struct job_format *format, struct schema **out, char *err, size_t errlen) {
    static const struct schema_options options = {.any_value = true};
    const char *text = format->schema != NULL ? format->schema : object_schema;
    return schema_compile_with(text, strlen(text), &options, out, NULL, err, errlen);
}

int job_format_check(const struct job_format *format, bool constrained, struct job_problem *problem) {
    struct constrain_report report = {.exact = true};
    struct schema *schema = NULL;
    struct grammar *grammar = NULL;
    char why[400] = "";
    if (!format->json)
        return 0;
    int rc = job_format_compile(format, &schema, why, sizeof why);
    const char *what = "used";
    if (rc == 0 && constrained) {
        what = "made a grammar of";
        rc = constrain_value(schema, false, &grammar, &report, why, sizeof why);
    }
    if (rc != 0 && rc != -ENOMEM)
        rc = job_refuse(
            problem, "schema_unsupported", format->param, "'%s' cannot be %s: %s%s", format->param, what, why,
            format->in_system ? "; with \"response_format\": {\"type\": \"text\"} it is only text" : "");
    else if (rc == 0 && format->strict && !report.exact)
        rc = job_refuse(
            problem, "schema_unsupported", format->param,
            "'%s' says what an answer cannot be held to while it is written: %s; without 'strict' it "
            "is checked afterwards",
            format->param, report.why);
    grammar_unref(grammar);
    schema_destroy(schema);
    return rc;
}
