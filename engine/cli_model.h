/* `hermesd model inspect FILE [--json]`, `hermesd model verify FILE [--json]`, `hermesd model logits -m FILE
 * --ids 1,2,3 [--top N]` and `hermesd model quantize IN OUT TYPE`. */
#ifndef ENGINE_CLI_MODEL_H
#define ENGINE_CLI_MODEL_H

/* argv[0] is the command word ("model"), argv[1] which of the two, the rest its options. Results go to
 * standard output, sentences to standard error. Returns the exit code: 0, 1 for a failure or a problem that
 * verify has found, 2 for wrong options. */
int cli_model(int argc, char **argv);

#endif
