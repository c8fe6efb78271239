/* A terminal or a file to write to: colour where it is wanted, and no control characters from strangers. One
 * thread. */
#ifndef DAEMON_CTL_TERM_H
#define DAEMON_CTL_TERM_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum ctl_color { CTL_COLOR_AUTO, CTL_COLOR_ALWAYS, CTL_COLOR_NEVER };
enum ctl_style { CTL_PLAIN, CTL_DIM, CTL_BOLD, CTL_GREEN, CTL_RED, CTL_YELLOW, CTL_CYAN };

struct ctl_term {
    FILE *file; /* borrowed */
    bool is_terminal;
    bool color;
    int column; /* where the cursor is on the line, in bytes; 0 = at its start */
};

/* `auto`: colour on a terminal unless NO_COLOR is set or TERM is dumb; CLICOLOR_FORCE wants it elsewhere too.
 */
void ctl_term_init(struct ctl_term *t, FILE *file, enum ctl_color color);
/* The text of a model, a tool or a person: control characters are shown as \xNN on a terminal, so that no
 * text can move the cursor or set the title. Line breaks and tabs stay. */
void ctl_term_text(struct ctl_term *t, enum ctl_style style, const char *text, size_t len);
/* As above, but on one line of at most `max` bytes: breaks become spaces, "…" says that it was cut. */
void ctl_term_line(struct ctl_term *t, enum ctl_style style, const char *text, size_t len, size_t max);
/* Our own words. */
void ctl_term_printf(struct ctl_term *t, enum ctl_style style, const char *fmt, ...) HX_PRINTF(3, 4);
/* Ends the line if one was begun. */
void ctl_term_fresh_line(struct ctl_term *t);
/* Columns of the terminal; 100 when there is none. */
int ctl_term_width(const struct ctl_term *t);

#endif
