#include "engine/cli_logits.h"

#include "base/json.h"
#include "engine/forward.h"
#include "engine/model.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_ROWS 64

static int check_ids(const struct model *m, const int32_t *ids, int n, char *err, size_t errlen) {
    if (n <= 0)
        return err_set(err, errlen, -EINVAL, "No token ids were given.");
    if (n > m->n_ctx_train)
        return err_set(err, errlen, -E2BIG, "%d tokens do not fit into the model's context of %d.", n,
                       m->n_ctx_train);
    for (int i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= m->n_vocab)
            return err_set(err, errlen, -EINVAL, "Token %d is not one of the model's %d tokens.", ids[i],
                           m->n_vocab);
    return 0;
}

/* Runs all ids in chunks; the logits of the last stay in the device. */
static int run(struct forward *f, const int32_t *ids, int n, char *err, size_t errlen) {
    int n_pages = (n + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS;
    int32_t *pages = calloc((size_t)n_pages, sizeof *pages);
    if (pages == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for %d KV pages.", n_pages);
    for (int i = 0; i < n_pages; i++)
        pages[i] = i;
    int rc = 0;
    for (int first = 0; first < n && rc == 0; first += CHUNK_ROWS) {
        struct kernels_row rows[CHUNK_ROWS];
        int in_chunk = n - first < CHUNK_ROWS ? n - first : CHUNK_ROWS;
        for (int i = 0; i < in_chunk; i++)
            rows[i] = (struct kernels_row){.token = ids[first + i], .position = first + i};
        int32_t output = in_chunk - 1;
        struct kernels_batch batch = {.rows = rows,
                                      .n_rows = in_chunk,
                                      .pages = pages,
                                      .pages_stride = n_pages,
                                      .outputs = &output,
                                      .n_outputs = first + in_chunk == n ? 1 : 0};
        rc = forward_run(f, &batch, err, errlen);
    }
    free(pages);
    return rc;
}

struct ranked {
    float logit;
    int id;
};

/* Largest first, equal ones by id, what is no number last. */
static int by_rank(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    bool x_number = x->logit == x->logit, y_number = y->logit == y->logit;
    if (x_number != y_number)
        return x_number ? -1 : 1;
    if (x_number && x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static int write_top(struct json_writer *w, const float *logits, int n_vocab, int top) {
    struct ranked *all = malloc((size_t)n_vocab * sizeof *all);
    if (all == NULL)
        return -ENOMEM;
    for (int i = 0; i < n_vocab; i++)
        all[i] = (struct ranked){logits[i], i};
    qsort(all, (size_t)n_vocab, sizeof *all, by_rank);
    json_key(w, "top");
    json_array_begin(w);
    for (int i = 0; i < top && i < n_vocab; i++) {
        json_object_begin(w);
        json_key(w, "id");
        json_int(w, all[i].id);
        json_key(w, "logit");
        json_number(w, (double)all[i].logit);
        json_object_end(w);
    }
    json_array_end(w);
    free(all);
    return 0;
}

static int write_line(struct buf *out, const struct model *m, const int32_t *ids, int n, const float *logits,
                      int top) {
    struct json_writer w;
    json_writer_begin(&w, out);
    json_object_begin(&w);
    json_key(&w, "model");
    json_string(&w, m->name != NULL ? m->name : "");
    json_key(&w, "ids");
    json_array_begin(&w);
    for (int i = 0; i < n; i++)
        json_int(&w, ids[i]);
    json_array_end(&w);
    json_key(&w, "n_vocab");
    json_int(&w, m->n_vocab);
    int rc = 0;
    if (top > 0) {
        rc = write_top(&w, logits, m->n_vocab, top);
    } else {
        json_key(&w, "logits");
        json_array_begin(&w);
        for (int i = 0; i < m->n_vocab; i++)
            json_number(&w, (double)logits[i]);
        json_array_end(&w);
    }
    json_object_end(&w);
    int end = json_writer_end(&w);
    rc = rc ? rc : end;
    return rc < 0 ? rc : buf_putc(out, '\n');
}

int engine_cli_logits(const char *model_path, const int32_t *ids, int n, int top, struct buf *out, char *err,
                      size_t errlen) {
    return engine_cli_logits_on(NULL, &(struct gpus){0}, model_path, ids, n, top, out, err, errlen);
}

int engine_cli_logits_on(const char *gpu_module, const struct gpus *gpus, const char *model_path,
                         const int32_t *ids, int n, int top, struct buf *out, char *err, size_t errlen) {
    struct model *m = NULL;
    struct forward *f = NULL;
    int rc = model_open_weights(model_path, &m, err, errlen);
    if (rc < 0)
        return rc;
    rc = check_ids(m, ids, n, err, errlen);
    if (rc == 0) {
        struct forward_config config = {.max_rows = CHUNK_ROWS,
                                        .max_outputs = 1,
                                        .max_context = n,
                                        .n_pages = (n + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS,
                                        .kv_type = DTYPE_F32,
                                        .exact = true,
                                        .gpu_module = gpu_module,
                                        .gpus = *gpus};
        rc = forward_open(m, &config, &f, err, errlen);
    }
    rc = rc ? rc : run(f, ids, n, err, errlen);
    if (rc == 0) {
        rc = write_line(out, m, ids, n, forward_logits(f, 0), top);
        if (rc < 0)
            err_set(err, errlen, rc, "The logits do not fit into the output: %s.", strerror(-rc));
    }
    forward_close(f);
    model_close(m);
    return rc;
}
