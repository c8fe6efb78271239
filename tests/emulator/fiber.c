#include "tests/emulator/fiber.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if !defined(__x86_64__)
#error "the emulator switches fibers on x86-64 only"
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#define GUARD ((size_t)4096)

/* Saves the registers that a call keeps (System V ABI for AMD64, 3.2.1) and the stack pointer, and takes up
 * those of the other. A jump in place of `ret`: the return address is never the one that was predicted. */
void fiber_jump(void **save, void *load);
__asm__(".text\n"
        ".type fiber_jump,@function\n"
        "fiber_jump:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    popq %rcx\n"
        "    jmp *%rcx\n"
        ".size fiber_jump, .-fiber_jump\n");

void fiber_adopt(struct fiber *f) {
    memset(f, 0, sizeof *f);
#if defined(__SANITIZE_ADDRESS__)
    /* Asked once: the answer for the first thread is read from a list of all mappings. */
    static _Thread_local char *stack;
    static _Thread_local size_t bytes;
    if (stack == NULL) {
        pthread_attr_t attributes;
        void *lowest = NULL;
        if (pthread_getattr_np(pthread_self(), &attributes) != 0 ||
            pthread_attr_getstack(&attributes, &lowest, &bytes) != 0)
            abort();
        (void)pthread_attr_destroy(&attributes);
        stack = lowest;
    }
    f->stack = stack;
    f->stack_bytes = bytes;
#endif
}

void fiber_prepare(struct fiber *f, unsigned index, void (*entry)(void)) {
    if (f->stack == NULL) {
        char *map = mmap(NULL, FIBER_STACK + GUARD, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (map == MAP_FAILED || mprotect(map, GUARD, PROT_NONE) != 0)
            abort();
        f->stack = map + GUARD;
        f->stack_bytes = FIBER_STACK;
    }
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(f->stack, f->stack_bytes);
#endif
    f->fake_stack = NULL;
    uint64_t *top = (uint64_t *)(void *)(f->stack + f->stack_bytes - (size_t)(index % 61) * 256);
    *--top = 0;
    *--top = (uint64_t)(uintptr_t)entry;
    for (int i = 0; i < 6; i++)
        *--top = 0;
    f->sp = top;
}

void fiber_entered(void) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
}

void fiber_switch(struct fiber *from, struct fiber *to) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_bytes);
#endif
    fiber_jump(&from->sp, to->sp);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

void fiber_leave(struct fiber *from, struct fiber *to) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(NULL, to->stack, to->stack_bytes);
#endif
    fiber_jump(&from->sp, to->sp);
}
