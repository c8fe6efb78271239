#include "daemon/cli_parse.h"

#include "agent/agent.h"
#include "agent/rawjson.h"
#include "agent/turn.h"
#include "base/help.h"
#include "base/json.h"
#include "tools/schema.h"
#include "tools/value.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_BYTES_MAX  (1u * 1024 * 1024)
#define TOOLS_BYTES_MAX  (16u * 1024 * 1024)
#define OUTPUT_BYTES_MAX (256u * 1024 * 1024)
#define TOOLS_MAX        1024

static const struct json_limits tools_limits = {
    .max_bytes = TOOLS_BYTES_MAX, .max_nodes = 2000000, .max_depth = 64};

/* ---- tools ---- */

struct known {
    struct agent_tool *all; /* owned, with their names and schemas */
    size_t n;
    bool strict;
    bool given; /* from a file: their schemas say something */
};

static void known_finish(struct known *k) {
    for (size_t i = 0; i < k->n; i++) {
        free((char *)k->all[i].name);
        free((char *)k->all[i].schema);
    }
    free(k->all);
}

/* Takes both texts, also when it fails. */
static int add_tool(struct known *k, char *name, char *schema) {
    struct agent_tool *all =
        name != NULL && schema != NULL ? realloc(k->all, (k->n + 1) * sizeof *all) : NULL;
    if (all == NULL) {
        free(name);
        free(schema);
        return -ENOMEM;
    }
    k->all = all;
    all[k->n++] = (struct agent_tool){.name = name, .schema = schema, .strict = k->strict};
    return 0;
}

static int read_tools(struct known *k, const char *json, char *err, size_t errlen) {
    char why[200];
    size_t at = 0, len = strlen(json);
    struct rawjson item, inner, name, schema;
    if (json_check(json, len, &tools_limits, why, sizeof why) < 0)
        return err_set(err, errlen, -EINVAL, "The tools cannot be read: %s.", why);
    if (rawjson_type(rawjson_of(json, len)) != '[')
        return err_set(err, errlen, -EINVAL, "The tools must be a JSON list.");
    while (rawjson_next(rawjson_of(json, len), &at, NULL, &item)) {
        if (rawjson_get(item, "function", &inner) && rawjson_type(inner) == '{')
            item = inner;
        if (k->n == TOOLS_MAX || !rawjson_get(item, "name", &name) || rawjson_type(name) != '"' ||
            !rawjson_get(item, "parameters", &schema) || rawjson_type(schema) != '{')
            return err_set(err, errlen, -EINVAL, "Tool %zu must have a name and parameters (an object).",
                           k->n + 1);
        int rc = add_tool(k, rawjson_string(name), strndup(schema.text, schema.len));
        if (rc < 0)
            return err_set(err, errlen, rc, "Not enough memory for the tools.");
    }
    k->given = true;
    return 0;
}

/* Every name that the turn calls is a tool. */
static int on_name(void *arg, const struct turn_call *call) {
    struct known *k = arg;
    for (size_t i = 0; i < k->n; i++)
        if (strcmp(k->all[i].name, call->name) == 0)
            return 0;
    return call->name[0] == '\0' || k->n == TOOLS_MAX ? 0 : add_tool(k, strdup(call->name), strdup("{}"));
}

static int find_names(struct known *k, const char *text, size_t len,
                      const struct cli_parse_options *options) {
    struct tags_more more;
    const char *bad;
    if (tags_more_read(&more, options->reasoning_tags, &bad) < 0)
        return 0; /* the agent says so */
    const struct turn_rules rules = {.open_section = options->open_section, .more = &more};
    struct events events;
    struct turn turn;
    agent_events_init(&events);
    int rc = turn_init(&turn, 0, &rules, &events, on_name, k);
    rc = rc ? rc : turn_feed(&turn, text, len, 0);
    rc = rc ? rc : turn_end(&turn);
    turn_finish(&turn);
    agent_events_finish(&events);
    return rc;
}

/* ---- verdicts ---- */

/* Whether the arguments fit; a sentence in `err` when not, or when the schema itself cannot be used. */
static int check_arguments(const struct known *k, const struct agent_event *e, char *err, size_t errlen) {
    const char *text = NULL;
    struct schema *schema = NULL;
    struct value_document *value = NULL;
    for (size_t i = 0; i < k->n && k->given; i++)
        text = strcmp(k->all[i].name, e->name) == 0 ? k->all[i].schema : text;
    if (text == NULL)
        return 0;
    int rc = schema_compile(text, strlen(text), &schema, err, errlen);
    rc = rc ? rc : value_parse(e->arguments, strlen(e->arguments), &schema_value_limits, &value, err, errlen);
    rc = rc ? rc : schema_check(schema, value_root(value), err, errlen);
    value_destroy(value);
    schema_destroy(schema);
    return rc == -ENOMEM ? rc : rc < 0 ? -EINVAL : 0;
}

static void put_repaired(struct json_writer *w, const char *names) {
    json_key(w, "repaired");
    json_array_begin(w);
    while (names != NULL && *names != '\0') {
        size_t n = strcspn(names, ",");
        json_string_n(w, names, n);
        names += n;
        names += strspn(names, ", ");
    }
    json_array_end(w);
}

static void put_arguments(struct json_writer *w, const char *arguments) {
    json_key(w, "arguments");
    if (arguments != NULL)
        json_raw(w, arguments, strlen(arguments));
    else
        json_null(w);
}

static int put_call(struct json_writer *w, const struct known *k, const struct agent_event *e) {
    char why[512] = "";
    const char *error = e->error, *verdict = error != NULL         ? "refused"
                                             : e->repaired != NULL ? "repaired"
                                                                   : "run";
    int rc = error == NULL ? check_arguments(k, e, why, sizeof why) : 0;
    if (rc == -EINVAL) {
        verdict = "invalid";
        error = why;
    }
    json_key(w, "call");
    json_int(w, e->call);
    json_key(w, "name");
    json_string(w, e->name);
    put_arguments(w, e->arguments);
    json_key(w, "verdict");
    json_string(w, verdict);
    put_repaired(w, e->repaired);
    json_key(w, "error");
    json_string(w, error);
    json_key(w, "raw");
    json_string(w, e->raw);
    return rc == -EINVAL ? 0 : rc;
}

static void begin_line(struct json_writer *w, struct buf *out, const char *event, int position) {
    json_writer_begin(w, out);
    json_object_begin(w);
    json_key(w, "event");
    json_string(w, event);
    json_key(w, "position");
    json_int(w, position);
}

static int put_event(struct buf *out, const struct known *k, const struct agent_event *e) {
    static const char *const names[] = {[AGENT_EVENT_MESSAGE_DONE] = "text",
                                        [AGENT_EVENT_REASONING_DONE] = "reasoning",
                                        [AGENT_EVENT_CALL] = "call",
                                        [AGENT_EVENT_REHEARSED] = "rehearsed"};
    struct json_writer w;
    int rc = 0;
    if (e->type == AGENT_EVENT_MESSAGE_DELTA || e->type == AGENT_EVENT_REASONING_DELTA)
        return 0;
    begin_line(&w, out, names[e->type], e->position);
    if (e->section != NULL) {
        json_key(&w, "section");
        json_string(&w, e->section);
    }
    if (e->type == AGENT_EVENT_CALL) {
        rc = put_call(&w, k, e);
    } else if (e->type == AGENT_EVENT_REHEARSED) {
        json_key(&w, "name");
        json_string(&w, e->name);
        put_arguments(&w, e->arguments);
    } else {
        json_key(&w, "text");
        json_string_n(&w, e->text, e->len);
        if (e->type == AGENT_EVENT_REASONING_DONE) {
            json_key(&w, "truncated");
            json_bool(&w, e->truncated);
        }
    }
    json_object_end(&w);
    rc = rc ? rc : json_writer_end(&w);
    return rc ? rc : buf_putc(out, '\n');
}

/* ---- the turn ---- */

static int play(struct agent *a, const struct known *k, const char *text, size_t len,
                const struct cli_parse_options *options, struct buf *out, char *err, size_t errlen) {
    const struct agent_message any = {AGENT_ROLE_USER, "?"};
    struct agent_step step;
    struct agent_event event;
    int rc = agent_start(a, &any, 1, err, errlen);
    if (rc < 0)
        return rc;
    agent_next(a, &step);
    rc = agent_feed_text(a, text, len, 0);
    rc = rc ? rc : agent_feed_end(a, options->cut_off ? AGENT_FINISH_LENGTH : AGENT_FINISH_STOP);
    while (rc == 0 && agent_take_event(a, &event))
        rc = put_event(out, k, &event);
    return rc;
}

int cli_parse_text(const char *text, size_t len, const struct cli_parse_options *options, struct buf *out,
                   char *err, size_t errlen) {
    struct known known = {.strict = options->strict};
    struct agent *a = NULL;
    err_set(err, errlen, 0, "%s", "");
    int rc = options->tools_json != NULL ? read_tools(&known, options->tools_json, err, errlen)
                                         : find_names(&known, text, len, options);
    const struct agent_config config = {.tools = known.all,
                                        .n_tools = known.n,
                                        .limits = {.max_turn_tokens = agent_limits_default.max_turn_tokens},
                                        .lenient_calls = options->lenient,
                                        .open_section = options->open_section,
                                        .reasoning_tags = options->reasoning_tags};
    rc = rc ? rc : agent_create(&config, &a, err, errlen);
    rc = rc ? rc : play(a, &known, text, len, options, out, err, errlen);
    if (rc < 0 && err[0] == '\0')
        err_set(err, errlen, rc, "The turn cannot be read: %s.",
                rc == -EINVAL ? "there is no reasoning section of that name" : strerror(-rc));
    agent_destroy(a);
    known_finish(&known);
    return rc;
}

/* ---- the command ---- */

static int usage(FILE *to) {
    fprintf(to, "Usage: hermesd parse [--tools FILE] [--strict] [--lenient] [--cut-off] [--open SECTION] "
                "[--reasoning-tags NAME,…] < TEXT\n");
    return to == stdout ? 0 : 2;
}

static int read_file(const char *path, struct buf *out, char *err, size_t errlen) {
    FILE *f = fopen(path, "rb");
    int rc = f != NULL ? buf_read_to_end(out, f) : -errno;
    if (f != NULL)
        fclose(f);
    rc = rc ? rc : buf_putc(out, '\n');
    return rc == 0 ? 0
                   : err_set(err, errlen, rc, "The tools cannot be read from '%s': %s.", path, strerror(-rc));
}

static int run(struct cli_parse_options *options, const char *tools_path) {
    struct buf in, tools, out;
    char err[512] = "";
    buf_init(&in, INPUT_BYTES_MAX + 128 * 1024);
    buf_init(&tools, TOOLS_BYTES_MAX + 128 * 1024);
    buf_init(&out, OUTPUT_BYTES_MAX);
    int rc = tools_path != NULL ? read_file(tools_path, &tools, err, sizeof err) : 0;
    options->tools_json = tools_path != NULL ? tools.data : NULL;
    if (rc == 0 && (rc = buf_read_to_end(&in, stdin)) < 0)
        err_set(err, sizeof err, rc, "Standard input cannot be read: %s.", strerror(-rc));
    if (rc == 0)
        rc = cli_parse_text(in.data != NULL ? in.data : "", in.len, options, &out, err, sizeof err);
    if (rc == 0 && out.len > 0 && (fwrite(out.data, 1, out.len, stdout) != out.len || fflush(stdout) != 0))
        rc = err_set(err, sizeof err, -EIO, "Standard output cannot be written.");
    if (rc < 0)
        fprintf(stderr, "hermesd parse: %s\n", err);
    buf_finish(&in);
    buf_finish(&tools);
    buf_finish(&out);
    return rc < 0 ? 1 : 0;
}

int cli_parse(int argc, char **argv) {
    if (help_is_wanted(argc, argv))
        return usage(stdout);
    static const struct option options[] = {{"tools", required_argument, NULL, 't'},
                                            {"strict", no_argument, NULL, 's'},
                                            {"lenient", no_argument, NULL, 'l'},
                                            {"cut-off", no_argument, NULL, 'c'},
                                            {"open", required_argument, NULL, 'o'},
                                            {"reasoning-tags", required_argument, NULL, 'r'},
                                            {0}};
    struct cli_parse_options chosen = {0};
    const char *tools_path = NULL;
    int option;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 't':
            tools_path = optarg;
            break;
        case 's':
            chosen.strict = true;
            break;
        case 'l':
            chosen.lenient = true;
            break;
        case 'c':
            chosen.cut_off = true;
            break;
        case 'o':
            chosen.open_section = optarg;
            break;
        case 'r':
            chosen.reasoning_tags = optarg;
            break;
        default:
            return usage(stderr);
        }
    }
    return optind < argc ? usage(stderr) : run(&chosen, tools_path);
}
