/* make_quantised_model TYPE FILE : the model of QUANTISED_SHAPE as GGUF, for other programs to compute its
 * logits. */
#include "kernels/dtype.h"
#include "tests/engine/write_gguf.h"
#include "tests/kernels/random_model.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    for (int t = 0; t < DTYPE_COUNT && argc == 3; t++) {
        if (strcmp(dtype_info((enum dtype)t)->name, argv[1]) != 0)
            continue;
        struct random_shape shape = QUANTISED_SHAPE((enum dtype)t);
        struct kernels_model m;
        random_model_init(&m, &shape);
        write_gguf(argv[2], &m, &(struct write_gguf){.n_ctx = 256});
        random_model_finish(&m);
        return 0;
    }
    (void)fprintf(stderr, "usage: make_quantised_model TYPE FILE\n");
    return 2;
}
