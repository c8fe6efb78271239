/* `hermesd schema check`: what the daemon makes of a tool's schema, and of arguments for it, before there is
 * a tool. */
#ifndef DAEMON_CLI_SCHEMA_H
#define DAEMON_CLI_SCHEMA_H

/* The command, from "schema" on:
 *
 *   schema check [--tool] [--json] [--draft D] [--formats=no] SCHEMA [INSTANCE…]
 *
 * SCHEMA and INSTANCE are files ("-" is standard input), or JSON itself when there is no such file. Prints
 * one line about the schema and one per instance, in order; with --json each is an object. --tool wants the
 * schema of a tool's arguments (type "object"), as when a plugin loads. An exit status: 0 all is well, 1 an
 * instance is not valid or no JSON, 2 wrong use or a file that cannot be read, 3 the schema is refused. */
int cli_schema(int argc, char **argv);

#endif
