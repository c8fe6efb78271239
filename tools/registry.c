#include "tools/registry.h"

#include "base/clock.h"
#include "base/log.h"
#include "tools/call.h"
#include "tools/paths.h"
#include "tools/suggest.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void registry_report(const struct tools *t, int level, const char *fmt, ...) {
    char text[2048];
    va_list ap;
    if (t->config.report == NULL)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    t->config.report(t->config.report_arg, level, text);
}

/* ---- the configuration ---- */

struct tools_config tools_config_default(void) {
    return (struct tools_config){.spares = 1};
}

static bool copy_string(const char **text) {
    if (*text == NULL)
        return true;
    *text = strdup(*text);
    return *text != NULL;
}

static int take_config(struct tools *t, const struct tools_config *config, char *err, size_t errlen) {
    t->config = *config;
    struct tools_config *c = &t->config;
    t->loop = *config->loop;
    c->loop = &t->loop;
    c->plugin_paths = NULL; /* only used while opening, from the caller's */
    if (c->default_timeout_ms == 0)
        c->default_timeout_ms = 30000;
    if (c->kill_grace_ms == 0)
        c->kill_grace_ms = 500;
    if (c->idle_ms == 0)
        c->idle_ms = 10000;
    if (c->max_result_bytes == 0)
        c->max_result_bytes = 1u << 20;
    if (c->max_queue == 0)
        c->max_queue = 64;
    if (c->start_timeout_ms == 0)
        c->start_timeout_ms = 5000;
    if (c->quarantine_ms == 0)
        c->quarantine_ms = 30000;
    if (c->spares < 0)
        c->spares = 0;
    bool all = copy_string(&c->worker_path);
    all = copy_string(&c->workspace) && all;
    all = copy_string(&c->state_dir) && all;
    all = copy_string(&c->documents) && all;
    return all ? 0 : err_set(err, errlen, -ENOMEM, "no memory for the tools");
}

static void free_config(struct tools_config *c) {
    free((char *)(uintptr_t)c->worker_path);
    free((char *)(uintptr_t)c->workspace);
    free((char *)(uintptr_t)c->state_dir);
    free((char *)(uintptr_t)c->documents);
}

/* ---- loading ---- */

static void refuse_path(void *arg, const char *path, const char *why) {
    registry_report(arg, LOG_WARN, "plugin %s: left out: %s", path, why);
}

/* Settled: ready, or of no use. */
static bool settled(const struct plugin *p) {
    const struct worker *w = p->workers;
    return w == NULL || w->phase != WORKER_STARTING || w->process->spawn.pid == 0;
}

static void pump(struct plugin **plugin, struct pollfd *fds, size_t n) {
    for (size_t i = 0; i < n; i++) {
        struct process *process = plugin[i]->workers->process;
        if (fds[3 * i + 2].revents != 0)
            process_on_output(process);
        if (fds[3 * i + 1].revents != 0)
            process_on_exit(process);
        else if (fds[3 * i].revents != 0)
            process_on_link(process);
    }
}

/* All workers start at the same time; waits until each is ready, has ended, or has used up its time. */
static int await_all(struct tools *t) {
    struct plugin **open = calloc(t->plugin_count + 1, sizeof(struct plugin *));
    struct pollfd *fds = calloc(3 * t->plugin_count + 1, sizeof *fds);
    uint64_t deadline_ns = clock_mono_ns() + (uint64_t)t->config.start_timeout_ms * 1000000u;
    size_t n = open != NULL && fds != NULL ? 1 : 0;
    int rc = n == 1 ? 0 : -ENOMEM;
    while (n > 0) {
        uint64_t now_ns = clock_mono_ns();
        n = 0;
        for (size_t i = 0; i < t->plugin_count; i++) {
            if (settled(t->plugin[i]))
                continue;
            const struct spawn *s = &t->plugin[i]->workers->process->spawn;
            fds[3 * n] = (struct pollfd){.fd = s->link_fd, .events = POLLIN};
            fds[3 * n + 1] = (struct pollfd){.fd = s->pidfd, .events = POLLIN};
            fds[3 * n + 2] = (struct pollfd){.fd = s->output_fd, .events = POLLIN};
            if (t->plugin[i]->workers->process->ending)
                fds[3 * n].fd = -1; /* only its end is awaited */
            open[n++] = t->plugin[i];
        }
        if (n == 0 || now_ns >= deadline_ns)
            break;
        if (poll(fds, (nfds_t)(3 * n), (int)((deadline_ns - now_ns) / 1000000u) + 1) > 0)
            pump(open, fds, n);
    }
    free(open);
    free(fds);
    return rc;
}

static int start_all(struct tools *t, const struct paths *paths) {
    char err[1024];
    for (size_t i = 0; i < paths->count; i++) {
        struct plugin *p = plugin_create(t, paths->path[i]);
        if (p == NULL)
            return -ENOMEM;
        t->plugin[t->plugin_count++] = p;
        if (pool_start(p, err, sizeof err) != 0)
            registry_report(t, LOG_ERROR, "plugin %s: %s", p->path, err);
    }
    return 0;
}

/* 0, or why it is left out. */
static int judge(const struct tools *t, const struct plugin *p, char *err, size_t errlen) {
    const struct worker *w = p->workers;
    if (w == NULL)
        return err_set(err, errlen, -EIO, "no worker could be started");
    if (w->why[0] != '\0')
        return err_set(err, errlen, -ENOEXEC, "%s", w->why);
    if (w->phase == WORKER_STARTING)
        return err_set(err, errlen, -ETIMEDOUT, "it was not ready within %u ms%s",
                       (unsigned)t->config.start_timeout_ms, p->listed ? ": its init hangs" : "");
    for (size_t i = 0; i < p->tool_count; i++) {
        const struct tool *other = registry_find(t, p->tool[i]->info.name);
        if (other != NULL)
            return err_set(err, errlen, -EEXIST, "its tool '%s' is already offered by the plugin %s (%s)",
                           other->info.name, other->plugin->name, other->plugin->path);
    }
    return 0;
}

static int by_name(const void *a, const void *b) {
    const struct tool *const *x = a, *const *y = b;
    return strcmp((*x)->info.name, (*y)->info.name);
}

static int adopt_tools(struct tools *t, struct plugin *p) {
    struct tool **more = realloc(t->tool, (t->tool_count + p->tool_count) * sizeof(struct tool *));
    if (more == NULL)
        return -ENOMEM;
    memcpy(more + t->tool_count, p->tool, p->tool_count * sizeof(struct tool *));
    t->tool = more;
    t->tool_count += p->tool_count;
    qsort(t->tool, t->tool_count, sizeof(struct tool *), by_name);
    return 0;
}

/* Keeps the plugins that are fit for use, in order, and destroys the others. */
static int choose(struct tools *t) {
    size_t kept = 0, all = t->plugin_count;
    int rc = 0;
    for (size_t i = 0; i < all; i++) {
        struct plugin *p = t->plugin[i];
        char why[1024];
        if (rc == 0 && judge(t, p, why, sizeof why) != 0) {
            registry_report(t, LOG_WARN, "plugin %s: left out: %s", p->path, why);
            plugin_destroy(p);
            continue;
        }
        if (rc == 0)
            rc = adopt_tools(t, p);
        t->plugin[kept++] = p;
    }
    t->plugin_count = kept;
    return rc;
}

static int load(struct tools *t, const char *const *roots, char *err, size_t errlen) {
    struct paths paths;
    int rc = paths_find(roots, refuse_path, t, &paths, err, errlen);
    if (rc != 0)
        return rc;
    t->plugin = calloc(paths.count + 1, sizeof(struct plugin *));
    rc = t->plugin != NULL ? start_all(t, &paths) : -ENOMEM;
    if (rc == 0)
        rc = await_all(t);
    if (rc == 0)
        rc = choose(t);
    paths_finish(&paths);
    if (rc != 0)
        return err_set(err, errlen, rc, "no memory for the tools");
    for (size_t i = 0; i < t->plugin_count && rc == 0; i++)
        rc = pool_serve(t->plugin[i], err, errlen);
    return rc;
}

int tools_open(const struct tools_config *config, struct tools **out, char *err, size_t errlen) {
    if (config->worker_path == NULL || access(config->worker_path, X_OK) != 0)
        return err_set(err, errlen, -ENOENT, "the worker %s cannot be run: %s; is hermesd installed whole?",
                       config->worker_path != NULL ? config->worker_path : "(none)",
                       config->worker_path != NULL ? strerror(errno) : "no path is set");
    struct tools *t = calloc(1, sizeof *t);
    if (t == NULL)
        return err_set(err, errlen, -ENOMEM, "no memory for the tools");
    int rc = take_config(t, config, err, errlen);
    if (rc == 0)
        rc = load(t, config->plugin_paths, err, errlen);
    if (rc != 0) {
        tools_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

void tools_close(struct tools *t) {
    if (t == NULL)
        return;
    t->closing = true;
    while (t->calls != NULL)
        call_abandon(t->calls);
    for (size_t i = 0; i < t->plugin_count; i++)
        for (struct worker *w = t->plugin[i]->workers; w != NULL; w = w->next)
            process_kill(w->process); /* all at once; then each is waited for */
    for (size_t i = 0; i < t->plugin_count; i++)
        plugin_destroy(t->plugin[i]);
    free(t->plugin);
    free(t->tool);
    free_config(&t->config);
    free(t);
}

/* ---- looking up ---- */

size_t tools_count(const struct tools *t) {
    return t->tool_count;
}

const struct tool_info *tools_get(const struct tools *t, size_t i) {
    return i < t->tool_count ? &t->tool[i]->info : NULL;
}

struct tool *registry_find(const struct tools *t, const char *name) {
    size_t low = 0, high = t->tool_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, t->tool[middle]->info.name);
        if (order == 0)
            return t->tool[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const struct tool_info *tools_find(const struct tools *t, const char *name) {
    const struct tool *tool = registry_find(t, name);
    return tool != NULL ? &tool->info : NULL;
}

static const char *name_at(const void *arg, size_t i) {
    const struct tools *t = arg;
    return t->tool[i]->info.name;
}

const char *tools_suggest(const struct tools *t, const char *name) {
    return suggest_name(name, t->tool_count, name_at, t);
}
