#include "daemon/daemon.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/api.h"
#include "daemon/http.h"
#include "daemon/jobs.h"
#include "daemon/journal.h"
#include "daemon/model_check.h"
#include "daemon/model_sum.h"
#include "daemon/plugin_paths.h"
#include "daemon/tools_loop.h"
#include "engine/cli_inspect.h"
#include "engine/engine.h"
#include "tools/tools.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLUSH_MS 50 /* for answers that are on their way when the daemon ends */

struct daemon {
    const struct config *config;
    uv_loop_t loop;
    uv_async_t engine_wake, journal_wake;
    uv_signal_t sigterm, sigint;
    uv_timer_t grace;
    struct tools_loop tools_loop;
    struct plugin_paths plugins;
    char plugin_state[PATH_MAX]; /* what tools keep, apart from the journal; "" for none */
    struct tools *tools;
    struct engine *engine;
    struct journal *journal;
    struct jobs *jobs;
    struct http_server *server;
    struct api api;
    int complaints; /* of plugins and workers */
    bool told_lost; /* that something of the prefix cache was lost */
    int signals;
    bool ending;
    bool at_once;      /* the process ends without handlers of exit() */
    bool does_not_fit; /* the model, into the memory */
    int exit_code;
};

static void report(void *arg, int level, const char *text) {
    struct daemon *d = arg;
    d->complaints += level >= LOG_WARN;
    log_write((enum log_level)level, "%s", text);
}

/* ---- wakes ---- */

static void wake(void *arg) {
    uv_async_send(arg);
}

static void finish(struct daemon *d);

/* Once; the jobs that wanted it compute it. */
static void tell_lost(struct daemon *d) {
    struct engine_info info;
    engine_info(d->engine, &info);
    if (info.kept_lost != NULL && !d->told_lost) {
        log_warn("%s", info.kept_lost);
        d->told_lost = true;
    }
}

static void on_engine_wake(uv_async_t *async) {
    struct daemon *d = async->data;
    if (d->jobs == NULL) {
        return;
    }
    jobs_on_engine(d->jobs);
    tell_lost(d);
    const char *why = engine_failure(d->engine);
    if (why != NULL && d->exit_code == DAEMON_EXIT_OK) {
        log_error("%s The daemon ends; unfinished jobs go on at the next start.", why);
        d->exit_code = DAEMON_EXIT_TEMPORARY;
        finish(d);
    }
}

static void on_journal_wake(uv_async_t *async) {
    struct daemon *d = async->data;
    if (d->jobs == NULL) {
        return;
    }
    jobs_on_journal(d->jobs);
    if (journal_broken(d->journal) != 0 && d->exit_code == DAEMON_EXIT_OK) {
        log_error("the journal is broken; the daemon ends, unfinished jobs go on at the next start");
        d->exit_code = DAEMON_EXIT_IO;
        finish(d);
    }
}

/* ---- ending ---- */

static void say_open(uv_handle_t *handle, void *arg) {
    (void)arg;
    log_debug("open at the end handle=%s", uv_handle_type_name(handle->type));
}

static void close_handle(uv_handle_t *handle, void *arg) {
    (void)arg;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

/* For the next start. */
static void keep_prefixes(struct daemon *d) {
    char err[512] = "";
    int n = d->engine != NULL ? engine_keep_prefixes(d->engine, err, sizeof err) : 0;
    if (n < 0) {
        log_warn("%s", err);
    } else if (n > 0) {
        log_info("beginnings of prompts were kept pages=%d", n);
    }
}

/* One that has failed stays open, for the rest of the process: its GPU may still be at work, and closing it
 * may wait for that. So may what the driver does at exit(). */
static void close_engine(struct daemon *d) {
    if (d->engine != NULL && engine_failure(d->engine) != NULL) {
        d->at_once = true;
    } else {
        engine_close(d->engine);
    }
    d->engine = NULL;
}

/* From the top down: what ends below reaches jobs that are suspended, and nobody else. */
static void close_parts(struct daemon *d) {
    if (d->jobs != NULL) {
        jobs_suspend(d->jobs);
    }
    if (d->tools != NULL) {
        tools_close(d->tools);
        d->tools = NULL;
    }
    journal_close(d->journal);
    d->journal = NULL;
    if (d->jobs != NULL) {
        jobs_destroy(d->jobs);
        d->jobs = NULL;
    }
    keep_prefixes(d);
    close_engine(d);
}

static void on_server_closed(void *arg) {
    struct daemon *d = arg;
    d->server = NULL;
    close_parts(d);
    uv_close((uv_handle_t *)&d->engine_wake, NULL);
    uv_close((uv_handle_t *)&d->journal_wake, NULL);
    uv_close((uv_handle_t *)&d->sigterm, NULL);
    uv_close((uv_handle_t *)&d->sigint, NULL);
    uv_close((uv_handle_t *)&d->grace, NULL);
}

static void on_flushed(uv_timer_t *timer) {
    struct daemon *d = timer->data;
    http_server_destroy(d->server, on_server_closed, d);
}

/* Jobs stop where they are, then the connections go, and only then what their handlers use. */
static void finish(struct daemon *d) {
    if (d->ending) {
        return;
    }
    d->ending = true;
    http_server_stop(d->server);
    jobs_suspend(d->jobs);
    /* What was answered just now still has to leave. */
    uv_timer_start(&d->grace, on_flushed, http_server_connections(d->server) > 0 ? FLUSH_MS : 0, 0);
}

static void on_drained(void *arg) {
    finish(arg);
}

static void on_grace_over(uv_timer_t *timer) {
    struct daemon *d = timer->data;
    log_info("jobs are still working; they go on at the next start");
    finish(d);
}

static void on_signal(uv_signal_t *handle, int number) {
    struct daemon *d = handle->data;
    d->signals++;
    if (d->signals == 1 && !d->ending) {
        log_info("stopping signal=%d working=%d", number, jobs_count(d->jobs, true));
        http_server_stop(d->server);
        uv_timer_start(&d->grace, on_grace_over, (uint64_t)config_int(d->config, CONFIG_SHUTDOWN_GRACE_MS),
                       0);
        jobs_drain(d->jobs, on_drained, d);
    } else {
        finish(d);
    }
}

/* ---- opening ---- */

static int open_loop(struct daemon *d, char *err, size_t errlen) {
    int rc = uv_loop_init(&d->loop);
    if (rc != 0) {
        return err_set(err, errlen, rc, "cannot make an event loop: %s", uv_strerror(rc));
    }
    uv_async_init(&d->loop, &d->engine_wake, on_engine_wake);
    uv_async_init(&d->loop, &d->journal_wake, on_journal_wake);
    uv_signal_init(&d->loop, &d->sigterm);
    uv_signal_init(&d->loop, &d->sigint);
    uv_timer_init(&d->loop, &d->grace);
    d->engine_wake.data = d->journal_wake.data = d->sigterm.data = d->sigint.data = d->grace.data = d;
    tools_loop_init(&d->tools_loop, &d->loop);
    return 0;
}

static int open_journal(struct daemon *d, char *err, size_t errlen) {
    const struct journal_config config = {
        .state_dir = config_text(d->config, CONFIG_STATE),
        .wake = wake,
        .wake_arg = &d->journal_wake,
    };
    return journal_open(&config, &d->journal, err, errlen);
}

/* A folder below the state folder, which is there unless this is only a check. */
static void make_plugin_state(struct daemon *d) {
    int n =
        snprintf(d->plugin_state, sizeof d->plugin_state, "%s/plugins", config_text(d->config, CONFIG_STATE));
    bool there = n > 0 && n < PATH_MAX && (mkdir(d->plugin_state, 0700) == 0 || errno == EEXIST);
    if (!there) {
        d->plugin_state[0] = '\0';
    }
}

static int open_tools(struct daemon *d, char *err, size_t errlen) {
    make_plugin_state(d);
    int rc = plugin_paths_split(&d->plugins, config_text(d->config, CONFIG_PLUGINS), err, errlen);
    if (rc != 0) {
        return rc;
    }
    const struct tools_config config = {
        .worker_path = config_text(d->config, CONFIG_WORKER),
        .plugin_paths = d->plugins.items,
        .workspace = config_text(d->config, CONFIG_WORKSPACE),
        .state_dir = d->plugin_state[0] != '\0' ? d->plugin_state : NULL,
        .documents = config_text(d->config, CONFIG_DOCUMENTS),
        .allow_private_addresses = config_int(d->config, CONFIG_ALLOW_PRIVATE_ADDRESSES) != 0,
        .plugin_config = config_plugin_json,
        .plugin_config_arg = (void *)(uintptr_t)d->config,
        .spares = 1,
        .loop = &d->tools_loop,
        .report = report,
        .report_arg = d,
    };
    return tools_open(&config, &d->tools, err, errlen);
}

enum engine_device daemon_wanted_device(const struct config *c) {
    const char *device = config_text(c, CONFIG_DEVICE);
    return device == NULL || strcmp(device, "auto") == 0 ? ENGINE_DEVICE_AUTO
           : strcmp(device, "cuda") == 0                 ? ENGINE_DEVICE_CUDA
                                                         : ENGINE_DEVICE_CPU;
}

struct gpus daemon_wanted_gpus(const struct config *c) {
    struct gpus gpus = {0};
    const char *text = config_text(c, CONFIG_DEVICES);
    if (text != NULL)
        (void)gpus_parse(text, &gpus); /* it was read before: none is the first */
    return gpus;
}

enum engine_kv daemon_wanted_kv(const struct config *c) {
    enum engine_kv kv = ENGINE_KV_F16;
    const char *text = config_text(c, CONFIG_KV);
    return text != NULL && engine_kv_parse(text, &kv) == 0 ? kv : ENGINE_KV_F16;
}

/* Before this process maps the model: once in a process of its own, with a minute for slow disks. */
static int check_model(const struct config *c, char *err, size_t errlen) {
    const char *model = config_text(c, CONFIG_MODEL), *sum = config_text(c, CONFIG_MODEL_SHA256);
    if (config_text(c, CONFIG_SCRIPTED) != NULL) {
        return 0;
    }
    char who[64];
    if (model_check_others(model, who, sizeof who)) {
        log_warn("%s may write to the model %s: what is checked now may be another file later", who, model);
    }
    int rc = sum != NULL ? model_sum_check(model, sum, err, errlen) : 0;
    return rc == 0 ? model_check(config_text(c, CONFIG_LOADER), model, 60000, err, errlen) : rc;
}

/* Line by line, behind a refusal. */
static void log_needs(const char *model) {
    struct buf table;
    char err[300];
    buf_init(&table, 65536);
    if (engine_cli_needs(model, &table, err, sizeof err) == 0 && buf_putc(&table, '\0') == 0) {
        for (const char *line = table.data, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            log_error("%.*s", (int)(end - line), line);
        }
    }
    buf_finish(&table);
}

static int open_engine(struct daemon *d, char *err, size_t errlen) {
    char prefixes[PATH_MAX];
    (void)!err_set(prefixes, sizeof prefixes, 0, "%s/prefixes.kv", config_text(d->config, CONFIG_STATE));
    const char *scripted = config_text(d->config, CONFIG_SCRIPTED);
    const struct engine_config config = {
        .model_path = scripted != NULL ? scripted : config_text(d->config, CONFIG_MODEL),
        .scripted = scripted != NULL,
        .device = daemon_wanted_device(d->config),
        .gpu_module = config_text(d->config, CONFIG_CUDA_MODULE),
        .gpus = daemon_wanted_gpus(d->config),
        .gpu_wait_ms = (int)config_int(d->config, CONFIG_GPU_WAIT_MS),
        .n_threads = (int)config_int(d->config, CONFIG_THREADS),
        .max_context = (int)config_int(d->config, CONFIG_CONTEXT),
        .kv = daemon_wanted_kv(d->config),
        .kv_bytes = (size_t)config_int(d->config, CONFIG_KV_BYTES),
        .host_kv_bytes = (size_t)config_int(d->config, CONFIG_HOST_KV_BYTES),
        .prefix_path = prefixes,
        .prefix_bytes = (size_t)config_int(d->config, CONFIG_PREFIX_CACHE),
        /* Jobs that are taken up again may be a few more than the limit. */
        .max_sessions = (int)config_int(d->config, CONFIG_MAX_JOBS) * 2 + 16,
        .wake = wake,
        .wake_arg = &d->engine_wake,
    };
    int rc = check_model(d->config, err, errlen);
    return rc == 0 ? engine_open(&config, &d->engine, err, errlen) : rc;
}

static int open_jobs(struct daemon *d, char *err, size_t errlen) {
    const struct jobs_config config = {
        .loop = &d->loop,
        .engine = d->engine,
        .tools = d->tools,
        .journal = d->journal,
        .max_working = (int)config_int(d->config, CONFIG_MAX_JOBS),
        .max_queued = (int)config_int(d->config, CONFIG_MAX_QUEUED),
        .max_per_user = (int)config_int(d->config, CONFIG_MAX_USER_JOBS),
    };
    int rc = jobs_create(&config, &d->jobs, err, errlen);
    return rc == 0 ? jobs_recover(d->jobs, err, errlen) : rc;
}

/* The first line of the file, which nobody else may read. */
static int read_token(const char *path, char token[256], char *err, size_t errlen) {
    struct stat st;
    FILE *file = fopen(path, "re");
    if (file == NULL || fstat(fileno(file), &st) != 0) {
        int code = -errno;
        if (file != NULL) {
            fclose(file);
        }
        return err_set(err, errlen, code, "cannot read the token file %s: %s", path, strerror(-code));
    }
    bool some = fgets(token, 256, file) != NULL;
    fclose(file);
    token[some ? strcspn(token, "\r\n") : 0] = '\0';
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return err_set(err, errlen, -EACCES, "the token file %s can be read by others; chmod 600 it", path);
    }
    return strlen(token) >= 16 ? 0
                               : err_set(err, errlen, -EINVAL,
                                         "the first line of the token file %s must be a token of at least 16 "
                                         "characters",
                                         path);
}

static int open_server(struct daemon *d, char *err, size_t errlen) {
    d->server = http_server_create(&d->loop, api_routes, api_route_count, &d->api, NULL);
    if (d->server == NULL) {
        return err_set(err, errlen, -ENOMEM, "memory is out");
    }
    d->api = (struct api){.jobs = d->jobs,
                          .tools = d->tools,
                          .engine = d->engine,
                          .journal = d->journal,
                          .server = d->server,
                          .started_ns = clock_mono_ns()};
    const char *path = config_text(d->config, CONFIG_SOCKET);
    int rc = http_server_listen_unix(d->server, path, err, errlen);
    if (rc != 0 || config_text(d->config, CONFIG_HTTP) == NULL) {
        return rc;
    }
    char host[64];
    char token[256];
    int port = 0;
    rc = config_http(d->config, host, &port, err, errlen);
    rc = rc == 0 ? read_token(config_text(d->config, CONFIG_HTTP_TOKEN_FILE), token, err, errlen) : rc;
    rc = rc == 0 ? http_server_listen_tcp(d->server, host, port, token, &port, err, errlen) : rc;
    if (rc == 0) {
        log_info("listening http=%s:%d", host, port);
    }
    return rc;
}

/* Opens everything; the exit code. A failure leaves what was opened to close_all(). */
static int open_all(struct daemon *d, char *err, size_t errlen) {
    if (open_loop(d, err, errlen) != 0) {
        return DAEMON_EXIT_FAILED;
    }
    /* The journal first: it says whether another daemon is at work here, and that is cheap to find out. */
    int rc = open_journal(d, err, errlen);
    if (rc != 0) {
        return DAEMON_EXIT_IO;
    }
    if (open_tools(d, err, errlen) != 0) {
        return DAEMON_EXIT_CONFIG;
    }
    rc = open_engine(d, err, errlen);
    d->at_once = rc == -EIO; /* of a GPU, most likely: see close_engine() */
    d->does_not_fit = rc == -E2BIG && config_text(d->config, CONFIG_SCRIPTED) == NULL;
    if (rc != 0) {
        return rc == -ENOMEM || rc == -EIO ? DAEMON_EXIT_TEMPORARY : DAEMON_EXIT_CONFIG;
    }
    if (open_jobs(d, err, errlen) != 0) {
        return DAEMON_EXIT_IO;
    }
    rc = open_server(d, err, errlen);
    return rc == 0                                                 ? DAEMON_EXIT_OK
           : rc == -ENAMETOOLONG || rc == -EINVAL || rc == -ENOENT ? DAEMON_EXIT_CONFIG
                                                                   : DAEMON_EXIT_IO;
}

static void close_all(struct daemon *d) {
    close_parts(d);
    if (d->server != NULL) {
        http_server_destroy(d->server, NULL, NULL);
        d->server = NULL;
    }
    uv_walk(&d->loop, close_handle, NULL);
    uv_run(&d->loop, UV_RUN_DEFAULT);
}

int daemon_serve(const struct config *config, bool *at_once) {
    char err[1024] = "";
    struct daemon *d = calloc(1, sizeof *d);
    if (d == NULL) {
        log_error("memory is out");
        return DAEMON_EXIT_TEMPORARY;
    }
    d->config = config;
    d->exit_code = open_all(d, err, sizeof err);
    if (d->exit_code != DAEMON_EXIT_OK) {
        log_error("%s", err);
        if (d->does_not_fit) {
            log_needs(config_text(config, CONFIG_MODEL));
        }
        close_all(d);
    } else {
        struct engine_info info;
        engine_info(d->engine, &info);
        uv_signal_start(&d->sigterm, on_signal, SIGTERM);
        uv_signal_start(&d->sigint, on_signal, SIGINT);
        jobs_start(d->jobs);
        if (info.no_gpu != NULL) {
            log_info("the CPU runs the model: %s", info.no_gpu);
        }
        if (info.kept_ignored != NULL) {
            log_warn("%s", info.kept_ignored);
        } else if (info.kept_tokens > 0) {
            log_info("beginnings of prompts are there from before tokens=%d", info.kept_tokens);
        }
        log_info("ready socket=%s model=%s device=\"%s\" kv=%s tools=%zu", config_text(config, CONFIG_SOCKET),
                 info.model_name, info.device, engine_kv_name(info.kv), tools_count(d->tools));
        uv_run(&d->loop, UV_RUN_DEFAULT);
        log_info("stopped");
    }
    int exit_code = d->exit_code;
    if (uv_loop_close(&d->loop) != 0) {
        log_error("handles of the loop are still open at the end");
        uv_walk(&d->loop, say_open, NULL);
        exit_code = exit_code == DAEMON_EXIT_OK ? DAEMON_EXIT_FAILED : exit_code;
    }
    *at_once = d->at_once;
    plugin_paths_finish(&d->plugins);
    free(d);
    return exit_code;
}

int daemon_check(const struct config *config) {
    char err[1024] = "";
    struct daemon *d = calloc(1, sizeof *d);
    int exit_code = DAEMON_EXIT_OK;
    if (d == NULL) {
        return DAEMON_EXIT_TEMPORARY;
    }
    d->config = config;
    if (open_loop(d, err, sizeof err) != 0) {
        exit_code = DAEMON_EXIT_FAILED;
    } else if (open_tools(d, err, sizeof err) != 0) {
        exit_code = DAEMON_EXIT_CONFIG;
    }
    if (exit_code != DAEMON_EXIT_OK) {
        fprintf(stderr, "hermesd: %s\n", err);
    }
    for (size_t i = 0; d->tools != NULL && i < tools_count(d->tools); i++) {
        const struct tool_info *tool = tools_get(d->tools, i);
        printf("%-20s %-12s %-10s %s\n", tool->name, tool->plugin, tool->plugin_version,
               tool->confinement != NULL ? tool->confinement : "");
    }
    close_all(d);
    uv_loop_close(&d->loop);
    if (exit_code == DAEMON_EXIT_OK && d->complaints > 0) {
        exit_code = DAEMON_EXIT_FAILED;
    }
    plugin_paths_finish(&d->plugins);
    free(d);
    return exit_code;
}
