#include "tests/emulator/apart.h"

#include "tests/emulator/emulator.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

void apart_set_order(int i) {
    emu_set_order(i == 0 ? EMU_FORWARD : i == 1 ? EMU_BACKWARD : EMU_RANDOM, (uint64_t)i);
}

int apart_run(int (*run)(void *arg), void *arg, int order, char *out, size_t size) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    (void)fflush(stdout);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)signal(SIGSEGV, SIG_DFL);
        (void)signal(SIGABRT, SIG_DFL);
        apart_set_order(order);
        _exit(run(arg) == 0 ? 0 : APART_WRONG);
    }
    (void)close(ends[1]);
    size_t len = 0;
    ssize_t n;
    while (len + 64 < size && (n = read(ends[0], out + len, size - len - 64)) > 0)
        len += (size_t)n;
    (void)close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    (void)snprintf(out + len, size - len, WIFSIGNALED(status) ? "\nsignal %d\n" : "\nexit %d\n",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return WIFSIGNALED(status) ? -1 : WEXITSTATUS(status);
}

void apart_must_be_caught(const char *name, int (*run)(void *arg), void *arg, const char *says) {
    static char out[65536];
    int caught = 0;
    for (int order = 0; order < APART_ORDERS; order++) {
        int rc = apart_run(run, arg, order, out, sizeof out);
        if (says == NULL ? rc == APART_WRONG : rc != 0 && strstr(out, says) != NULL)
            caught++;
        else if (rc != 0)
            fail_msg("%s, order %d: caught otherwise than promised ('%s'): %s", name, order,
                     says != NULL ? says : "a wrong result", out);
    }
    print_message("%-26s caught in %d of %d orders\n", name, caught, APART_ORDERS);
    if (caught == 0)
        fail_msg("%s was never caught", name);
}
