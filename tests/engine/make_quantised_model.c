/* make_quantised_model TYPE FILE : the model of QUANTISED_SHAPE as GGUF, for other programs to compute its
 * logits. */
#include "tests/engine/write_gguf.h"

#include <stdio.h>

int main(int argc, char **argv) {
    if (argc == 3 && write_quantised(argv[2], argv[1]))
        return 0;
    (void)fprintf(stderr, "usage: make_quantised_model TYPE FILE\n");
    return 2;
}
