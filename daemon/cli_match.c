#include "daemon/cli_match.h"

#include "agent/constrain.h"
#include "base/help.h"
#include "base/json.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA_BYTES_MAX (4u << 20)

enum status { STATUS_FINE = 0, STATUS_NO_MATCH = 1, STATUS_USE = 2, STATUS_NOT_EXACT = 3 };

struct command {
    bool model, as_written;
    struct schema *schema;
    struct grammar *grammar;
};

static int usage(FILE *to) {
    fputs("Usage: hermesd schema match [--model] [--as-written] SCHEMA < INSTANCES\n"
          "SCHEMA is a file; INSTANCES are JSON values, one per line.\n",
          to);
    return to == stdout ? 0 : STATUS_USE;
}

static void print_line(const char *key, const char *verdict, const char *why, long line, long at) {
    struct json_writer w;
    struct buf out;
    buf_init(&out, 64 * 1024);
    json_writer_begin(&w, &out);
    json_object_begin(&w);
    if (line > 0) {
        json_key(&w, "line");
        json_int(&w, line);
    }
    json_key(&w, key);
    json_string(&w, verdict);
    if (at >= 0) {
        json_key(&w, "byte");
        json_int(&w, at);
    }
    if (why[0] != '\0') {
        json_key(&w, "message");
        json_string(&w, why);
    }
    json_object_end(&w);
    if (json_writer_end(&w) == 0)
        puts(out.data);
    buf_finish(&out);
}

static int read_file(const char *path, struct buf *out) {
    FILE *in = fopen(path, "rb");
    int rc = in == NULL ? -errno : buf_read_to_end(out, in);
    if (in != NULL)
        fclose(in);
    if (rc != 0)
        fprintf(stderr, "hermesd schema: %s cannot be read: %s\n", path,
                rc == -ENOBUFS ? "it is larger than 4 MiB" : strerror(-rc));
    return rc;
}

static enum status compile(struct command *c, const char *path) {
    static const struct schema_options options = {.any_value = true};
    struct constrain_report report;
    struct buf text;
    char why[600] = "";
    buf_init(&text, SCHEMA_BYTES_MAX + 64 * 1024);
    if (read_file(path, &text) != 0) {
        buf_finish(&text);
        return STATUS_USE;
    }
    int rc = schema_compile_with(text.len > 0 ? text.data : "", text.len, &options, &c->schema, NULL, why,
                                 sizeof why);
    rc = rc == 0 ? constrain_value(c->schema, !c->model, &c->grammar, &report, why, sizeof why) : rc;
    buf_finish(&text);
    if (rc != 0)
        print_line("schema", "refused", why, 0, -1);
    else
        print_line("schema", report.exact ? "exact" : "not exact", report.why, 0, -1);
    return rc == 0 && report.exact ? STATUS_FINE : STATUS_NOT_EXACT;
}

static enum status match_text(const struct command *c, const char *text, size_t len, long line) {
    struct grammar_matcher m;
    size_t at = 0;
    int rc = grammar_matcher_init(&m, c->grammar);
    if (rc == 0)
        rc = 1;
    while (rc == 1 && at < len) {
        rc = grammar_matcher_byte(&m, (unsigned char)text[at]);
        at += rc == 1;
    }
    bool whole = rc == 1 && grammar_matcher_is_complete(&m);
    grammar_matcher_finish(&m);
    print_line("verdict",
               whole    ? "match"
               : rc < 0 ? "undecided"
                        : "no match",
               rc < 0 ? "a state of the grammar became too large" : "", line, whole ? -1 : (long)at);
    return whole ? STATUS_FINE : STATUS_NO_MATCH;
}

static enum status match_line(const struct command *c, const char *text, size_t len, long line) {
    struct value_document *document = NULL;
    struct buf spelled;
    char why[400] = "";
    if (c->as_written)
        return match_text(c, text, len, line);
    if (value_parse(text, len, &schema_value_limits, &document, why, sizeof why) != 0) {
        print_line("verdict", "not JSON", why, line, -1);
        return STATUS_NO_MATCH;
    }
    buf_init(&spelled, 16u << 20);
    enum status status = STATUS_NO_MATCH;
    if (constrain_spell(c->schema, value_root(document), &spelled) == 0)
        status = match_text(c, spelled.data, spelled.len, line);
    else
        print_line("verdict", "undecided", "the value is too large or too deep", line, -1);
    buf_finish(&spelled);
    value_destroy(document);
    return status;
}

static bool read_options(struct command *c, int argc, char **argv) {
    static const struct option options[] = {
        {"model", no_argument, NULL, 'm'}, {"as-written", no_argument, NULL, 'w'}, {0}};
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'm' && option != 'w')
            return false;
        c->model = c->model || option == 'm';
        c->as_written = c->as_written || option == 'w';
    }
    return optind == argc - 1;
}

int cli_match(int argc, char **argv) {
    if (help_is_wanted(argc, argv))
        return usage(stdout);
    struct command c = {0};
    if (!read_options(&c, argc, argv))
        return usage(stderr);
    enum status status = compile(&c, argv[optind]);
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    for (long number = 1; c.grammar != NULL && (n = getline(&line, &cap, stdin)) >= 0; number++) {
        size_t len = (size_t)n;
        while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
            len--;
        if (len == 0)
            continue;
        enum status one = match_line(&c, line, len, number);
        status = one > status ? one : status;
    }
    free(line);
    grammar_unref(c.grammar);
    schema_destroy(c.schema);
    return status;
}
