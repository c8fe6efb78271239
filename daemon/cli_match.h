/* `hermesd schema match`: which values the grammar of a schema lets a model write. */
#ifndef DAEMON_CLI_MATCH_H
#define DAEMON_CLI_MATCH_H

/* The command, from "match" on:
 *
 *   schema match [--model] [--as-written] SCHEMA < INSTANCES
 *
 * Reads one JSON value per line and matches it byte by byte, in the spelling that models are held to, or as
 * it is written. --model: only what a model would be let write (no undeclared members, short numbers),
 * instead of all that is valid. Prints JSON lines: one about the schema ("exact", "not exact" with the
 * reason, "refused"), then one per value ("match", "no match" with the byte it ends at, "not JSON"). An exit
 * status: 0 everything matches, 1 not everything does, 2 wrong use or a file that cannot be read, 3 the
 * schema is refused or has no exact grammar (values are matched all the same where it has one). */
int cli_match(int argc, char **argv);

#endif
