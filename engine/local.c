/* Opening the model, the engine thread, closing. */
#include "engine/local.h"

#include "engine/fit.h"
#include "engine/host_pages.h"
#include "engine/prefix_file.h"
#include "engine/prefix_sum.h"
#include "kernels/cuda/cuda.h"
#include "kernels/dtype.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define COMPUTE_NICE 10

static void *engine_main(void *arg) {
    struct local_engine *e = arg;
    (void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), COMPUTE_NICE);
    pthread_mutex_lock(&e->lock);
    while (!e->stop) {
        if (plan_step(e)) {
            pthread_mutex_unlock(&e->lock);
            batch_run(e);
            pthread_mutex_lock(&e->lock);
        } else if (!e->stop) {
            pthread_cond_wait(&e->changed, &e->lock);
        }
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

enum dtype local_kv_type(enum engine_kv kv) {
    return kv == ENGINE_KV_F32 ? DTYPE_F32 : kv == ENGINE_KV_Q8 ? DTYPE_Q8_0 : DTYPE_F16;
}

/* Bytes for keys and values when nobody said how many, and at most; -E2BIG when the rest alone is too much
 * for the machine, -ENOMEM for the GPU, which others may be using. What several GPUs share is counted on all
 * of them together, and what each of them has whole as often as there are. */
static int kv_budget(const struct local_engine *e, const struct engine_config *config, const char *gpu_module,
                     enum dtype kv_type, size_t *budget, struct fit *fit, char *err, size_t errlen) {
    size_t left = 0;
    if (gpu_module == NULL) {
        fit_of(e->model, kv_type, fit_memory_bytes(), e->scratch_bytes, fit);
        fit->where = fit_memory_where();
        *budget = (size_t)fit->kv_limit_bytes;
        return fit_check(e->model, fit, err, errlen);
    }
    int n = gpus_count(&config->gpus), rc = cuda_memory_left(gpu_module, &config->gpus, &left, err, errlen);
    if (rc < 0)
        return rc;
    fit_of_several(e->model, kv_type, n, left, e->scratch_bytes, fit);
    fit->where = n > 1 ? "the GPUs" : "the GPU";
    size_t most = left > fit->weight_bytes ? (left - (size_t)fit->weight_bytes) / 5 * 4 : 0;
    *budget = most < fit->left_bytes ? most : (size_t)fit->left_bytes;
    return fit_check(e->model, fit, err, errlen) < 0 ? -ENOMEM : 0;
}

static int context_of(const struct local_engine *e, const struct engine_config *config) {
    int context = config->max_context > 0 ? config->max_context : e->model->n_ctx_train;
    return context <= 0 || context > LOCAL_CONTEXT ? LOCAL_CONTEXT : context;
}

/* Pages are mapped and fill as they are used: a ceiling that memory cannot hold would end the process later.
 */
static int err_kv_ceiling(size_t kv_bytes, const struct fit *fit, char *err, size_t errlen) {
    char wanted[32], left[32], weights[32], scratch[32];
    return err_set(err, errlen, -E2BIG,
                   "The KV ceiling of %s is more than the %s that %s has beside the model's weights (%s) and "
                   "working memory (%s); lower it, or set none.",
                   fit_size(wanted, kv_bytes), fit_size(left, fit->left_bytes), fit->where,
                   fit_size(weights, fit->weight_bytes), fit_size(scratch, fit->scratch_bytes));
}

/* Context and number of pages from what was asked, what the model was made for and the memory. */
static int size_pages(struct local_engine *e, const struct engine_config *config, const char *gpu_module,
                      enum dtype kv_type, int *n_pages, char *err, size_t errlen) {
    int context = context_of(e, config);
    size_t page_bytes = forward_page_bytes(e->model, kv_type), budget = 0;
    struct fit fit;
    int rc = kv_budget(e, config, gpu_module, kv_type, &budget, &fit, err, errlen);
    if (rc < 0)
        return rc;
    budget = config->kv_bytes > 0 ? config->kv_bytes : budget;
    size_t most =
        (size_t)e->max_sessions * (size_t)((context + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS);
    size_t pages = budget / page_bytes;
    pages = pages < most ? pages : most;
    if (pages == 0)
        return err_set(
            err, errlen, config->kv_bytes > 0 ? -EINVAL : -ENOMEM,
            "The KV ceiling of %zu bytes is below one page of %zu bytes (%d tokens); raise it, or keep "
            "keys and values in fewer bits (kv q8).",
            budget, page_bytes, KERNELS_PAGE_TOKENS);
    if (pages * page_bytes > fit.left_bytes) /* what was asked for; the budget is no more than that */
        return err_kv_ceiling(config->kv_bytes, &fit, err, errlen);
    /* One session must always fit alone: that is what keeps a full pool from standing still. */
    if (pages * KERNELS_PAGE_TOKENS < (size_t)context)
        context = (int)(pages * KERNELS_PAGE_TOKENS);
    e->max_context = context;
    e->kv_bytes_per_token = page_bytes / KERNELS_PAGE_TOKENS;
    *n_pages = (int)pages;
    return 0;
}

/* Opens the model on the GPU of the module, or on the CPU where there is none. */
static int open_forward(struct local_engine *e, const struct engine_config *config, const char *gpu_module,
                        bool exact, int *n_pages, char *err, size_t errlen) {
    enum dtype kv_type = local_kv_type(e->kv);
    struct forward_config forward = {.max_outputs = e->max_sessions + SPECULATE_ROWS,
                                     .max_context = context_of(e, config),
                                     .kv_type = kv_type,
                                     .n_threads = config->n_threads,
                                     .nice = COMPUTE_NICE,
                                     .exact = exact,
                                     .isa = config->isa,
                                     .gpu_module = gpu_module,
                                     .gpus = config->gpus,
                                     .gpu_wait_ms = config->gpu_wait_ms};
    e->scratch_bytes = forward_scratch_bytes(e->model, &forward);
    int rc = size_pages(e, config, gpu_module, kv_type, n_pages, err, errlen);
    if (rc < 0)
        return rc;
    forward.max_context = e->max_context;
    forward.n_pages = *n_pages;
    uint64_t kv_bytes = (uint64_t)*n_pages * forward_page_bytes(e->model, kv_type);
    if (fit_copies_weights(e->model, kv_bytes, e->scratch_bytes))
        forward.copy_weights = config->weights_first ? KERNELS_COPY_FIRST : KERNELS_COPY_WHILE;
    rc = forward_open(e->model, &forward, &e->forward, err, errlen);
    e->max_rows = rc == 0 ? forward_max_rows(e->forward) : 0;
    return rc;
}

/* What an earlier process kept. A file that cannot be used is no reason not to start. */
static int open_prefixes(struct local_engine *e, const struct engine_config *config) {
    if (config->prefix_path == NULL || config->prefix_bytes == 0)
        return 0;
    e->prefix_path = strdup(config->prefix_path);
    if (e->prefix_path == NULL)
        return -ENOMEM;
    e->prefix_bytes = config->prefix_bytes;
    e->prefix_model = prefix_sum_model(e->model);
    (void)!prefix_file_open(e->prefix_path, e->prefix_bytes, e->prefix_model, e->model->n_vocab, e->forward,
                            &e->prefix_file, e->kept_ignored, sizeof e->kept_ignored);
    return 0;
}

/* The pages, and where else content of some may be. */
static int open_pages(struct local_engine *e, const struct engine_config *config, int n_pages, bool gpu,
                      char *err, size_t errlen) {
    size_t host_bytes = config->host_kv_bytes > 0 ? config->host_kv_bytes
                        : gpu                     ? (size_t)(fit_memory_bytes() / 4)
                                                  : 0;
    if (host_pages_create(e->forward, n_pages, host_bytes, HOST_PAGES_AT_ONCE, &e->host_pages) < 0)
        return err_set(err, errlen, -ENOMEM,
                       "There is no room for %zu bytes of keys and values beside the GPU.", host_bytes);
    if (open_prefixes(e, config) < 0)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the name of the prefix cache.");
    struct pages_store away = host_pages_store(e->host_pages), kept = prefix_file_store(e->prefix_file);
    e->pages = pages_create(n_pages, &away, &kept);
    if (e->pages == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the lists of %d KV pages.", n_pages);
    e->kept_tokens = prefix_file_enter(e->prefix_file, e->pages);
    return 0;
}

static int open_device(struct local_engine *e, const struct engine_config *config, bool exact, char *err,
                       size_t errlen) {
    int n_pages = 0, rc = -ENOENT;
    if (config->device == ENGINE_DEVICE_CUDA && config->gpu_module == NULL)
        return err_set(err, errlen, rc,
                       "A GPU is wanted, and no CUDA module is installed; use the device cpu.");
    if (config->device != ENGINE_DEVICE_CPU && config->gpu_module != NULL)
        rc = open_forward(e, config, config->gpu_module, exact, &n_pages, e->no_gpu, sizeof e->no_gpu);
    if (rc < 0 && config->device == ENGINE_DEVICE_CUDA)
        return err_set(err, errlen, rc, "%s", e->no_gpu);
    rc = rc == 0 ? 0 : open_forward(e, config, NULL, exact, &n_pages, err, errlen);
    if (rc < 0)
        return rc;
    bool gpu = config->device != ENGINE_DEVICE_CPU && config->gpu_module != NULL && e->no_gpu[0] == '\0';
    e->reads_files = !gpu;
    rc = model_unchanged(e->model, err, errlen); /* while a GPU took all of it */
    rc = rc ? rc : open_pages(e, config, n_pages, gpu, err, errlen);
    if (rc < 0)
        return rc;
    e->scratch = calloc((size_t)e->model->n_vocab, sizeof *e->scratch);
    if (e->scratch == NULL || batch_init(e) < 0 || constrained_init(e) < 0 || choose_init(e) < 0)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the lists of %d KV pages.", n_pages);
    return 0;
}

static void free_all(struct local_engine *e) {
    while (e->sessions != NULL) {
        struct local_session *s = e->sessions;
        e->sessions = s->next;
        local_session_free(s);
    }
    batch_finish(e);
    choose_finish(e);
    constrained_finish(e);
    free(e->scratch);
    pages_destroy(e->pages);
    host_pages_destroy(e->host_pages);
    prefix_file_close(e->prefix_file);
    forward_close(e->forward);
    free(e->prefix_path);
    if (e->owns_model)
        model_close(e->model);
    events_finish(&e->base.events);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

int local_open_model(const struct engine_config *config, struct model *model, bool exact, struct engine **out,
                     char *err, size_t errlen) {
    struct engine_config filled = engine_config_filled(config);
    struct local_engine *e = calloc(1, sizeof *e);
    if (e == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the engine.");
    e->base.kind = &local_kind;
    events_init(&e->base.events, config->wake, config->wake_arg);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->changed, NULL);
    e->model = model;
    e->max_sessions = filled.max_sessions;
    e->kv = exact ? ENGINE_KV_F32 : filled.kv;
    (void)snprintf(e->format, sizeof e->format, "%s %s", model->format != NULL ? model->format : "memory",
                   dtype_info(model->layers[0].wq.type)->name);
    int rc = open_device(e, &filled, exact, err, errlen);
    if (rc == 0) {
        rc = -pthread_create(&e->thread, NULL, engine_main, e);
        if (rc < 0)
            rc = err_set(err, errlen, rc, "Cannot start the engine thread: %s.", strerror(-rc));
    }
    if (rc < 0) {
        free_all(e);
        return rc;
    }
    *out = &e->base;
    return 0;
}

int local_open(const struct engine_config *config, struct engine **out, char *err, size_t errlen) {
    struct model *model = NULL;
    int rc = model_open(config->model_path, &model, err, errlen);
    if (rc < 0)
        return rc;
    rc = local_open_model(config, model, false, out, err, errlen);
    if (rc < 0) {
        model_close(model);
        return rc;
    }
    /* Read again only by close, after the thread has ended. */
    ((struct local_engine *)(void *)*out)->owns_model = true;
    return 0;
}

static void stop_thread(struct local_engine *e) {
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
    if (!e->joined)
        pthread_join(e->thread, NULL);
    e->joined = true;
}

int local_keep_prefixes(struct local_engine *e, char *err, size_t errlen) {
    stop_thread(e);
    if (e->prefix_path == NULL || engine_failure(&e->base) != NULL)
        return 0;
    for (struct local_session *s = e->sessions; s != NULL; s = s->next)
        hold_release(e, s, ENGINE_MISS_EVICTED);
    return prefix_file_save(e->prefix_path, e->prefix_bytes, e->prefix_model, e->forward, e->pages,
                            e->prefix_file, err, errlen);
}

void local_close(struct local_engine *e) {
    stop_thread(e);
    free_all(e);
}
