/* The command line of hermesctl. One thread. */
#ifndef DAEMON_CTL_OPTIONS_H
#define DAEMON_CTL_OPTIONS_H

#include "base/err.h"
#include "daemon/ctl_term.h"

#include <stdbool.h>
#include <stdint.h>

struct ctl;
/* One command: its name, what follows it, which options it takes, how many words, and who does it. */
struct ctl_command {
    const char *name, *usage, *summary;
    const char *options; /* letters of struct ctl_options below */
    int min_words, max_words;
    int (*run)(struct ctl *ctl);
};
/* Ends with a NULL name. */
extern const struct ctl_command ctl_commands[];

#define CTL_TOOLS_MAX 256
#define CTL_WORDS_MAX 64
struct ctl_options {
    const struct ctl_command *command; /* NULL: none was named */
    const char *words[CTL_WORDS_MAX];  /* what follows the command */
    int n_words;
    const char *host, *token; /* where the daemon is; host may be NULL */
    enum ctl_color color;
    bool json, quiet, help, version;
    /* run */
    const char *tools[CTL_TOOLS_MAX];
    int n_tools;
    bool no_tools, detach, no_reasoning;
    bool json_object;        /* the answer is a JSON object */
    const char *schema_path; /* the answer is JSON of this schema; NULL = it is not */
    const char *system, *model;
    int64_t timeout_ms; /* 0 = none */
    int64_t max_turns;  /* 0 = the daemon's */
    double temperature; /* < 0 = the daemon's */
    int64_t seed;       /* < 0 = the daemon's */
    int64_t priority;   /* 0 = the daemon's */
    const char *idempotency_key;
    /* jobs */
    const char *status;
    int limit;
};

/* Flags first, then HERMESD_HOST, HERMESD_SOCKET, HERMESD_TOKEN of the environment. -EINVAL with a sentence,
 * also for a wrong number of words; -ENOMEM. Options may stand before and after words; "--" ends them.
 * Borrows argv. */
HX_MUST_CHECK int ctl_options_parse(struct ctl_options *o, int argc, char **argv, char *err, size_t errlen);

/* "90", "90s", "1.5m", "2h", "500ms" as milliseconds; -EINVAL. */
HX_MUST_CHECK int ctl_options_duration(const char *text, int64_t *ms);

#endif
