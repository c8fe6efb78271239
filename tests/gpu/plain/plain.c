#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

jmp_buf plain_out;
const char *plain_filter;

void plain_fail(const char *file, int line, const char *what) {
    (void)printf("%s:%d: %s\n", file, line, what);
    longjmp(plain_out, PLAIN_FAILED + 1);
}

/* As cmocka: `*` stands for anything, at the end of the pattern. */
static bool wanted(const char *name) {
    size_t n = plain_filter != NULL ? strcspn(plain_filter, "*") : 0;
    return plain_filter == NULL ||
           (plain_filter[n] == '*' ? strncmp(name, plain_filter, n) == 0 : strcmp(name, plain_filter) == 0);
}

int plain_run(const struct CMUnitTest *tests, size_t n) {
    static const char *const words[] = {"passed", "FAILED", "skipped"};
    static volatile int failed; /* keeps its value over longjmp() */
    for (volatile size_t i = 0; i < n; i++) {
        if (!wanted(tests[i].name))
            continue;
        void *state = NULL;
        int end = setjmp(plain_out);
        if (end == 0)
            tests[i].run(&state);
        end = end == 0 ? PLAIN_PASSED : end - 1;
        failed += end == PLAIN_FAILED ? 1 : 0;
        (void)printf("%s: %s\n", tests[i].name, words[end]);
        (void)fflush(stdout);
    }
    return failed;
}
