/* `hermesd model quantize IN OUT TYPE`: a model as a GGUF file of another element type. */
#ifndef ENGINE_CLI_QUANTIZE_H
#define ENGINE_CLI_QUANTIZE_H

/* argv[0] is the command word ("quantize"), the rest IN, OUT, TYPE and options (--dry-run, --json, -t N).
 * Prints one line per tensor and one for the whole to standard output; with --json one object per line:
 *   {"tensor", "from", "to", "rows", "columns", "bytes_from", "bytes_to", "rms", "rms_error", "max_error"}
 *   {"file", "type", "tensors", "bytes_from", "bytes_to", "file_bytes", "written"}
 * SIGINT and SIGTERM end it with nothing left behind. Returns the exit code: 0, 1 (with a sentence on
 * standard error), 2 for wrong options, 130 when it was interrupted. */
int cli_quantize(int argc, char **argv);

#endif
