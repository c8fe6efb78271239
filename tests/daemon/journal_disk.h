/* A disk between SQLite and the real one, that fails, loses power and counts.
 *
 * It is a VFS that becomes SQLite's default and hands everything on to the one before. What a file held at
 * its last xSync is kept beside it ("<file>.synced"), so that a power cut can be played: disk_cut_power()
 * puts every file of a folder back to what was synced. */
#ifndef TESTS_DAEMON_JOURNAL_DISK_H
#define TESTS_DAEMON_JOURNAL_DISK_H

#include <stdatomic.h>
#include <stdbool.h>

struct disk {
    atomic_int syncs;       /* so far */
    atomic_int fail_syncs;  /* that many of the next ones fail */
    atomic_int fail_writes; /* that many of the next ones fail with EIO */
    atomic_bool keep;       /* keep what was synced */
    atomic_bool lie;        /* an xSync keeps nothing: as synchronous=OFF */
};
/* The one disk of the process; registered on the first call. */
struct disk *disk_mount(void);
/* As if the power had failed; nobody may have files of the folder open. */
void disk_cut_power(const char *folder);
/* Removes the ".synced" files. */
void disk_clean(const char *folder);

#endif
