/* A model as a GGUF file of other element types. [any-thread], one thread per call beside its compute threads
 */
#ifndef ENGINE_QUANTISE_H
#define ENGINE_QUANTISE_H

#include "base/err.h"
#include "engine/model.h"

#include <signal.h>
#include <stdbool.h>

struct quantise_tensor;

/* What the matrices become. Norms stay F32; tensors that are not of the forward pass are copied.
 *   F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K   every matrix
 *   Q4_K_M   Q4_K, but in Q6_K: the output head (a tied embedding with it), and attn_v and ffn_down of the
 *            first and last eighth of the layers and of every third between; in models of 80 layers the other
 *            attn_v in Q5_K (llama.cpp, src/llama-quant.cpp, llama_tensor_get_type and use_more_bits)
 * A matrix whose rows are no whole blocks of 256 takes, for Q4_K, Q5_K and Q6_K, Q5_0, Q5_1 and Q8_0, and one
 * of no whole blocks of 32 takes F16 (the same source). */
struct quantise_options {
    const char *in;   /* GGUF (of a split one the first part) or Hugging Face folder, F32, F16, BF16 or FP8 */
    const char *out;  /* must not exist */
    const char *type; /* as above */
    bool dry_run;     /* nothing is computed or written; errors are 0 */
    int n_threads;    /* 0: one per CPU */
    const volatile sig_atomic_t *stop; /* not 0: end with -EINTR and leave nothing; may be NULL */
    /* Called once per tensor, in the order of the file, after it was written. */
    void (*report)(void *arg, const struct quantise_tensor *t);
    void *arg;
};

struct quantise_tensor {
    const char *name;
    enum dtype from, to;
    int64_t rows, cols;
    uint64_t bytes_from, bytes_to;
    double rms;       /* root mean square of the numbers */
    double rms_error; /* and of what they moved by */
    double max_error;
};

struct quantise_total {
    uint64_t n_tensors, bytes_from, bytes_to; /* of the tensors */
    uint64_t file_bytes;                      /* of the new file */
};

/* Writes the file under a name that is nobody's, or none at all where the file system can do that, and gives
 * it its name when it is whole and synced: an interrupted call leaves nothing, or with SIGKILL on such a file
 * system OUT.partial-…. -EINVAL for a type that is none, a model that is quantised already, numbers that are
 * not finite or too large; -EEXIST for an OUT that is there; -ENOSPC before anything is written; -EINTR; the
 * readers' errors. */
HX_MUST_CHECK int quantise_model(const struct quantise_options *o, struct quantise_total *total, char *err,
                                 size_t errlen);

/* engine/quantise_head.c: the values of the new file. */
struct gguf_writer;
/* Those of a GGUF model, or of a Hugging Face folder in GGUF's words (ggml/docs/gguf.md), with this number of
 * general.file_type (llama.cpp's llama_ftype). */
HX_MUST_CHECK int quantise_values(const struct model *m, uint32_t file_type, struct gguf_writer *w, char *err,
                                  size_t errlen);
/* Divisors of the inverse frequencies, head_dim / 2, that rope_freqs.weight has to say; false: none are
 * needed. */
bool quantise_rope_divisors(const struct model *m, float *divisors);

#endif
