/* The emulator's functions for tests, on a real GPU: they do nothing, and tests that need them skip. */
#include "tests/emulator/emulator.h"

bool emu_present(void) {
    return false;
}

void emu_set_order(enum emu_order order, uint64_t seed) {
    (void)order;
    (void)seed;
}

void emu_set_block_shared(size_t bytes) {
    (void)bytes;
}

uint64_t emu_launches(void) {
    return 0;
}

uint64_t emu_early_bytes(void) {
    return 0;
}

uint64_t emu_allocations(void) {
    return 0;
}

uint64_t emu_graphs_recorded(void) {
    return 0;
}

uint64_t emu_graphs_run(void) {
    return 0;
}

uint64_t emu_event_waits(void) {
    return 0;
}

void emu_leave_out_wait(uint64_t number) {
    (void)number;
}

size_t emu_memory_used(void) {
    return 0;
}

void emu_set_memory(size_t bytes) {
    (void)bytes;
}

void emu_set_failure(const char *what) {
    (void)what;
}

void emu_set_stalled(unsigned looks) {
    (void)looks;
}

void emu_set_blas(bool installed) {
    (void)installed;
}

uint64_t emu_blas_products(void) {
    return 0;
}

void emu_set_lt(enum emu_lt installed) {
    (void)installed;
}

void emu_set_lt_of(int gpu, enum emu_lt installed) {
    (void)gpu;
    (void)installed;
}

uint64_t emu_lt_vector_products(void) {
    return 0;
}

uint64_t emu_lt_products(void) {
    return 0;
}

void emu_set_gpus(int n) {
    (void)n;
}

size_t emu_memory_used_of(int gpu) {
    (void)gpu;
    return 0;
}

void emu_set_link(bool installed) {
    (void)installed;
}

void emu_set_link_broken(bool broken) {
    (void)broken;
}

uint64_t emu_link_sums(void) {
    return 0;
}
