#include "daemon/cli_schema.h"

#include "base/buf.h"
#include "base/help.h"
#include "base/json.h"
#include "tools/schema.h"
#include "tools/schema_graph.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_BYTES_MAX (4u * 1024 * 1024)

enum status { STATUS_FINE = 0, STATUS_INVALID = 1, STATUS_USE = 2, STATUS_REFUSED = 3 };

struct command {
    struct schema_options options;
    bool json;
};

static int usage(FILE *to) {
    fputs("Usage: hermesd schema check [--tool] [--json] [--draft 2020-12|2019-09|07|06|04] [--formats=no] "
          "SCHEMA [INSTANCE…]\n"
          "SCHEMA and INSTANCE are files, - for standard input, or JSON text.\n",
          to);
    return to == stdout ? 0 : STATUS_USE;
}

/* ---- reading ---- */

/* What the argument stands for; says so when it cannot be read. */
static int read_argument(const char *argument, struct buf *out) {
    bool standard = strcmp(argument, "-") == 0;
    FILE *in = standard ? stdin : fopen(argument, "rb");
    int rc = 0;
    if (in == NULL && (errno == ENOENT || errno == ENAMETOOLONG) &&
        json_check(argument, strlen(argument), &schema_value_limits, NULL, 0) == 0)
        rc = buf_puts(out, argument);
    else if (in == NULL)
        rc = -errno;
    else
        rc = buf_read_to_end(out, in);
    if (in != NULL && !standard)
        fclose(in);
    if (rc != 0)
        fprintf(stderr, "hermesd schema: %s cannot be read: %s\n", argument,
                rc == -ENOBUFS ? "it is larger than 4 MiB" : strerror(-rc));
    return rc;
}

/* ---- printing ---- */

/* Files by their names, JSON in the arguments by where it stands. */
static void print_verdict(const struct command *c, const char *what, const char *name, const char *verdict,
                          const char *keyword, const char *why) {
    struct json_writer w;
    struct buf line;
    if (!c->json) {
        printf("%s: %s%s%s\n", name, verdict, why[0] != '\0' ? ": " : "", why);
        return;
    }
    buf_init(&line, 64 * 1024);
    json_writer_begin(&w, &line);
    json_object_begin(&w);
    json_key(&w, what);
    json_string(&w, name);
    json_key(&w, "verdict");
    json_string(&w, verdict);
    if (keyword[0] != '\0') {
        json_key(&w, "keyword");
        json_string(&w, keyword);
    }
    if (why[0] != '\0') {
        json_key(&w, "message");
        json_string(&w, why);
    }
    json_object_end(&w);
    if (json_writer_end(&w) == 0)
        puts(line.data);
    buf_finish(&line);
}

/* ---- the command ---- */

static enum status compile(const struct command *c, const char *name, struct schema **out) {
    char keyword[SCHEMA_KEYWORD_MAX] = "", why[600] = "";
    struct buf text;
    buf_init(&text, INPUT_BYTES_MAX + 64 * 1024);
    if (read_argument(name, &text) != 0) {
        buf_finish(&text);
        return STATUS_USE;
    }
    int rc = schema_compile_with(text.len > 0 ? text.data : "", text.len, &c->options, out, keyword, why,
                                 sizeof why);
    buf_finish(&text);
    print_verdict(c, "schema", name, rc == 0 ? "supported" : "refused", keyword, why);
    return rc == 0 ? STATUS_FINE : STATUS_REFUSED;
}

static enum status check(const struct command *c, const struct schema *schema, const char *name) {
    struct value_document *document = NULL;
    struct buf text;
    char why[1000] = "";
    buf_init(&text, INPUT_BYTES_MAX + 64 * 1024);
    if (read_argument(name, &text) != 0) {
        buf_finish(&text);
        return STATUS_USE;
    }
    int rc = value_parse(text.len > 0 ? text.data : "", text.len, &schema_value_limits, &document, why,
                         sizeof why);
    const char *verdict = rc == 0 ? "valid" : "not JSON";
    if (rc == 0) {
        rc = schema_check(schema, value_root(document), why, sizeof why);
        verdict = rc == 0 ? "valid" : rc == -EINVAL ? "invalid" : "undecided";
    }
    print_verdict(c, "instance", name, verdict, "", why);
    value_destroy(document);
    buf_finish(&text);
    return rc == 0 ? STATUS_FINE : STATUS_INVALID;
}

static bool read_draft(const char *name, struct command *c) {
    static const char *const names[] = {"2020-12", "2019-09", "07", "06", "04"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0) {
            c->options.draft = (enum schema_draft)i;
            return true;
        }
    return false;
}

static bool read_options(struct command *c, int argc, char **argv) {
    static const struct option options[] = {{"tool", no_argument, NULL, 't'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"draft", required_argument, NULL, 'd'},
                                            {"formats", required_argument, NULL, 'f'},
                                            {0}};
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 't')
            c->options.any_value = false;
        else if (option == 'j')
            c->json = true;
        else if (option == 'f' && (strcmp(optarg, "no") == 0 || strcmp(optarg, "yes") == 0))
            c->options.formats_are_notes = optarg[0] == 'n';
        else if (option != 'd' || !read_draft(optarg, c))
            return false;
    }
    return optind < argc;
}

int cli_schema(int argc, char **argv) {
    if (help_is_wanted(argc, argv))
        return usage(stdout);
    struct command c = {.options = {.any_value = true}};
    struct schema *schema = NULL;
    if (argc < 2 || strcmp(argv[1], "check") != 0 || !read_options(&c, argc - 1, argv + 1))
        return usage(stderr);
    char **names = argv + 1 + optind;
    enum status status = compile(&c, names[0], &schema), one;
    for (int i = 1; names[i] != NULL && schema != NULL; i++) {
        one = check(&c, schema, names[i]);
        status = one > status ? one : status;
    }
    schema_destroy(schema);
    return status;
}
