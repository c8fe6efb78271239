/* Splits a document into passages. [any-thread] */
#ifndef PLUGINS_RETRIEVE_PASSAGES_H
#define PLUGINS_RETRIEVE_PASSAGES_H

#include "plugins/text.h"

/* Calls add(arg, text, len) for each passage in order until it returns non-zero, which is then returned;
 * -ENOMEM too. Paragraphs are separated by empty lines; a paragraph of Markdown headings only is put before
 * the next one; wrapped lines are joined by a space, list items, table rows and quotes keep their lines. */
int retrieve_split(const char *data, size_t len, size_t passage_max,
                   int (*add)(void *arg, const char *text, size_t len), void *arg);

#endif
