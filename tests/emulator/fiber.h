/* Threads of control that switch by hand. x86-64, one operating system thread. */
#ifndef TESTS_EMULATOR_FIBER_H
#define TESTS_EMULATOR_FIBER_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_STACK ((size_t)256 * 1024)
#else
#define FIBER_STACK ((size_t)64 * 1024)
#endif

struct fiber {
    void *sp;
    char *stack; /* lowest byte, above a guard page; NULL: not mapped yet, or the thread's own stack */
    size_t stack_bytes;
    void *fake_stack; /* the address sanitizer's */
};

/* Makes `f` the one that runs now, on the thread's own stack. */
void fiber_adopt(struct fiber *f);
/* Maps a stack when there is none and prepares a start at `entry`, which never returns. Stacks of neighbours
 * (`index`) start at different places of a page, so that they do not fight for the same cache lines. Aborts
 * when memory is out. */
void fiber_prepare(struct fiber *f, unsigned index, void (*entry)(void));
/* What `entry` calls first; `from` was running before. */
void fiber_entered(void);
void fiber_switch(struct fiber *from, struct fiber *to);
/* The last switch of `from`. */
void fiber_leave(struct fiber *from, struct fiber *to);

#endif
