/* Schemas, values and verdicts as text, for the tests of tools/schema*. */
#ifndef TESTS_TOOLS_SCHEMA_CASES_H
#define TESTS_TOOLS_SCHEMA_CASES_H

#include "tools/schema.h"

/* Fails the test when the schema is refused. */
struct schema *case_compiled(const char *text, const struct schema_options *options);
/* Compiles the schema (of any value) and wants the verdict; `why` NULL: the sentence does not matter, else it
 * is the sentence ("" for a value that is fine). */
void case_value(const char *schema, const char *value, const char *why);
void case_valid(const char *schema, const char *value);
void case_invalid(const char *schema, const char *value);
/* Wants the sentence of a refused schema (of any value), and its keyword. */
void case_refused(const char *schema, const char *keyword, const char *why);

#endif
