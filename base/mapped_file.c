#include "base/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map(struct mapped_file *f, int fd, size_t least) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (size_t)st.st_size < least)
        return -EINVAL;
    void *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    *f = (struct mapped_file){
        .data = at, .size = (size_t)st.st_size, .fd = fd, .owner = st.st_uid, .written = st.st_mtim};
    return 0;
}

int mapped_file_open(struct mapped_file *f, const char *path, size_t least) {
    *f = (struct mapped_file){.data = NULL};
    /* Not for ever where it is a pipe that nobody writes to. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc = fd < 0 ? -errno : map(f, fd, least);
    if (rc < 0 && fd >= 0)
        close(fd);
    return rc;
}

const char *mapped_file_change(const struct mapped_file *f) {
    struct stat st;
    if (fstat(f->fd, &st) < 0)
        return "was lost";
    if ((size_t)st.st_size < f->size)
        return "was cut off";
    if ((size_t)st.st_size > f->size || st.st_mtim.tv_sec != f->written.tv_sec ||
        st.st_mtim.tv_nsec != f->written.tv_nsec)
        return "was written to";
    return st.st_uid != f->owner ? "was given to another user" : NULL;
}

void mapped_file_close(struct mapped_file *f) {
    if (f->data == NULL)
        return;
    (void)munmap((void *)(uintptr_t)f->data, f->size);
    close(f->fd);
    *f = (struct mapped_file){.data = NULL};
}
