/* What hermesctl says about itself. */
#include "daemon/ctl.h"

#include <stdio.h>
#include <string.h>

static const char overview[] = "hermesctl: give jobs to hermesd, watch them, read what happened.\n"
                               "\n"
                               "usage: hermesctl COMMAND [WORDS] [OPTIONS]\n"
                               "\n";

static const char common[] =
    "\n"
    "Every command takes:\n"
    "  --json             the API's objects on standard output: one object, or NDJSON for `run`\n"
    "  --socket PATH      the daemon's socket; unix:///path or http://127.0.0.1:PORT too\n"
    "  --color WHEN       auto, always or never\n"
    "  -q, --quiet        nothing on standard error but errors\n"
    "\n"
    "Any unique part of a job's id will do. hermesctl help COMMAND says more.\n";

static const char help_run[] =
    "The words are the prompt; \"-\" alone reads it from standard input. What comes over a pipe is put after "
    "the words.\n"
    "The answer goes to standard output; the plan, the calls and their results go to standard error as they "
    "happen.\n"
    "The first Ctrl-C cancels the job and waits for its end, the second leaves.\n"
    "\n"
    "  -t, --tool NAME         offer this tool; repeat it, or name several with commas; `*` matches "
    "(date_*). Default: all\n"
    "      --no-tools          offer none\n"
    "      --system TEXT       the system prompt\n"
    "      --schema FILE       the answer is JSON of the JSON Schema in this file\n"
    "      --json-object       the answer is a JSON object\n"
    "  -m, --model NAME        the model\n"
    "      --max-turns N       end after N generations\n"
    "      --temperature X     0 (always the most likely token) to 2\n"
    "      --seed N            for a temperature above 0\n"
    "      --priority N        -10 to 10: higher goes first; above 0 for root and the daemon's user\n"
    "      --timeout DURATION  stop waiting after 90s, 5m, 1h; the job goes on, its id is printed\n"
    "      --detach            print the id and leave; the job goes on\n"
    "      --no-reasoning      do not show plans and scratchpads\n"
    "      --idempotency-key K the same key again names the same job\n";

static const char help_jobs[] =
    "  --status STATUS  queued, working, input_required, completed, failed or cancelled\n"
    "  -n, --limit N    at most N jobs (20)\n";
static const char help_trace[] = "  --no-reasoning  leave plans and scratchpads out\n";
static const char help_call[] =
    "JSON is the object of arguments; default {}. \"-\" reads it from standard input.\n"
    "The tool's result goes to standard output. A tool that says no is exit code 1.\n";

static const char help_exit_codes[] = "0    success (run: the job completed)\n"
                                      "1    the request failed\n"
                                      "2    usage: unknown option, bad JSON, an id that is not unique\n"
                                      "3    the daemon cannot be reached\n"
                                      "4    not permitted\n"
                                      "5    the job finished as failed or cancelled\n"
                                      "6    --timeout ran out, the job still runs (its id is printed)\n"
                                      "7    the job needs input and nobody can be asked\n"
                                      "130  interrupted by Ctrl-C\n"
                                      "141  the reader of standard output left\n";

static const char help_environment[] =
    "HERMESD_HOST     unix:///path or http://127.0.0.1:PORT; --socket goes before it\n"
    "HERMESD_SOCKET   the socket's path, when HERMESD_HOST is not set\n"
    "HERMESD_TOKEN    the token for a daemon reached over TCP\n"
    "XDG_RUNTIME_DIR  the default socket is hermesd/api.sock in it, else /run/hermesd/api.sock\n"
    "NO_COLOR, CLICOLOR_FORCE, TERM=dumb  as everywhere\n";

static const char help_output[] =
    "Standard output carries what was asked for: an answer, a list, an object. Standard error carries the "
    "rest.\n"
    "With --json the objects are the API's (daemon/api.md); `run` prints its events, one a line.\n"
    "On a terminal, control characters in what models and tools say are shown as \\xNN.\n";

static const struct {
    const char *name, *text;
} topics[] = {{"exit-codes", help_exit_codes},
              {"environment", help_environment},
              {"output", help_output},
              {"formatting", help_output}};

static const struct {
    int (*run)(struct ctl *ctl);
    const char *text;
} details[] = {{ctl_run, help_run}, {ctl_jobs, help_jobs}, {ctl_trace, help_trace}, {ctl_call, help_call}};

static int help_command(struct ctl *ctl, const struct ctl_command *c) {
    fprintf(ctl->out.file, "usage: hermesctl %s %s\n%s.\n", c->name, c->usage, c->summary);
    for (size_t i = 0; i < sizeof details / sizeof *details; i++)
        if (details[i].run == c->run)
            fprintf(ctl->out.file, "\n%s", details[i].text);
    return CTL_OK;
}

/* Characters, not bytes: usages have "…" in them. */
static int columns(const char *text) {
    int n = 0;
    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

int ctl_help(struct ctl *ctl) {
    const struct ctl_options *o = ctl->options;
    const char *word = o->n_words > 0 ? o->words[0] : NULL;
    if (o->command != NULL && o->command->run != ctl_help)
        return help_command(ctl, o->command);
    if (word == NULL) {
        FILE *to = o->command != NULL || o->help ? ctl->out.file : ctl->err.file;
        fputs(overview, to);
        for (const struct ctl_command *c = ctl_commands; c->name != NULL; c++)
            fprintf(to, "  %-7s %s%*s %s\n", c->name, c->usage, 54 - columns(c->usage), "", c->summary);
        fputs(common, to);
        return to == ctl->out.file ? CTL_OK : CTL_USAGE;
    }
    for (const struct ctl_command *c = ctl_commands; c->name != NULL; c++)
        if (strcmp(c->name, word) == 0)
            return help_command(ctl, c);
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++) {
        if (strcmp(topics[i].name, word) == 0) {
            fputs(topics[i].text, ctl->out.file);
            return CTL_OK;
        }
    }
    return ctl_fail(ctl, CTL_USAGE,
                    "There is no help on '%s'; topics are exit-codes, environment and output.", word);
}
