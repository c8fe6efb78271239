#include "daemon/ctl_options.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    O_SOCKET = 256,
    O_COLOR,
    O_NO_TOOLS,
    O_DETACH,
    O_NO_REASONING,
    O_SYSTEM,
    O_SCHEMA,
    O_JSON_OBJECT,
    O_TIMEOUT,
    O_MAX_TURNS,
    O_TEMPERATURE,
    O_SEED,
    O_PRIORITY,
    O_KEY,
    O_STATUS,
    O_VERSION,
    O_JSON
};

/* `letter` says which commands take it, see ctl_command.options; ' ' = all. */
struct known {
    struct option option;
    char letter;
};
static const struct known known[] = {
    {{"socket", required_argument, NULL, O_SOCKET}, ' '},
    {{"color", required_argument, NULL, O_COLOR}, ' '},
    {{"json", no_argument, NULL, O_JSON}, ' '},
    {{"quiet", no_argument, NULL, 'q'}, ' '},
    {{"help", no_argument, NULL, 'h'}, ' '},
    {{"version", no_argument, NULL, O_VERSION}, ' '},
    {{"tool", required_argument, NULL, 't'}, 'r'},
    {{"no-tools", no_argument, NULL, O_NO_TOOLS}, 'r'},
    {{"detach", no_argument, NULL, O_DETACH}, 'r'},
    {{"no-reasoning", no_argument, NULL, O_NO_REASONING}, 'v'},
    {{"system", required_argument, NULL, O_SYSTEM}, 'r'},
    {{"schema", required_argument, NULL, O_SCHEMA}, 'r'},
    {{"json-object", no_argument, NULL, O_JSON_OBJECT}, 'r'},
    {{"model", required_argument, NULL, 'm'}, 'r'},
    {{"timeout", required_argument, NULL, O_TIMEOUT}, 'r'},
    {{"max-turns", required_argument, NULL, O_MAX_TURNS}, 'r'},
    {{"temperature", required_argument, NULL, O_TEMPERATURE}, 'r'},
    {{"seed", required_argument, NULL, O_SEED}, 'r'},
    {{"priority", required_argument, NULL, O_PRIORITY}, 'r'},
    {{"idempotency-key", required_argument, NULL, O_KEY}, 'r'},
    {{"status", required_argument, NULL, O_STATUS}, 'j'},
    {{"limit", required_argument, NULL, 'n'}, 'j'},
};
#define N_KNOWN (sizeof known / sizeof *known)

/* ---- values ---- */

int ctl_options_duration(const char *text, int64_t *ms) {
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || errno != 0 || !(value >= 0) || value > 1e9)
        return -EINVAL;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].name) == 0) {
            *ms = llround(value * units[i].ms);
            return 0;
        }
    }
    return -EINVAL;
}

static int whole(const char *name, const char *text, int64_t min, int64_t max, int64_t *out, char *err,
                 size_t errlen) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < min || value > max)
        return err_set(err, errlen, -EINVAL, "%s wants a whole number from %lld to %lld, not '%s'.", name,
                       (long long)min, (long long)max, text);
    *out = value;
    return 0;
}

/* "a,b" and repeated options both add names. */
static int add_tools(struct ctl_options *o, char *names, char *err, size_t errlen) {
    for (char *save = NULL, *name = strtok_r(names, ",", &save); name != NULL;
         name = strtok_r(NULL, ",", &save)) {
        while (*name == ' ')
            name++;
        if (o->n_tools == CTL_TOOLS_MAX)
            return err_set(err, errlen, -EINVAL, "-t names more than %d tools.", CTL_TOOLS_MAX);
        o->tools[o->n_tools++] = name;
    }
    return 0;
}

static int set_color(struct ctl_options *o, const char *text, char *err, size_t errlen) {
    if (strcmp(text, "auto") == 0)
        o->color = CTL_COLOR_AUTO;
    else if (strcmp(text, "always") == 0)
        o->color = CTL_COLOR_ALWAYS;
    else if (strcmp(text, "never") == 0)
        o->color = CTL_COLOR_NEVER;
    else
        return err_set(err, errlen, -EINVAL, "--color wants auto, always or never, not '%s'.", text);
    return 0;
}

static int set_numbers(struct ctl_options *o, int letter, const char *text, char *err, size_t errlen) {
    int64_t n = 0;
    int rc;
    switch (letter) {
    case O_TIMEOUT:
        if (ctl_options_duration(text, &o->timeout_ms) == 0 && o->timeout_ms > 0)
            return 0;
        return err_set(err, errlen, -EINVAL, "--timeout wants a duration such as 90s, 5m or 1h, not '%s'.",
                       text);
    case O_MAX_TURNS:
        return whole("--max-turns", text, 1, 1000, &o->max_turns, err, errlen);
    case O_SEED:
        return whole("--seed", text, 0, (int64_t)1 << 53, &o->seed, err, errlen);
    case O_PRIORITY:
        return whole("--priority", text, -10, 10, &o->priority, err, errlen);
    case 'n':
        rc = whole("--limit", text, 1, 100000, &n, err, errlen);
        o->limit = rc == 0 ? (int)n : o->limit;
        return rc;
    default: {
        char *end;
        double value = strtod(text, &end);
        if (end == text || *end != '\0' || !(value >= 0 && value <= 2))
            return err_set(err, errlen, -EINVAL, "--temperature wants a number from 0 to 2, not '%s'.", text);
        o->temperature = value;
        return 0;
    }
    }
}

static int set(struct ctl_options *o, int letter, char *text, char *err, size_t errlen) {
    switch (letter) {
    case O_SOCKET:
        o->host = text;
        return 0;
    case O_COLOR:
        return set_color(o, text, err, errlen);
    case O_JSON:
        o->json = true;
        return 0;
    case 'q':
        o->quiet = true;
        return 0;
    case 'h':
        o->help = true;
        return 0;
    case O_VERSION:
        o->version = true;
        return 0;
    case 't':
        return add_tools(o, text, err, errlen);
    case O_NO_TOOLS:
        o->no_tools = true;
        return 0;
    case O_DETACH:
        o->detach = true;
        return 0;
    case O_NO_REASONING:
        o->no_reasoning = true;
        return 0;
    case O_SYSTEM:
        o->system = text;
        return 0;
    case O_SCHEMA:
        o->schema_path = text;
        return 0;
    case O_JSON_OBJECT:
        o->json_object = true;
        return 0;
    case 'm':
        o->model = text;
        return 0;
    case O_KEY:
        o->idempotency_key = text;
        return 0;
    case O_STATUS:
        o->status = text;
        return 0;
    default:
        return set_numbers(o, letter, text, err, errlen);
    }
}

/* ---- the whole line ---- */

static int name_command(struct ctl_options *o, char *err, size_t errlen) {
    if (o->n_words == 0)
        return 0;
    for (const struct ctl_command *c = ctl_commands; c->name != NULL; c++)
        if (strcmp(o->words[0], c->name) == 0)
            o->command = c;
    if (o->command == NULL)
        return err_set(err, errlen, -EINVAL, "There is no command '%s'; hermesctl help lists them.",
                       o->words[0]);
    o->n_words--;
    memmove(o->words, o->words + 1, (size_t)o->n_words * sizeof *o->words);
    if (o->help)
        return 0;
    if (o->n_words < o->command->min_words || o->n_words > o->command->max_words)
        return err_set(err, errlen, -EINVAL, "usage: hermesctl %s %s", o->command->name, o->command->usage);
    return 0;
}

static const struct known *find(int letter) {
    for (size_t i = 0; i < N_KNOWN; i++)
        if (known[i].option.val == letter)
            return &known[i];
    return NULL;
}

/* An option that the command does not know is a mistake, not a wish. */
static int check_used(const struct ctl_options *o, const bool *used, char *err, size_t errlen) {
    for (size_t i = 0; i < N_KNOWN; i++)
        if (used[i] && known[i].letter != ' ' && o->command != NULL && !o->help &&
            strchr(o->command->options, known[i].letter) == NULL)
            return err_set(err, errlen, -EINVAL, "hermesctl %s does not take --%s.", o->command->name,
                           known[i].option.name);
    return 0;
}

static void from_environment(struct ctl_options *o) {
    static const char *const hosts[] = {"HERMESD_HOST", "HERMESD_SOCKET"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts && o->host == NULL; i++) {
        const char *value = getenv(hosts[i]);
        if (value != NULL && *value != '\0')
            o->host = value;
    }
    o->token = getenv("HERMESD_TOKEN");
}

int ctl_options_parse(struct ctl_options *o, int argc, char **argv, char *err, size_t errlen) {
    struct option table[N_KNOWN + 1] = {{0}};
    bool used[N_KNOWN] = {false};
    *o = (struct ctl_options){.temperature = -1, .seed = -1, .limit = 20};
    for (size_t i = 0; i < N_KNOWN; i++)
        table[i] = known[i].option;
    optind = 0; /* parsing starts anew, also in tests */
    opterr = 0;
    int letter;
    /* "-": words come back as option 1, in order */
    while ((letter = getopt_long(argc, argv, "-:t:m:n:qh", table, NULL)) != -1) {
        if (letter == '?' || letter == ':')
            return err_set(err, errlen, -EINVAL,
                           letter == '?' ? "There is no option %s; see hermesctl help."
                                         : "Option %s wants a value.",
                           argv[optind - 1]);
        if (letter != 1) {
            used[find(letter) - known] = true;
            int rc = set(o, letter, optarg, err, errlen);
            if (rc < 0)
                return rc;
        } else if (o->n_words < CTL_WORDS_MAX) {
            o->words[o->n_words++] = optarg;
        } else {
            return err_set(err, errlen, -EINVAL, "More than %d words; quote the prompt.", CTL_WORDS_MAX);
        }
    }
    for (; optind < argc; optind++) {
        if (o->n_words == CTL_WORDS_MAX)
            return err_set(err, errlen, -EINVAL, "More than %d words; quote the prompt.", CTL_WORDS_MAX);
        o->words[o->n_words++] = argv[optind];
    }
    from_environment(o);
    int rc = name_command(o, err, errlen);
    if (rc == 0 && o->no_tools && o->n_tools > 0)
        rc = err_set(err, errlen, -EINVAL, "-t and --no-tools contradict each other.");
    if (rc == 0 && o->json_object && o->schema_path != NULL)
        rc = err_set(err, errlen, -EINVAL, "--schema and --json-object contradict each other.");
    return rc < 0 ? rc : check_used(o, used, err, errlen);
}
