/* A mapped file that is cut off under its reader: one sentence and the exit code of what may be started
 * again. A fault of the program stays one. */
#include "daemon/daemon.h"
#include "daemon/lost_file.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void read_behind_the_end(void) {
    char path[] = "/tmp/hermesd-lost-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || unlink(path) != 0 || ftruncate(fd, 100) != 0)
        _exit(2);
    const volatile uint8_t *map = mmap(NULL, 100, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED || map[99] != 0 || ftruncate(fd, 0) != 0)
        _exit(3);
    (void)map[99];
}

static void send_it(void) {
    (void)raise(SIGBUS);
}

/* Runs `body` in a process of its own; how that ended, and what it said. */
static int run(void (*body)(void), char *said, size_t size) {
    int ends[2], status = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        lost_file_explain();
        body();
        _exit(0);
    }
    close(ends[1]);
    size_t len = 0;
    ssize_t n;
    while ((n = read(ends[0], said + len, size - 1 - len)) > 0)
        len += (size_t)n;
    said[len] = '\0';
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void test_cut_off(void **state) {
    (void)state;
    char said[1000];
    int status = run(read_behind_the_end, said, sizeof said);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), DAEMON_EXIT_TEMPORARY);
    assert_non_null(strstr(said, "a file that it reads has been cut off, or its disk has failed"));
}

static void test_another_fault(void **state) {
    (void)state;
    char said[1000];
    int status = run(send_it, said, sizeof said);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
    assert_null(strstr(said, "cut off"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cut_off), cmocka_unit_test(test_another_fault)};
    return cmocka_run_group_tests_name("lost files", tests, NULL, NULL);
}
