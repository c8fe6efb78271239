/* A GPU module whose device does nothing for a while, as a GPU would look to the engine, and notes how long
 * it had nothing to do: from the end of one step to where the next one is waited for, which is what the
 * engine takes around the device. Tokens follow each other in a way that repeats nothing. */
#include "tests/bench/hollow.h"

#include "base/clock.h"
#include "kernels/cuda/cuda.h"
#include "kernels/kernels.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static double idle[HOLLOW_STEPS]; /* microseconds before each step */
static int n_idle;

struct hollow {
    struct kernels_device base;
    struct kernels_config config;
    float *logits;
    uint32_t steps;
    uint64_t ended; /* ns */
};

static struct hollow *of(struct kernels_device *d) {
    return (struct hollow *)(void *)d;
}

static const struct hollow *of_const(const struct kernels_device *d) {
    return (const struct hollow *)(const void *)d;
}

static void hollow_begin(struct kernels_device *d, const struct kernels_batch *batch) {
    (void)batch;
    of(d)->steps++;
}
static void hollow_part(struct kernels_device *d) {
    (void)d;
}
static void hollow_layer(struct kernels_device *d, int layer) {
    (void)d;
    (void)layer;
}
/* Waits as the CUDA device does, without giving the processor away. */
static int hollow_sync(struct kernels_device *d, char *err, size_t errlen) {
    uint64_t now = clock_mono_ns(), until = now + HOLLOW_NS;
    (void)err;
    (void)errlen;
    if (n_idle < HOLLOW_STEPS)
        idle[n_idle++] = (double)(now - of(d)->ended) * 1e-3;
    while (now < until)
        now = clock_mono_ns();
    of(d)->ended = now;
    return 0;
}
static float *hollow_output(struct kernels_device *d, int o) {
    (void)o;
    return of(d)->logits;
}
static int32_t hollow_token(const struct kernels_device *d, int o) {
    const struct hollow *h = of_const(d);
    return (int32_t)((h->steps * 2654435761u + (uint32_t)o * 40503u) % (uint32_t)h->config.model.n_vocab);
}
static bool hollow_logprobs(const struct kernels_device *d, int o, struct kernels_logprobs *out) {
    (void)d;
    (void)o;
    (void)out;
    return false;
}
static int hollow_peek(struct kernels_device *d, enum kernels_state what, int row, float *out) {
    (void)d;
    (void)what;
    (void)row;
    (void)out;
    return -EINVAL;
}
static size_t hollow_page_bytes(const struct kernels_device *d) {
    const struct kernels_config *c = &of_const(d)->config;
    return kernels_page_bytes(&c->model, c->kv_type);
}
static const char *hollow_name(const struct kernels_device *d) {
    (void)d;
    return "hollow";
}
static void hollow_copy_page(struct kernels_device *d, int32_t to, int32_t from) {
    (void)d;
    (void)to;
    (void)from;
}
static int hollow_read_page(struct kernels_device *d, int32_t page, void *out) {
    (void)page;
    memset(out, 0, hollow_page_bytes(d));
    return 0;
}
static int hollow_write_page(struct kernels_device *d, int32_t page, const void *from) {
    (void)d;
    (void)page;
    (void)from;
    return 0;
}
static void hollow_close(struct kernels_device *d) {
    free(of(d)->logits);
    free(d);
}

static const struct kernels_ops ops = {.name = "hollow",
                                       .begin = hollow_begin,
                                       .embed = hollow_part,
                                       .attn_in = hollow_layer,
                                       .attention = hollow_layer,
                                       .attn_out = hollow_layer,
                                       .ffn_in = hollow_layer,
                                       .ffn_out = hollow_layer,
                                       .logits = hollow_part,
                                       .sync = hollow_sync,
                                       .output = hollow_output,
                                       .token = hollow_token,
                                       .logprobs = hollow_logprobs,
                                       .peek = hollow_peek,
                                       .page_bytes = hollow_page_bytes,
                                       .page_layout = hollow_name,
                                       .copy_page = hollow_copy_page,
                                       .read_page = hollow_read_page,
                                       .write_page = hollow_write_page,
                                       .describe = hollow_name,
                                       .close = hollow_close};

__attribute__((visibility("default"))) int hermesd_cuda_open(int version, const struct kernels_config *config,
                                                             struct kernels_device **out, char *err,
                                                             size_t errlen) {
    struct hollow *h = version == CUDA_MODULE_VERSION ? calloc(1, sizeof *h) : NULL;
    if (h == NULL)
        return err_set(err, errlen, -ENOMEM, "There is no memory for a device that does nothing.");
    h->base.ops = &ops;
    h->config = *config;
    h->logits = calloc((size_t)config->model.n_vocab, sizeof *h->logits);
    if (h->logits == NULL) {
        free(h);
        return err_set(err, errlen, -ENOMEM, "There is no memory for logits.");
    }
    *out = &h->base;
    return 0;
}

__attribute__((visibility("default"))) int hermesd_cuda_memory(int version, const struct gpus *gpus,
                                                               size_t *left, char *err, size_t errlen) {
    (void)version;
    (void)gpus;
    (void)err;
    (void)errlen;
    *left = (size_t)4 << 30;
    return 0;
}

__attribute__((visibility("default"))) int hollow_idle(double *out, int most) {
    int n = n_idle < most ? n_idle : most;
    memcpy(out, idle, (size_t)n * sizeof *out);
    n_idle = 0;
    return n;
}
