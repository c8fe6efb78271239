/* hermesctl: the client. What each command does is in ctl_<command>.c. */
#include "daemon/ctl.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANY_WORDS CTL_WORDS_MAX

/* Letters of options: r = run's, v = what is shown of a job, j = of lists. */
const struct ctl_command ctl_commands[] = {
    {"run", "[PROMPT…] [-t TOOL]… [--detach] [--timeout 5m] …", "give the daemon a job and watch it", "rv", 0,
     ANY_WORDS, ctl_run},
    {"jobs", "[--status STATUS] [-n N]", "list jobs, newest first", "j", 0, 0, ctl_jobs},
    {"show", "ID", "one job: state, answer, tokens", "", 1, 1, ctl_show},
    {"trace", "ID", "every step of a job as a tree", "v", 1, 1, ctl_trace},
    {"cancel", "ID…", "cancel jobs", "", 1, ANY_WORDS, ctl_cancel},
    {"tools", "[NAME]", "list the tools, or show one with its schema", "", 0, 1, ctl_tools},
    {"call", "NAME [JSON | -]", "call a tool without any model", "", 1, 2, ctl_call},
    {"status", "", "how the daemon is", "", 0, 0, ctl_status},
    {"help", "[COMMAND | TOPIC]", "help; topics: exit-codes, environment, output", "", 0, 1, ctl_help},
    {NULL, NULL, NULL, NULL, 0, 0, NULL},
};

/* $XDG_RUNTIME_DIR/hermesd/api.sock when there is one, else the system's. */
static int default_host(struct buf *path) {
    static const char system_socket[] = "/run/hermesd/api.sock";
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int rc = -ENOENT;
    if (runtime != NULL && *runtime == '/') {
        rc = buf_printf(path, "%s/hermesd/api.sock", runtime);
        if (rc == 0 && access(path->data, F_OK) != 0 && access(system_socket, F_OK) == 0)
            rc = -ENOENT;
    }
    if (rc == -ENOENT) {
        buf_clear(path);
        rc = buf_puts(path, system_socket);
    }
    return rc;
}

static int run_command(struct ctl *ctl) {
    const struct ctl_options *o = ctl->options;
    struct buf path;
    char err[512] = "";
    if (o->version) {
        printf("hermesctl %s\n", HERMESD_VERSION);
        return CTL_OK;
    }
    if (o->command == NULL || o->help || o->command->run == ctl_help)
        return ctl_help(ctl);
    buf_init(&path, 8192);
    int rc = o->host != NULL ? buf_puts(&path, o->host) : default_host(&path);
    if (rc == 0)
        rc = ctl_http_open(path.data, o->token, &ctl->http, err, sizeof err);
    buf_finish(&path);
    if (rc < 0)
        return ctl_fail(ctl, CTL_USAGE, "%s", err[0] != '\0' ? err : strerror(-rc));
    int code = o->command->run(ctl);
    ctl_http_close(ctl->http);
    return code;
}

/* A reader that left early (`| head`) is no error worth a word. */
static int flush_all(struct ctl *ctl, int code) {
    if (fflush(ctl->out.file) == 0 && !ferror(ctl->out.file))
        return code;
    struct pollfd fd = {.fd = fileno(ctl->out.file), .events = POLLOUT};
    if (poll(&fd, 1, 0) == 1 && (fd.revents & POLLERR) != 0)
        return CTL_PIPE;
    return ctl_fail(ctl, CTL_FAILED, "Standard output cannot be written; is the disk full?");
}

int main(int argc, char **argv) {
    struct ctl_options options;
    struct ctl ctl = {.options = &options};
    char err[512] = "";
    signal(SIGPIPE, SIG_IGN);
    int rc = ctl_options_parse(&options, argc, argv, err, sizeof err);
    ctl_term_init(&ctl.out, stdout, options.color);
    ctl_term_init(&ctl.err, stderr, options.color);
    if (rc < 0)
        return ctl_fail(&ctl, CTL_USAGE, "%s", err);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return ctl_fail(&ctl, CTL_FAILED, "libcurl cannot be started.");
    int code = run_command(&ctl);
    curl_global_cleanup();
    return flush_all(&ctl, code);
}
