/* hermes-loader MODEL: reads a model as the daemon would, and ends. The daemon starts it before it maps the
 * model itself, so that a file made to break its reader breaks a process that has given its rights away and
 * holds nothing. Says nothing and ends with 0 where the model can be used; else the sentence for the human
 * and one of the codes below. */
#include "engine/model.h"
#include "daemon/model_check.h"
#include "tools/worker_confine.h"

#include <errno.h>
#include <stdio.h>

/* As hermes-worker: the leak checker wants rights that this process has given away. */
#if defined(__SANITIZE_ADDRESS__)
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "detect_leaks=0:allocator_may_return_null=1";
}
#endif

int main(int argc, char **argv) {
    char layers[256], err[LOADER_SENTENCE_BYTES] = "";
    struct model *m = NULL;
    if (argc != 2) {
        (void)fprintf(stderr, "hermes-loader is started by hermesd, with a model as its only argument\n");
        return LOADER_EXIT_USAGE;
    }
    if (worker_confine(WORKER_OF_A_MODEL, layers, sizeof layers, err, sizeof err) != 0) {
        (void)fprintf(stderr, "The model's reader is not confined: %s.", err);
        return LOADER_EXIT_REFUSED;
    }
    int rc = model_open(argv[1], &m, err, sizeof err);
    model_close(m);
    if (rc == 0)
        return 0;
    (void)fputs(err, stderr);
    return rc == -ENOMEM ? LOADER_EXIT_MEMORY : LOADER_EXIT_REFUSED;
}
