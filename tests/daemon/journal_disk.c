#include "journal_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct file {
    sqlite3_file base;
    sqlite3_file *real; /* behind this struct */
    char path[256];
};

static struct disk the_disk;
static sqlite3_vfs *real_vfs;
static sqlite3_io_methods methods;
static sqlite3_vfs vfs;

static bool take(atomic_int *left) {
    int n = atomic_load(left);
    while (n > 0 && !atomic_compare_exchange_weak(left, &n, n - 1)) {
    }
    return n > 0;
}

static void copy_file(const char *from, const char *to) {
    char bytes[65536];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n;
    if (in < 0 || out < 0)
        abort();
    while ((n = read(in, bytes, sizeof bytes)) > 0)
        if (write(out, bytes, (size_t)n) != n)
            abort();
    close(in);
    close(out);
}

static struct file *own(sqlite3_file *f) {
    return (struct file *)(void *)f;
}

/* The copy is made under a name of its own and renamed: the process may be killed at any moment. */
static void keep_synced(const struct file *f) {
    char copy[300], half[310];
    snprintf(copy, sizeof copy, "%s.synced", f->path);
    snprintf(half, sizeof half, "%s.half", copy);
    copy_file(f->path, half);
    if (rename(half, copy) != 0)
        abort();
}

static int x_close(sqlite3_file *f) {
    return own(f)->real->pMethods->xClose(own(f)->real);
}
static int x_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at) {
    return own(f)->real->pMethods->xRead(own(f)->real, to, n, at);
}
static int x_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at) {
    return take(&the_disk.fail_writes) ? SQLITE_IOERR_WRITE
                                       : own(f)->real->pMethods->xWrite(own(f)->real, from, n, at);
}
static int x_truncate(sqlite3_file *f, sqlite3_int64 size) {
    return own(f)->real->pMethods->xTruncate(own(f)->real, size);
}
static int x_sync(sqlite3_file *f, int flags) {
    atomic_fetch_add(&the_disk.syncs, 1);
    if (take(&the_disk.fail_syncs))
        return SQLITE_IOERR_FSYNC;
    int rc = own(f)->real->pMethods->xSync(own(f)->real, flags);
    if (rc == SQLITE_OK && the_disk.keep && !the_disk.lie && own(f)->path[0] != '\0')
        keep_synced(own(f));
    return rc;
}
static int x_size(sqlite3_file *f, sqlite3_int64 *size) {
    return own(f)->real->pMethods->xFileSize(own(f)->real, size);
}
static int x_lock(sqlite3_file *f, int level) {
    return own(f)->real->pMethods->xLock(own(f)->real, level);
}
static int x_unlock(sqlite3_file *f, int level) {
    return own(f)->real->pMethods->xUnlock(own(f)->real, level);
}
static int x_reserved(sqlite3_file *f, int *out) {
    return own(f)->real->pMethods->xCheckReservedLock(own(f)->real, out);
}
static int x_control(sqlite3_file *f, int op, void *arg) {
    return own(f)->real->pMethods->xFileControl(own(f)->real, op, arg);
}
static int x_sector(sqlite3_file *f) {
    return own(f)->real->pMethods->xSectorSize(own(f)->real);
}
static int x_traits(sqlite3_file *f) {
    return own(f)->real->pMethods->xDeviceCharacteristics(own(f)->real);
}
static int x_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out) {
    return own(f)->real->pMethods->xShmMap(own(f)->real, page, size, extend, out);
}
static int x_shm_lock(sqlite3_file *f, int at, int n, int flags) {
    return own(f)->real->pMethods->xShmLock(own(f)->real, at, n, flags);
}
static void x_shm_barrier(sqlite3_file *f) {
    own(f)->real->pMethods->xShmBarrier(own(f)->real);
}
static int x_shm_unmap(sqlite3_file *f, int remove) {
    return own(f)->real->pMethods->xShmUnmap(own(f)->real, remove);
}

static int x_open(sqlite3_vfs *self, const char *name, sqlite3_file *f, int flags, int *out_flags) {
    (void)self;
    struct file *file = own(f);
    memset(file, 0, sizeof *file);
    file->real = (sqlite3_file *)(void *)(file + 1);
    snprintf(file->path, sizeof file->path, "%s", name != NULL ? name : "");
    int rc = real_vfs->xOpen(real_vfs, name, file->real, flags, out_flags);
    if (rc == SQLITE_OK)
        file->base.pMethods = &methods;
    return rc;
}

struct disk *disk_mount(void) {
    if (real_vfs != NULL)
        return &the_disk;
    real_vfs = sqlite3_vfs_find(NULL);
    assert_non_null(real_vfs);
    methods = (sqlite3_io_methods){2,        x_close,   x_read,     x_write,       x_truncate,  x_sync,
                                   x_size,   x_lock,    x_unlock,   x_reserved,    x_control,   x_sector,
                                   x_traits, x_shm_map, x_shm_lock, x_shm_barrier, x_shm_unmap, NULL,
                                   NULL};
    vfs = *real_vfs;
    vfs.zName = "disk";
    vfs.szOsFile = (int)sizeof(struct file) + real_vfs->szOsFile;
    vfs.xOpen = x_open;
    assert_int_equal(sqlite3_vfs_register(&vfs, 1), SQLITE_OK);
    return &the_disk;
}

/* Calls `visit` with the path of every file of the folder. */
static void each_file(const char *folder, void (*visit)(const char *path, bool is_copy)) {
    DIR *dir = opendir(folder);
    struct dirent *entry;
    if (dir == NULL)
        return;
    while ((entry = readdir(dir)) != NULL) {
        char path[600];
        size_t len = strlen(entry->d_name);
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            visit(path, strstr(entry->d_name, ".synced") != NULL && len > 7);
    }
    closedir(dir);
}

/* What was never synced may be gone whole; the index of the WAL is made again in any case. */
static void put_back(const char *path, bool is_copy) {
    char copy[620];
    if (is_copy || strstr(path, "hermesd.lock") != NULL)
        return;
    snprintf(copy, sizeof copy, "%s.synced", path);
    if (access(copy, F_OK) == 0)
        copy_file(copy, path);
    else
        unlink(path);
}

static void remove_copy(const char *path, bool is_copy) {
    if (is_copy)
        unlink(path);
}

void disk_cut_power(const char *folder) {
    each_file(folder, put_back);
}

void disk_clean(const char *folder) {
    each_file(folder, remove_copy);
}
