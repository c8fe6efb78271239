/* In which order things happen that have no order. */
#include "tests/emulator/block.h"

#include <stdlib.h>
#include <string.h>

static enum emu_order order;
static uint64_t state = 1;
static bool chosen;

void emu_set_order(enum emu_order o, uint64_t seed) {
    order = o;
    /* splitmix64: neighbouring seeds give other orders from the first draw on */
    state = (seed + 1) * 0x9E3779B97F4A7C15u;
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9u;
    state = (state ^ state >> 27) | 1;
    chosen = true;
}

static void choose(void) {
    const char *text = getenv("EMULATOR_ORDER");
    if (chosen)
        return;
    if (text == NULL || strcmp(text, "forward") == 0)
        emu_set_order(EMU_FORWARD, 0);
    else if (strcmp(text, "backward") == 0)
        emu_set_order(EMU_BACKWARD, 0);
    else
        emu_set_order(EMU_RANDOM, strtoull(text, NULL, 10));
}

static unsigned draw(void) {
    /* xorshift64* */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (unsigned)(state * 0x2545F4914F6CDD1Du >> 33);
}

struct order_pass order_pass(void) {
    choose();
    struct order_pass p = {0, 1};
    if (order == EMU_RANDOM) {
        p.first = draw();
        p.stride = draw();
    }
    return p;
}

static unsigned divisor(unsigned a, unsigned b) {
    while (b != 0) {
        unsigned rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

unsigned order_turn(const struct order_pass *p, unsigned i, unsigned n) {
    if (order == EMU_BACKWARD)
        return n - 1 - i;
    if (order == EMU_FORWARD || n < 2)
        return i;
    /* Steps of a size without a common divisor visit all. */
    unsigned stride = p->stride % n;
    while (divisor(stride, n) != 1)
        stride = (stride + 1) % n;
    return (unsigned)((p->first % n + (uint64_t)i * stride) % n);
}

unsigned order_lane(uint32_t mask) {
    if (order == EMU_BACKWARD)
        return 31u - (unsigned)__builtin_clz(mask);
    if (order == EMU_RANDOM) {
        uint32_t above = mask & ~((1u << draw() % 32) - 1u);
        mask = above != 0 ? above : mask;
    }
    return (unsigned)__builtin_ctz(mask);
}

bool order_is_backward(void) {
    choose();
    return order == EMU_BACKWARD;
}

bool order_draw(unsigned odds, bool otherwise) {
    choose();
    return order == EMU_RANDOM ? draw() % 100 < odds : otherwise;
}
