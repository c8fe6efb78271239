/* Tools that misbehave in every way a worker must survive, and a few that behave while being watched. */
#include "plugins/hermes_plugin.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int end_process(void *state, hermes_call *call, hermes_str args) {
    int64_t code = 0;
    (void)state, (void)call;
    (void)hermes_arg_int(args, "code", &code);
    exit((int)code);
}

static int abort_process(void *state, hermes_call *call, hermes_str args) {
    (void)state, (void)call, (void)args;
    abort();
}

static int follow_null(void *state, hermes_call *call, hermes_str args) {
    volatile int *nowhere = NULL;
    (void)state, (void)call, (void)args;
    raise(SIGSEGV);
    return *nowhere;
}

static int dig(volatile char *above, long depth) {
    volatile char here[4096];
    here[0] = above[0];
    return depth == 0 ? here[0] : dig(here, depth - 1) + here[0];
}

static int overflow_stack(void *state, hermes_call *call, hermes_str args) {
    volatile char top[1] = {0};
    (void)state, (void)call;
    return dig(top, (long)args.n * 1000000);
}

static int loop_for_ever(void *state, hermes_call *call, hermes_str args) {
    (void)call;
    const hermes_host *host = state;
    host->progress(call, 0, args);
    for (volatile unsigned i = 0;; i++) {
    }
    return HERMES_OK;
}

/* Ignores that the result is full. */
static int write_gigabyte(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    static char block[1 << 16];
    (void)args;
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 1 << 14; i++)
        (void)host->write(call, block, sizeof block);
    return HERMES_OK;
}

static int take_memory(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    (void)args;
    for (int i = 0; i < 4096; i++) {
        char *block = malloc(1 << 20);
        if (block == NULL)
            return hermes_reply(host, call, "\"no more\"");
        memset(block, 1, 1 << 20);
    }
    return hermes_reply(host, call, "\"4 GiB\"");
}

static int close_all(void *state, hermes_call *call, hermes_str args) {
    (void)state, (void)call, (void)args;
    for (int fd = 0; fd < 64; fd++)
        close(fd);
    return HERMES_OK;
}

/* Bytes that are no frame, on every socket it can find. */
static int write_garbage(void *state, hermes_call *call, hermes_str args) {
    char garbage[4096];
    (void)state, (void)call, (void)args;
    memset(garbage, 0xff, sizeof garbage);
    for (int fd = 0; fd < 64; fd++)
        (void)send(fd, garbage, sizeof garbage, MSG_NOSIGNAL | MSG_DONTWAIT);
    poll(NULL, 0, 10000);
    return HERMES_OK;
}

/* An END for a call that does not exist: what tools/protocol.h describes, with every field zero. */
static int forge_end(void *state, hermes_call *call, hermes_str args) {
    uint32_t frame[4 + 9] = {36, 9, 4242, 0};
    (void)state, (void)call, (void)args;
    (void)send(3, frame, sizeof frame, MSG_NOSIGNAL);
    poll(NULL, 0, 10000);
    return HERMES_OK;
}

/* A child that holds the socket and the output while its parent is gone. */
static int leave_child(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    (void)args;
    pid_t child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    char text[32];
    snprintf(text, sizeof text, "child %d", (int)child);
    hermes_str note = {text, strlen(text)};
    host->progress(call, -1, note);
    poll(NULL, 0, 50);
    abort();
}

static int print_much(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    (void)args;
    printf("first line\n");
    for (int i = 0; i < 100000; i++)
        printf("line %d of what nobody reads\n", i);
    fflush(stdout);
    return hermes_reply(host, call, "\"printed\"");
}

static int log_much(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    (void)args;
    for (int i = 0; i < 1000; i++)
        host->log(call, HERMES_LOG_WARN, hermes_str_of("a line\nwith \xff and a break"));
    return hermes_reply(host, call, "\"logged\"");
}

static int not_utf8(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    (void)args;
    return host->write(call, "a\xff\0b\xe2\x82", 6);
}

/* ---- those that behave ---- */

static int echo(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    return host->write(call, args.p, args.n);
}

static int end_with(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    int64_t status = 0;
    char text[256];
    (void)hermes_arg_int(args, "status", &status);
    if (hermes_arg_string(args, "text", text, sizeof text) != NULL)
        (void)hermes_reply(host, call, text);
    return (int)status;
}

/* Sleeps until it is told to stop; with "stubborn" finishes its work all the same. */
static int wait_for_cancel(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    int stubborn = 0;
    struct pollfd fd = {.fd = host->cancel_fd(call), .events = POLLIN};
    (void)hermes_arg_bool(args, "stubborn", &stubborn);
    host->progress(call, 0.5, hermes_str_of("waiting"));
    poll(&fd, 1, 10000);
    if (!host->cancelled(call))
        return hermes_refuse(host, call, HERMES_E_INTERNAL, "cancel_fd woke up, but cancelled() says no");
    return stubborn ? hermes_reply(host, call, "\"done all the same\"") : HERMES_E_CANCELLED;
}

static int take_ms(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    int64_t ms = 0;
    (void)hermes_arg_int(args, "ms", &ms);
    poll(NULL, 0, (int)ms);
    return hermes_reply_json(host, call, "{\"pid\": %d}", (int)getpid());
}

static int tell_progress(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    (void)args;
    for (int i = 1; i <= 4; i++) {
        host->progress(call, i / 4.0, hermes_str_of("a quarter \xe2\x82\xac"));
        poll(NULL, 0, 80);
    }
    return hermes_reply(host, call, "\"done\"");
}

/* What the confinement left. */
static int probe(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    extern char **environ;
    struct rlimit core, files;
    int open_fds = 0, variables = 0;
    (void)args;
    for (int fd = 0; fd < 1024; fd++)
        open_fds += fcntl(fd, F_GETFD) >= 0;
    for (char **at = environ; *at != NULL; at++)
        variables++;
    getrlimit(RLIMIT_CORE, &core);
    getrlimit(RLIMIT_NOFILE, &files);
    return hermes_reply_json(
        host, call,
        "{\"fds\": %d, \"variables\": %d, \"core\": %d, \"files\": %d, \"no_new_privs\": %d, "
        "\"dumpable\": %d, \"leader\": %d, \"key\": \"%s\", \"remaining\": %lld}",
        open_fds, variables, (int)core.rlim_cur, (int)files.rlim_cur, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
        prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), getsid(0) == getpid(), host->idempotency_key(call),
        (long long)host->remaining_ms(call));
}

/* ---- asynchronous ones ---- */

struct errand {
    const hermes_host *host;
    hermes_call *call;
    char text[64];
};

static void *run_errand(void *arg) {
    struct errand *errand = arg;
    poll(NULL, 0, 30);
    (void)errand->host->write(errand->call, errand->text, strlen(errand->text));
    errand->host->finish(errand->call, HERMES_OK);
    errand->host->finish(errand->call, HERMES_E_TOOL); /* once too often */
    if (errand->host->write(errand->call, "late", 4) == HERMES_OK)
        abort(); /* the call has ended: nothing may be taken */
    free(errand);
    return NULL;
}

static int start_errand(void *state, hermes_call *call, hermes_str args) {
    pthread_t thread;
    struct errand *errand = calloc(1, sizeof *errand);
    if (errand == NULL)
        return HERMES_E_INTERNAL;
    errand->host = state;
    errand->call = call;
    snprintf(errand->text, sizeof errand->text, "%.*s", (int)args.n, args.p);
    if (pthread_create(&thread, NULL, run_errand, errand) != 0)
        return HERMES_E_INTERNAL;
    pthread_detach(thread);
    return HERMES_OK;
}

static int never_finish(void *state, hermes_call *call, hermes_str args) {
    (void)state, (void)call, (void)args;
    return HERMES_OK;
}

static int refuse_to_start(void *state, hermes_call *call, hermes_str args) {
    (void)args;
    return hermes_refuse(state, call, HERMES_E_TOOL, "not today");
}

static int finish_on_cancel(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = state;
    host->progress(call, 0, args);
    return HERMES_OK;
}

static void finish_it(void *state, hermes_call *call) {
    const hermes_host *host = state;
    (void)host->write(call, "\"stopped by cancel()\"", 21);
    host->finish(call, HERMES_E_CANCELLED);
}

#define OBJECT "{\"type\": \"object\"}"
#define TOOL(variable, tool_name, ...)                                                                       \
    static const hermes_tool variable = {.size = HERMES_TOOL_SIZE,                                           \
                                         .name = tool_name,                                                  \
                                         .description = "One of the tests.",                                 \
                                         .args_schema = OBJECT,                                              \
                                         __VA_ARGS__}

TOOL(tool_exit, "exit", .invoke = end_process);
TOOL(tool_abort, "abort", .invoke = abort_process);
TOOL(tool_segv, "segv", .invoke = follow_null);
TOOL(tool_overflow, "overflow", .invoke = overflow_stack);
TOOL(tool_loop, "loop", .invoke = loop_for_ever, .timeout_ms = 200);
TOOL(tool_loop_long, "loop_long", .invoke = loop_for_ever, .timeout_ms = 20000);
TOOL(tool_gigabyte, "gigabyte", .invoke = write_gigabyte);
TOOL(tool_memory, "memory", .invoke = take_memory);
TOOL(tool_close_all, "close_all", .invoke = close_all);
TOOL(tool_garbage, "garbage", .invoke = write_garbage);
TOOL(tool_forge, "forge", .invoke = forge_end);
TOOL(tool_child, "child", .invoke = leave_child);
TOOL(tool_print, "print", .invoke = print_much);
TOOL(tool_log, "log", .invoke = log_much);
TOOL(tool_not_utf8, "not_utf8", .invoke = not_utf8);
TOOL(tool_echo, "echo", .invoke = echo, .flags = HERMES_T_READ_ONLY);
TOOL(tool_small, "small", .invoke = echo, .max_result_bytes = 10);
TOOL(tool_end, "end", .invoke = end_with);
TOOL(tool_wait, "wait", .invoke = wait_for_cancel, .timeout_ms = 5000);
TOOL(tool_wait_short, "wait_short", .invoke = wait_for_cancel, .timeout_ms = 200);
TOOL(tool_ms, "ms", .invoke = take_ms);
TOOL(tool_ms3, "ms3", .invoke = take_ms, .max_concurrency = 3);
TOOL(tool_progress, "progress", .invoke = tell_progress);
TOOL(tool_probe, "probe", .invoke = probe, .timeout_ms = 4000);
TOOL(tool_errand, "errand", .start = start_errand);
TOOL(tool_never, "never", .start = never_finish, .timeout_ms = 200);
TOOL(tool_no_start, "no_start", .start = refuse_to_start);
TOOL(tool_on_cancel, "on_cancel", .start = finish_on_cancel, .cancel = finish_it);

static const hermes_tool *const tools[] = {
    &tool_exit,       &tool_abort,     &tool_segv,      &tool_overflow,  &tool_loop,  &tool_gigabyte,
    &tool_memory,     &tool_close_all, &tool_garbage,   &tool_forge,     &tool_child, &tool_print,
    &tool_log,        &tool_not_utf8,  &tool_echo,      &tool_small,     &tool_end,   &tool_wait,
    &tool_wait_short, &tool_ms,        &tool_ms3,       &tool_progress,  &tool_probe, &tool_errand,
    &tool_never,      &tool_no_start,  &tool_on_cancel, &tool_loop_long, NULL};

HERMES_PLUGIN("hostile", "0.1", tools);
