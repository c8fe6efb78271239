/* The first line is a schema, the rest a value. Whatever they are: no crash, no leak, no endless work; a
 * refusal has a sentence; and a schema, its negation and its wrapping in allOf agree. */
#include "tools/schema.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct schema_options any = {.any_value = true};

static void expect(int truth, const char *what) {
    if (!truth) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

/* 1, 0, or -1 when there is no verdict. */
static int verdict(const char *before, const char *schema_text, size_t len, const char *behind,
                   const struct value *value) {
    struct schema *schema = NULL;
    char err[300] = "", *text = malloc(strlen(before) + len + strlen(behind) + 1);
    if (text == NULL)
        return -1;
    size_t n = strlen(before);
    memcpy(text, before, n);
    memcpy(text + n, schema_text, len);
    memcpy(text + n + len, behind, strlen(behind));
    int rc = schema_compile_with(text, n + len + strlen(behind), &any, &schema, NULL, err, sizeof err);
    free(text);
    if (rc != 0) {
        expect(rc == -EINVAL && err[0] != '\0', "a schema is refused with a sentence");
        return -1;
    }
    rc = schema_check(schema, value, err, sizeof err);
    schema_destroy(schema);
    if (rc == -E2BIG)
        return -1;
    expect(rc == 0 || (rc == -EINVAL && err[0] != '\0'), "a value is refused with a sentence");
    return rc == 0;
}

/* References and dialects mean something else when the schema stands deeper. */
static int can_be_wrapped(const char *text, size_t len) {
    return memmem(text, len, "$", 1) == NULL && memmem(text, len, "\\u", 2) == NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data, *line = size > 0 ? memchr(text, '\n', size) : NULL;
    struct value_document *document = NULL;
    size_t len = line != NULL ? (size_t)(line - text) : size;
    if (line == NULL ||
        value_parse(line + 1, size - len - 1, &schema_value_limits, &document, NULL, 0) != 0) {
        struct schema *schema = NULL;
        if (schema_compile_with(text, len, NULL, &schema, NULL, NULL, 0) == 0)
            schema_destroy(schema);
        return 0;
    }
    const struct value *value = value_root(document);
    int plain = verdict("", text, len, "", value);
    if (plain >= 0 && can_be_wrapped(text, len)) {
        int negated = verdict("{\"not\":", text, len, "}", value);
        int wrapped = verdict("{\"allOf\":[true,", text, len, "]}", value);
        expect(negated < 0 || negated == !plain, "the negation disagrees");
        expect(wrapped < 0 || wrapped == plain, "allOf changes nothing");
    }
    value_destroy(document);
    return 0;
}
