/* `hermesd tokenize -m FILE [--template] [--ids] [TEXT…]`: how a text becomes tokens. */
#ifndef ENGINE_CLI_TOKENIZE_H
#define ENGINE_CLI_TOKENIZE_H

/* argv[0] is the command word ("tokenize"), the rest its options. The text is the arguments that are left,
 * joined by one space, or standard input when there are none. Prints one line per token to standard output:
 * id, tab, its bytes as a JSON string (a part of a character shows as U+FFFD), and for a control token a tab
 * and "control". With --ids one line of ids apart by commas, as `hermesd model logits --ids` takes them. With
 * --template control tokens are found in the text; without it text stays text, as for everything a user or a
 * tool says. Returns the exit code: 0, 1 (with a sentence on standard error), 2 for wrong options. */
int cli_tokenize(int argc, char **argv);

#endif
