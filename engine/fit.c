#include "engine/fit.h"

#include "base/buf.h"
#include "engine/forward.h"
#include "engine/local.h"
#include "engine/memory_group.h"
#include "kernels/dtype.h"
#include "kernels/kernels.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct memory_group own_group(void) {
    return memory_group_of("/proc/self/cgroup", "/sys/fs/cgroup");
}

static uint64_t machine_bytes(void) {
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : (uint64_t)1 << 30;
}

uint64_t fit_memory_bytes(void) {
    const uint64_t machine = machine_bytes(), group = own_group().most;
    return group < machine ? group : machine;
}

bool fit_memory_is_grouped(void) {
    return own_group().most < machine_bytes();
}

const char *fit_memory_where(void) {
    return fit_memory_is_grouped() ? "the memory of its control group" : "this machine";
}

uint64_t fit_available_bytes(void) {
    const uint64_t left = own_group().left,
                   machine = memory_number("/proc", "meminfo", "MemAvailable:") * 1024;
    return left < machine ? left : machine;
}

bool fit_copies_weights(const struct model *m, uint64_t kv_bytes, uint64_t scratch_bytes) {
    return m->weight_bytes >= FIT_LEAST_COPIED &&
           fit_available_bytes() / 8 * 7 >= m->weight_bytes + kv_bytes + scratch_bytes;
}

uint64_t fit_scratch_bytes(const struct model *m, enum dtype kv_type) {
    int context = m->n_ctx_train;
    struct forward_config config = {.max_outputs = LOCAL_SESSIONS + SPECULATE_ROWS,
                                    .max_context =
                                        context > 0 && context < LOCAL_CONTEXT ? context : LOCAL_CONTEXT,
                                    .kv_type = kv_type};
    return forward_scratch_bytes(m, &config);
}

static uint64_t bytes_of(const struct tensor *t) {
    return (uint64_t)dtype_row_bytes(t->type, t->cols) * (uint64_t)t->rows;
}

uint64_t fit_weight_bytes(const struct model *m, int n_devices) {
    uint64_t whole = bytes_of(&m->tok_embd) + bytes_of(&m->output_norm);
    for (int i = 0; i < m->n_layers && n_devices > 1; i++)
        whole += bytes_of(&m->layers[i].attn_norm) + bytes_of(&m->layers[i].ffn_norm);
    return m->weight_bytes + whole * (uint64_t)(n_devices - 1);
}

void fit_of_several(const struct model *m, enum dtype kv_type, int n_devices, uint64_t memory_bytes,
                    uint64_t scratch_bytes, struct fit *f) {
    uint64_t page = forward_page_bytes(m, kv_type), weights = fit_weight_bytes(m, n_devices);
    uint64_t taken = weights + scratch_bytes;
    uint64_t left = memory_bytes > taken ? memory_bytes - taken : 0;
    *f = (struct fit){.memory_bytes = memory_bytes,
                      .where = "this machine",
                      .scratch_bytes = scratch_bytes,
                      .left_bytes = left,
                      .weight_bytes = weights,
                      .kv_bytes_per_token = page / KERNELS_PAGE_TOKENS,
                      .kv_limit_bytes = left < memory_bytes / 4 ? left : memory_bytes / 4,
                      .fits = left >= page};
    f->tokens_that_fit = f->kv_limit_bytes / f->kv_bytes_per_token;
}

void fit_of(const struct model *m, enum dtype kv_type, uint64_t memory_bytes, uint64_t scratch_bytes,
            struct fit *f) {
    fit_of_several(m, kv_type, 1, memory_bytes, scratch_bytes, f);
}

const char *fit_size(char out[32], uint64_t bytes) {
    double mib = (double)bytes / (1024.0 * 1024.0);
    (void)snprintf(out, 32, mib >= 1024 ? "%.1f GiB" : "%.1f MiB", mib >= 1024 ? mib / 1024 : mib);
    return out;
}

int fit_each_tensor(const struct model *m, fit_tensor_fn *fn, void *arg) {
    int rc = fn(arg, "token_embd.weight", &m->tok_embd);
    for (int l = 0; l < m->n_layers && rc == 0; l++) {
        const struct model_layer *y = &m->layers[l];
        const struct {
            const char *name;
            const struct tensor *t;
        } all[] = {{"attn_norm", &y->attn_norm}, {"attn_q", &y->wq},      {"attn_k", &y->wk},
                   {"attn_v", &y->wv},           {"attn_output", &y->wo}, {"ffn_norm", &y->ffn_norm},
                   {"ffn_gate", &y->w_gate},     {"ffn_up", &y->w_up},    {"ffn_down", &y->w_down}};
        for (size_t i = 0; i < sizeof all / sizeof all[0] && rc == 0; i++) {
            char name[64];
            (void)snprintf(name, sizeof name, "blk.%d.%s.weight", l, all[i].name);
            rc = fn(arg, name, all[i].t);
        }
    }
    rc = rc ? rc : fn(arg, "output_norm.weight", &m->output_norm);
    return rc == 0 && !m->tied_head ? fn(arg, "output.weight", &m->output) : rc;
}

static int add_bytes(void *arg, const char *name, const struct tensor *t) {
    (void)name;
    uint64_t *bytes = arg;
    bytes[t->type] += (uint64_t)dtype_row_bytes(t->type, t->cols) * (uint64_t)t->rows;
    return 0;
}

int fit_check(const struct model *m, const struct fit *f, char *err, size_t errlen) {
    if (f->fits)
        return 0;
    uint64_t bytes[DTYPE_COUNT] = {0};
    char total[32], memory[32], scratch[32], one[32];
    struct buf types;
    buf_init(&types, 4096);
    int rc = fit_each_tensor(m, add_bytes, bytes);
    for (int i = 0; i < DTYPE_COUNT && rc == 0; i++)
        if (bytes[i] > 0)
            rc = buf_printf(&types, "%s%s %s", types.len > 0 ? ", " : "", dtype_info((enum dtype)i)->name,
                            fit_size(one, bytes[i]));
    (void)err_set(
        err, errlen, -E2BIG,
        "Model '%s' does not fit into %s: its weights are %s (%s), working memory %s, keys and values %llu "
        "bytes per token, and there are %s of memory, which leaves room for %llu tokens (hermesd model "
        "inspect shows it as a table); use a smaller model, or one stored in smaller types.",
        m->path != NULL ? m->path : "", f->where, fit_size(total, f->weight_bytes),
        rc == 0 && types.data != NULL ? types.data : "?", fit_size(scratch, f->scratch_bytes),
        (unsigned long long)f->kv_bytes_per_token, fit_size(memory, f->memory_bytes),
        (unsigned long long)(f->left_bytes / f->kv_bytes_per_token));
    buf_finish(&types);
    return -E2BIG;
}
