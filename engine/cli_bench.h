/* `hermesd bench`: how fast a model is on this machine, beside what the machine can do at most. */
#ifndef ENGINE_CLI_BENCH_H
#define ENGINE_CLI_BENCH_H

#include "engine/engine.h"

/* What the daemon's settings say; options go before them. Borrowed during the call. */
struct cli_bench_settings {
    const char *model;      /* NULL: none; then -m is needed */
    const char *gpu_module; /* NULL: there is none */
    struct gpus gpus;       /* that share the model */
    enum engine_device device;
    enum engine_kv kv;
    int n_threads; /* 0: one per CPU */
};

/* argv[0] is the command word ("bench"), the rest its options. Results go to standard output as they come: a
 * table, or with --json one object per line, whose members engine/cli_bench_print.h lists. Returns the exit
 * code: 0, 1 (with a sentence on standard error), 2 for wrong options. */
int cli_bench(int argc, char **argv, const struct cli_bench_settings *settings);

#endif
