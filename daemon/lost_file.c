#include "daemon/lost_file.h"

#include "daemon/daemon.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Only what a signal handler may do. */
static void on_lost_file(int number, siginfo_t *info, void *context) {
    static const char sentence[] =
        "hermesd: a file that it reads has been cut off, or its disk has failed: the model's, most likely; "
        "files in use are replaced by renaming others over them, never written to\n";
    (void)context;
    if (info->si_code != BUS_ADRERR) { /* a fault of the program, or sent: what it would be without this */
        (void)signal(number, SIG_DFL);
        (void)raise(number); /* comes when this has returned */
        return;
    }
    if (write(STDERR_FILENO, sentence, strlen(sentence)) < 0) {
        /* there is nobody to tell */
    }
    _exit(DAEMON_EXIT_TEMPORARY);
}

void lost_file_explain(void) {
    struct sigaction action = {.sa_sigaction = on_lost_file, .sa_flags = SA_SIGINFO};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}
