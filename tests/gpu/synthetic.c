#include "tests/gpu/synthetic.h"

#include "kernels/cpu/convert.h"
#include "tests/kernels/random_model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const struct synthetic_shape synthetic_8b = {"8b", 32, 32, 8, 128, 4096, 14336, 128256};
const struct synthetic_shape synthetic_70b = {"70b", 80, 64, 8, 128, 8192, 28672, 128256};
const struct synthetic_shape synthetic_tiny = {"tiny", 2, 4, 2, 32, 256, 256, 512};

/* The drawn block: whole pages of every format, since 4096 rows of whole blocks are. */
#define BLOCK_ROWS 4096
#define BLOCK_COLS 256

/* Maps a drawn block of `type` over and over until there are `bytes`. */
static int map_block(struct synthetic *s, enum dtype type, size_t bytes) {
    uint64_t random = 1;
    struct tensor t = random_tensor(type, BLOCK_ROWS, BLOCK_COLS, 0.02f, &random);
    size_t block = convert_row_bytes(type, BLOCK_COLS) * BLOCK_ROWS, n = (bytes + block - 1) / block;
    int fd = memfd_create("weights", 0), rc = fd < 0 ? -errno : 0;
    for (size_t done = 0; rc == 0 && done < block;) {
        ssize_t w = write(fd, (const char *)t.data + done, block - done);
        rc = w < 0 ? -errno : 0;
        done += w > 0 ? (size_t)w : 0;
    }
    free((void *)(uintptr_t)t.data);
    void *map = MAP_FAILED;
    if (rc == 0)
        map = mmap(NULL, n * block, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (size_t i = 0; rc == 0 && map != MAP_FAILED && i < n; i++)
        if (mmap((char *)map + i * block, block, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
            rc = -errno;
    if (fd >= 0)
        (void)close(fd);
    if (map == MAP_FAILED)
        return rc < 0 ? rc : -errno;
    s->map = map;
    s->map_bytes = n * block;
    return rc;
}

static struct tensor matrix(const struct synthetic *s, enum dtype type, int64_t rows, int64_t cols,
                            const float *factors) {
    return (struct tensor){.data = s->map,
                           .type = type,
                           .rows = rows,
                           .cols = cols,
                           .row_scales = factors,
                           .input_scale = type == DTYPE_F8_E4M3 ? TENSOR_INPUT_BY_ROW : 0};
}

int synthetic_init(struct synthetic *s, const struct synthetic_shape *shape, enum dtype type, int n_layers) {
    int64_t q = (int64_t)shape->n_heads * shape->head_dim, kv = (int64_t)shape->n_kv_heads * shape->head_dim;
    size_t dim = (size_t)shape->dim, half = (size_t)shape->head_dim / 2, vocab = (size_t)shape->n_vocab;
    size_t widest = convert_row_bytes(type, shape->ffn_dim) * dim;
    size_t table = convert_row_bytes(type, shape->dim) * vocab;
    size_t block = convert_row_bytes(type, BLOCK_COLS) * BLOCK_ROWS;
    *s = (struct synthetic){0};
    /* The head is one block behind the embeddings, so that the two are not taken for one. */
    int rc = map_block(s, type, (table > widest ? table : widest) + block);
    s->numbers = calloc(dim + half + vocab, sizeof *s->numbers);
    s->layers = calloc((size_t)n_layers, sizeof *s->layers);
    if (rc < 0 || s->numbers == NULL || s->layers == NULL) {
        synthetic_finish(s);
        return rc < 0 ? rc : -ENOMEM;
    }
    float *norm = s->numbers, *angles = norm + dim, *factors = angles + half;
    for (size_t i = 0; i < dim; i++)
        norm[i] = 1;
    for (size_t i = 0; i < half; i++)
        angles[i] = powf(500000.0f, -(float)i / (float)half);
    for (size_t i = 0; i < vocab; i++)
        factors[i] = 1;
    const float *scales = type == DTYPE_F8_E4M3 ? factors : NULL;
    const struct tensor norms = {.data = norm, .type = DTYPE_F32, .rows = 1, .cols = shape->dim};
    for (int i = 0; i < n_layers; i++)
        s->layers[i] = (struct kernels_layer){.attn_norm = norms,
                                              .ffn_norm = norms,
                                              .wq = matrix(s, type, q, shape->dim, scales),
                                              .wk = matrix(s, type, kv, shape->dim, scales),
                                              .wv = matrix(s, type, kv, shape->dim, scales),
                                              .wo = matrix(s, type, shape->dim, q, scales),
                                              .w_gate = matrix(s, type, shape->ffn_dim, shape->dim, scales),
                                              .w_up = matrix(s, type, shape->ffn_dim, shape->dim, scales),
                                              .w_down = matrix(s, type, shape->dim, shape->ffn_dim, scales)};
    s->model = (struct kernels_model){.n_layers = n_layers,
                                      .n_heads = shape->n_heads,
                                      .n_kv_heads = shape->n_kv_heads,
                                      .head_dim = shape->head_dim,
                                      .dim = shape->dim,
                                      .ffn_dim = shape->ffn_dim,
                                      .n_vocab = shape->n_vocab,
                                      .rms_eps = 1e-5f,
                                      .rope_layout = ROPE_HALF_SPLIT,
                                      .rope_inv_freq = angles,
                                      .tok_embd = matrix(s, type, shape->n_vocab, shape->dim, scales),
                                      .output = matrix(s, type, shape->n_vocab, shape->dim, scales),
                                      .output_norm = norms,
                                      .layers = s->layers};
    s->model.output.data = (const char *)s->map + block;
    return 0;
}

void synthetic_finish(struct synthetic *s) {
    if (s->map != NULL)
        (void)munmap(s->map, s->map_bytes);
    free(s->numbers);
    free(s->layers);
    *s = (struct synthetic){0};
}

double synthetic_weights(const struct synthetic_shape *shape) {
    double dim = shape->dim, q = (double)shape->n_heads * shape->head_dim;
    double kv = (double)shape->n_kv_heads * shape->head_dim;
    double layer = dim * (2 * q + 2 * kv + 3 * (double)shape->ffn_dim);
    return layer * shape->n_layers + dim * shape->n_vocab;
}

double synthetic_bytes(const struct synthetic_shape *shape, enum dtype type) {
    return synthetic_weights(shape) / BLOCK_COLS * (double)convert_row_bytes(type, BLOCK_COLS);
}
