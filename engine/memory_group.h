/* What the control groups of this process leave it of the memory: cgroups(7), version 2 (memory.max) and 1
 * (memory.limit_in_bytes). [any-thread] */
#ifndef ENGINE_MEMORY_GROUP_H
#define ENGINE_MEMORY_GROUP_H

#include <stdint.h>

/* Of the group and all above it, the least. */
struct memory_group {
    uint64_t most; /* bytes that may be used; UINT64_MAX: no limit */
    uint64_t
        left; /* of those, what is neither used nor taken by file pages, which are given back when wanted */
};

/* groups: "/proc/self/cgroup", the list of the groups of a process; root: "/sys/fs/cgroup", where they are
 * mounted. Without either there is no limit. A container may not see its own path there, but then the root
 * it sees is its group. */
struct memory_group memory_group_of(const char *groups, const char *root);

/* The number behind `key` in a file of lines of a folder, or the first one where the key is empty; 0 without
 * one. */
uint64_t memory_number(const char *folder, const char *name, const char *key);

#endif
