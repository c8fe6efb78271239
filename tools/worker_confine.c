#include "tools/worker_confine.h"

#include "tools/protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define MIB ((rlim_t)1 << 20)

/* Nothing of the daemon's stays open: the three standard descriptors and the socket are all there is. */
static int close_descriptors(void) {
    return close_range(PROTOCOL_FD + 1, ~0u, 0) == 0 ? 0 : -errno;
}

static int limit(int resource, rlim_t most) {
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)resource, &now) != 0)
        return -errno;
    if (now.rlim_max == RLIM_INFINITY || now.rlim_max > most)
        now.rlim_max = most;
    now.rlim_cur = now.rlim_max;
    return setrlimit((__rlimit_resource_t)resource, &now) == 0 ? 0 : -errno;
}

/* The number of processes is not limited here: that limit counts all processes of the user, the daemon's own
 * threads too. */
static int limit_resources(void) {
    static const struct {
        int resource;
        rlim_t most;
    } limits[] = {
        {RLIMIT_CORE, 0},        {RLIMIT_NOFILE, 256}, {RLIMIT_FSIZE, 256 * MIB},
        {RLIMIT_STACK, 8 * MIB}, {RLIMIT_CPU, 3600},
    };
    int rc = 0;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0] && rc == 0; i++)
        rc = limit(limits[i].resource, limits[i].most);
    return rc;
}

/* Files that a model's reader maps are no data of its own. */
static int limit_memory(enum worker_of of) {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    return of == WORKER_OF_A_PLUGIN ? limit(RLIMIT_AS, 1024 * MIB) : limit(RLIMIT_DATA, 4096 * MIB);
#else
    (void)of; /* the sanitizers' shadow memory is larger than that */
    return 0;
#endif
}

/* The daemon already passes only these on; a worker started otherwise drops the rest here. */
static int empty_environment(void) {
    static const char *const kept[] = {"PATH", "LANG", "TZ"};
    char values[3][256];
    for (size_t i = 0; i < 3; i++) {
        const char *value = getenv(kept[i]);
        snprintf(values[i], sizeof values[i], "%s", value != NULL ? value : "");
    }
    if (clearenv() != 0)
        return -ENOMEM;
    for (size_t i = 0; i < 3; i++)
        if (values[i][0] != '\0' && setenv(kept[i], values[i], 1) != 0)
            return -errno;
    return 0;
}

/* A session of its own: the daemon kills the group, and with it what the plugin started. */
static int own_session(void) {
    if (getsid(0) == getpid())
        return 0;
    return setsid() >= 0 ? 0 : -errno;
}

static int no_new_privileges(void) {
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? 0 : -errno;
}

/* No core file, and no other process of the user may look into this one. */
static int undumpable(void) {
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : -errno;
}

/* In this order, before the plugin is loaded. The layers of the kernel's own sandboxes (namespaces, Landlock)
 * belong at the end of this table; the filter of system calls belongs behind the plugin's init, in
 * worker_main.c. */
static const struct {
    const char *name;
    int (*apply)(void);
} layers_before_load[] = {
    {"fds", close_descriptors}, {"rlimits", limit_resources},        {"env", empty_environment},
    {"session", own_session},   {"no-new-privs", no_new_privileges}, {"undumpable", undumpable},
};

int worker_confine(enum worker_of of, char *layers, size_t size, char *err, size_t errlen) {
    size_t len = 0;
    int memory = limit_memory(of);
    if (memory != 0)
        return err_set(err, errlen, memory, "the limit of memory does not hold here: %s", strerror(-memory));
    for (size_t i = 0; i < sizeof layers_before_load / sizeof layers_before_load[0]; i++) {
        const char *name = layers_before_load[i].name;
        int rc = layers_before_load[i].apply();
        if (rc != 0)
            return err_set(err, errlen, rc, "the layer of confinement '%s' does not hold here: %s", name,
                           strerror(-rc));
        int n = snprintf(layers + len, size - len, "%s%s", len > 0 ? " " : "", name);
        if (n < 0 || (size_t)n >= size - len)
            return err_set(err, errlen, -ENOBUFS, "too many layers of confinement");
        len += (size_t)n;
    }
    return 0;
}
