/* Files that are mapped into memory, a model above all, can be cut off or become unreadable while they are
 * used. The kernel then ends the program with a bare SIGBUS. */
#ifndef DAEMON_LOST_FILE_H
#define DAEMON_LOST_FILE_H

/* From now on the program says what happened first, on standard error, and ends with
 * DAEMON_EXIT_TEMPORARY: what ran goes on when it is started again. To be called once, by main(). */
void lost_file_explain(void);

#endif
