/* A mapped file that is cut off: a copy of it fails and the program goes on; any other access ends it as it
 * did before. */
#include "base/mapped.h"

#include <errno.h>
#include <pthread.h>
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

#define BYTES     (size_t)65536 /* of the file */
#define LEFT      (size_t)8192  /* when it has been cut */
#define EXPLAINED 7

static int file;
static const uint8_t *map;

/* In a process that ends: what it exits with, or -1 for a signal. */
static int child(void (*body)(void)) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        body();
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void explain(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)context;
    _exit(info->si_addr == map + LEFT + 5 ? EXPLAINED : 1);
}

static void explain_shortly(int number) {
    (void)number;
    _exit(EXPLAINED + 1);
}

static void touch(void) {
    uint8_t some;
    (void)!mapped_copy(&some, map + LEFT + 5, 1);
    (void)*(const volatile uint8_t *)(map + LEFT + 5);
}

static void touch_with_handler(void) {
    struct sigaction action = {.sa_sigaction = explain, .sa_flags = SA_SIGINFO};
    (void)sigaction(SIGBUS, &action, NULL);
    touch();
}

static void touch_with_short_handler(void) {
    (void)signal(SIGBUS, explain_shortly);
    touch();
}

static void touch_as_ever(void) {
    (void)signal(SIGBUS, SIG_DFL);
    touch();
}

/* First: no copy has been made in this process, so its children start without the handler. */
static void test_other_accesses(void **state) {
    (void)state;
    assert_int_equal(child(touch_with_handler), EXPLAINED);
    assert_int_equal(child(touch_with_short_handler), EXPLAINED + 1);
    assert_int_equal(child(touch_as_ever), -1);
}

static void *copy_often(void *arg) {
    uint8_t *to = malloc(BYTES);
    long good = 0;
    (void)arg;
    for (int i = 0; to != NULL && i < 200; i++) {
        size_t n = i % 2 == 0 ? BYTES : LEFT;
        int rc = mapped_copy(to, map, n);
        good += rc == (n == BYTES ? -EIO : 0) && to[LEFT - 1] == (uint8_t)(LEFT - 1);
        memset(to, 0, LEFT);
    }
    free(to);
    return (void *)(intptr_t)good;
}

static void test_copies(void **state) {
    (void)state;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, copy_often, NULL), 0);
    for (int i = 0; i < 3; i++) {
        void *good = NULL;
        assert_int_equal(pthread_join(threads[i], &good), 0);
        assert_int_equal((intptr_t)good, 200);
    }
    /* It is there again, and so are its bytes. */
    assert_int_equal(ftruncate(file, (off_t)BYTES), 0);
    uint8_t last = 1;
    assert_int_equal(mapped_copy(&last, map + BYTES - 1, 1), 0);
    assert_int_equal(last, 0);
}

static int setup(void **state) {
    char path[] = "/tmp/hermesd-mapped-XXXXXX";
    uint8_t bytes[BYTES];
    (void)state;
    file = mkstemp(path);
    assert_true(file >= 0);
    assert_int_equal(unlink(path), 0);
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(write(file, bytes, BYTES), BYTES);
    map = mmap(NULL, BYTES, PROT_READ, MAP_PRIVATE, file, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(ftruncate(file, (off_t)LEFT), 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    munmap((void *)(uintptr_t)map, BYTES);
    close(file);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_other_accesses), cmocka_unit_test(test_copies)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
