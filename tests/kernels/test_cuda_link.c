/* kernels/cuda/link.c as it is built for a real GPU, over a library of our own in place of NCCL: link.c is
 * compiled with dlopen() and dlsym() renamed to the ones here. */
#include "kernels/cuda/link.h"

#include <dlfcn.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define FAILS       3 /* ncclInternalError */
#define IN_PROGRESS 7 /* ncclInProgress */

static bool installed, complete;
static const char *failing;   /* the function that fails */
static int noticed[GPUS_MAX]; /* of each communicator */
static char calls[600], failure[100];
static char communicators[GPUS_MAX], queues[GPUS_MAX];

__attribute__((format(printf, 1, 2))) static void note(const char *fmt, ...) {
    va_list args;
    size_t n = strlen(calls);
    va_start(args, fmt);
    (void)vsnprintf(calls + n, sizeof calls - n, fmt, args);
    va_end(args);
}

static int result_of(const char *name) {
    return failing != NULL && strcmp(failing, name) == 0 ? FAILS : 0;
}

/* ---- what NCCL has, as its documentation declares it ---- */

static int init_all(void **comms, int n, const int *gpus) {
    note("init");
    for (int i = 0; i < n; i++) {
        note(" %d", gpus[i]);
        comms[i] = &communicators[i];
    }
    return result_of("ncclCommInitAll");
}

static int destroy(void *comm) {
    note("; destroy %d", (int)((char *)comm - communicators));
    return 0;
}

static int group_start(void) {
    note("; start");
    return result_of("ncclGroupStart");
}

static int group_end(void) {
    note("; end");
    return result_of("ncclGroupEnd");
}

static int all_reduce(const void *from, void *to, size_t n, int type, int op, void *comm, void *stream) {
    note("; reduce %d of type %d by %d on %d of queue %d%s", (int)n, type, op,
         (int)((char *)comm - communicators), (int)((char *)stream - queues), from == to ? "" : " elsewhere");
    return result_of("ncclAllReduce");
}

static int async_error(void *comm, int *result) {
    *result = noticed[(char *)comm - communicators];
    return result_of("ncclCommGetAsyncError");
}

static const char *error_string(int result) {
    return result == FAILS ? "internal error" : "no error";
}

void *link_dlopen(const char *name, int flags);
void *link_dlsym(void *library, const char *name);

void *link_dlopen(const char *name, int flags) {
    assert_string_equal(name, "libnccl.so.2");
    assert_int_equal(flags, RTLD_NOW | RTLD_LOCAL);
    return installed ? calls : dlopen("/nonexistent/libnccl.so.2", flags); /* for dlerror() */
}

void *link_dlsym(void *library, const char *name) {
    assert_ptr_equal(library, calls);
    static void (*const functions[])(void) = {(void (*)(void))init_all,    (void (*)(void))destroy,
                                              (void (*)(void))group_start, (void (*)(void))group_end,
                                              (void (*)(void))all_reduce,  (void (*)(void))async_error,
                                              (void (*)(void))error_string};
    static const char *const names[] = {"ncclCommInitAll",   "ncclCommDestroy", "ncclGroupStart",
                                        "ncclGroupEnd",      "ncclAllReduce",   "ncclCommGetAsyncError",
                                        "ncclGetErrorString"};
    void *symbol = NULL;
    for (size_t i = 0; i < (complete ? 7 : 6); i++)
        if (strcmp(name, names[i]) == 0)
            memcpy(&symbol, &functions[i], sizeof symbol);
    return symbol;
}

/* ---- what link.c takes from host.h ---- */

int gpu_fail(const char *what, int code) {
    (void)snprintf(failure, sizeof failure, "%s: error %d", what, code);
    return -EIO;
}

const char *gpu_failure(void) {
    return failure;
}

/* ---- tests ---- */

static const struct gpus three = {.n = 3, .ids = {4, 0, 2}};
static char err[300];

static int begin(void **state) {
    (void)state;
    installed = complete = true;
    failing = NULL;
    calls[0] = failure[0] = err[0] = '\0';
    memset(noticed, 0, sizeof noticed);
    return 0;
}

static int add_up(struct gpu_link *l, float *values) {
    int rc = gpu_link_begin(l);
    for (int i = 0; i < three.n && rc == 0; i++)
        rc = gpu_link_sum(l, i, (struct gpu_stream *)(void *)&queues[i], values, 64);
    return rc ? rc : gpu_link_end(l);
}

static void test_a_sum(void **state) {
    (void)state;
    struct gpu_link *l = NULL;
    float values[1];
    assert_int_equal(gpu_link_open(&three, &l, err, sizeof err), 0);
    assert_int_equal(add_up(l, values), 0);
    gpu_link_close(l);
    /* 7: ncclFloat32, 0: ncclSum */
    assert_string_equal(calls, "init 4 0 2; start; reduce 64 of type 7 by 0 on 0 of queue 0; "
                               "reduce 64 of type 7 by 0 on 1 of queue 1; "
                               "reduce 64 of type 7 by 0 on 2 of queue 2; end; destroy 0; destroy 1; "
                               "destroy 2");
}

static void test_the_largest(void **state) {
    (void)state;
    const struct gpus first = {.n = 1, .ids = {5}};
    struct gpu_link *l = NULL;
    float values[1];
    assert_int_equal(gpu_link_open(&first, &l, err, sizeof err), 0);
    assert_int_equal(gpu_link_begin(l), 0);
    assert_int_equal(gpu_link_largest(l, 0, (struct gpu_stream *)(void *)&queues[0], values, 9), 0);
    assert_int_equal(gpu_link_end(l), 0);
    gpu_link_close(l);
    /* 2: ncclMax */
    assert_string_equal(calls, "init 5; start; reduce 9 of type 7 by 2 on 0 of queue 0; end; destroy 0");
}

static void test_no_library(void **state) {
    (void)state;
    struct gpu_link *l = NULL;
    installed = false;
    assert_int_equal(gpu_link_open(&three, &l, err, sizeof err), -ENODEV);
    assert_non_null(
        strstr(err, "Several GPUs need NCCL, which cannot be loaded (/nonexistent/libnccl.so.2:"));
    assert_non_null(strstr(err, "install libnccl2, or use one GPU."));
    installed = true;
    complete = false;
    assert_int_equal(gpu_link_open(&three, &l, err, sizeof err), -ENODEV);
    assert_non_null(strstr(err, "lacks functions"));
    assert_null(l);
}

static void test_gpus_that_cannot_be_connected(void **state) {
    (void)state;
    struct gpu_link *l = NULL;
    failing = "ncclCommInitAll";
    assert_int_equal(gpu_link_open(&three, &l, err, sizeof err), -ENODEV);
    assert_string_equal(err, "NCCL cannot connect the 3 GPUs: internal error.");
    assert_null(l);
}

/* It is a failure of the GPU, and nothing waits for the library any more. */
static void test_a_sum_fails(void **state) {
    (void)state;
    static const char *const each[] = {"ncclGroupStart", "ncclAllReduce", "ncclGroupEnd"};
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        struct gpu_link *l = NULL;
        float values[1];
        (void)begin(state);
        assert_int_equal(gpu_link_open(&three, &l, err, sizeof err), 0);
        failing = each[i];
        assert_int_equal(add_up(l, values), -EIO);
        assert_string_equal(failure, "internal error: error 3");
        gpu_link_close(l);
        assert_null(strstr(calls, "destroy"));
    }
}

/* What the library notices by itself is a failure too, whichever GPU it is of; work in progress is none. */
static void test_what_the_library_notices(void **state) {
    (void)state;
    for (int i = 0; i < three.n; i++) {
        struct gpu_link *l = NULL;
        (void)begin(state);
        assert_int_equal(gpu_link_open(&three, &l, err, sizeof err), 0);
        assert_int_equal(gpu_link_check(l), 0);
        noticed[i] = IN_PROGRESS;
        assert_int_equal(gpu_link_check(l), 0);
        assert_string_equal(failure, "");
        noticed[i] = FAILS;
        assert_int_equal(gpu_link_check(l), -EIO);
        assert_string_equal(failure, "internal error: error 3");
        gpu_link_close(l);
    }
    struct gpu_link *l = NULL;
    (void)begin(state);
    assert_int_equal(gpu_link_open(&three, &l, err, sizeof err), 0);
    failing = "ncclCommGetAsyncError";
    assert_int_equal(gpu_link_check(l), -EIO);
    gpu_link_close(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_sum, begin),
        cmocka_unit_test_setup(test_the_largest, begin),
        cmocka_unit_test_setup(test_no_library, begin),
        cmocka_unit_test_setup(test_gpus_that_cannot_be_connected, begin),
        cmocka_unit_test_setup(test_a_sum_fails, begin),
        cmocka_unit_test_setup(test_what_the_library_notices, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
