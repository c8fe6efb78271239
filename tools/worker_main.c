/* hermes-worker PLUGIN.so: the process that holds one plugin. The daemon starts it with a socket as
 * descriptor 3. */
#include "tools/worker_confine.h"
#include "tools/worker_link.h"
#include "tools/worker_load.h"
#include "tools/worker_serve.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Under a sanitizer a plugin's crash still ends the process by its signal; leaks are the tests' business. */
#define SIGNALS_STAY "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0"
#if defined(__SANITIZE_ADDRESS__)
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "detect_leaks=0:allocator_may_return_null=1:" SIGNALS_STAY;
}
#elif defined(__SANITIZE_THREAD__)
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void) {
    return SIGNALS_STAY;
}
#endif

static int say_hello(struct worker_link *link, const char *layers) {
    struct buf out;
    struct frame_writer w;
    buf_init(&out, 1024);
    frame_begin(&w, &out, FRAME_HELLO, 0);
    frame_u32(&w, PROTOCOL_VERSION);
    frame_text(&w, layers, strlen(layers));
    int rc = frame_end(&w);
    if (rc == 0)
        worker_link_send(link, &out);
    buf_finish(&out);
    return rc;
}

static int run(struct worker_link *link, const char *path) {
    char layers[256], err[1024];
    const hermes_plugin *plugin = NULL;
    struct buf list;
    if (worker_confine(WORKER_OF_A_PLUGIN, layers, sizeof layers, err, sizeof err) != 0)
        return worker_serve_refuse(link, err);
    if (say_hello(link, layers) != 0)
        return WORKER_EXIT_LINK;
    buf_init(&list, 4u << 20);
    if (worker_load(path, &plugin, err, sizeof err) != 0 ||
        worker_load_list(plugin, &list, err, sizeof err) != 0) {
        buf_finish(&list);
        return worker_serve_refuse(link, err);
    }
    worker_link_send(link, &list);
    buf_finish(&list);
    return worker_serve(plugin, link);
}

int main(int argc, char **argv) {
    static struct worker_link link;
    int type = 0;
    socklen_t size = sizeof type;
    if (argc != 2 || getsockopt(PROTOCOL_FD, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
        fprintf(stderr,
                "hermes-worker is started by hermesd, with a socket as descriptor %d and one plugin.so as "
                "its argument; "
                "to call a tool by hand: hermesctl call NAME '{…}'\n",
                PROTOCOL_FD);
        return WORKER_EXIT_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    if (worker_link_init(&link, PROTOCOL_FD) != 0)
        return WORKER_EXIT_LINK;
    int code = run(&link, argv[1]);
    fflush(NULL); /* what the plugin printed */
    _exit(code);  /* not exit(): the plugin's own exit handlers and threads have no say any more */
}
