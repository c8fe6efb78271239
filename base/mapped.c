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

/* Again where somebody has put another handler in its place. */
static void install(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    /* Not blocked in its handler, which may never return: so nothing has to be put back. */
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER}, now;
    (void)sigemptyset(&action.sa_mask);
    pthread_mutex_lock(&lock);
    if (sigaction(SIGBUS, NULL, &now) == 0 &&
        ((now.sa_flags & SA_SIGINFO) == 0 || now.sa_sigaction != on_fault)) {
        before = now;
        (void)sigaction(SIGBUS, &action, NULL);
    }
    pthread_mutex_unlock(&lock);
}

int mapped_copy(void *to, const void *from, size_t n) {
    sigjmp_buf here;
    install();
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
