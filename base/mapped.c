#include "base/mapped.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

/* Where the thread goes on when its copy meets the end of the file; NULL: it copies nothing. */
static _Thread_local sigjmp_buf *volatile landing;
static struct sigaction before;

static void on_fault(int number, siginfo_t *info, void *context) {
    if (landing != NULL)
        siglongjmp(*landing, 1);
    if ((before.sa_flags & SA_SIGINFO) != 0)
        before.sa_sigaction(number, info, context);
    else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
        before.sa_handler(number);
    else
        (void)signal(number, SIG_DFL); /* it comes again at once */
}

static void install(void) {
    /* Not blocked in its handler, which may never return: so nothing has to be put back. */
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, NULL, &before);
    (void)sigaction(SIGBUS, &action, NULL);
}

int mapped_copy(void *to, const void *from, size_t n) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    sigjmp_buf here;
    (void)pthread_once(&once, install);
    if (sigsetjmp(here, 0) != 0) {
        landing = NULL;
        return -EIO;
    }
    landing = &here;
    atomic_signal_fence(memory_order_seq_cst);
    memcpy(to, from, n);
    atomic_signal_fence(memory_order_seq_cst);
    landing = NULL;
    return 0;
}
