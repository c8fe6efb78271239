/* Collectives of a warp: a place where the lanes of a mask meet; the last one to come does the work. */
#include "tests/emulator/block.h"

#include <string.h>

static struct lane *warp_of(const struct lane *l) {
    return &emu_block->lanes[l->index / EMU_WARP * EMU_WARP];
}

static bool in(uint32_t mask, unsigned lane) {
    return (mask >> lane & 1u) != 0;
}

/* Lane l waits for me, but at another place than I do: neither can ever go on. */
static bool parted(const struct lane *l, const struct lane *me) {
    if (l->state == LANE_BARRIER)
        return true;
    return l->state == LANE_IN_WARP && in(l->at.mask, me->index % EMU_WARP);
}

static bool together(const struct lane *l, const struct lane *me) {
    return l->state == LANE_IN_WARP && l->op == me->op && l->at.line == me->at.line &&
           strcmp(l->at.file, me->at.file) == 0 && l->at.mask == me->at.mask;
}

/* Which lanes of the mask are here already. Dies when one can never come. */
static uint32_t who_is_here(const struct lane *me) {
    const struct lane *warp = warp_of(me);
    unsigned first = me->index / EMU_WARP * EMU_WARP;
    uint32_t here = 1u << me->index % EMU_WARP;
    for (unsigned i = 0; i < EMU_WARP; i++) {
        const struct lane *l = &warp[i];
        if (!in(me->at.mask, i) || l == me)
            continue;
        if (first + i >= emu_block->n_threads || l->state == LANE_DONE)
            emu_die("%s:%d: mask %08x names lane %u, which never came: it has exited or never was",
                    me->at.file, me->at.line, me->at.mask, i);
        if (together(l, me))
            here |= 1u << i;
        else if (parted(l, me))
            emu_die("%s:%d: mask %08x names lane %u, which never came: it waits for this one somewhere else",
                    me->at.file, me->at.line, me->at.mask, i);
    }
    return here;
}

static unsigned source_lane(const struct lane *l, unsigned i) {
    switch ((enum emu_shuffle)l->how) {
    case EMU_SHUFFLE_LANE:
        return (unsigned)l->argument & 31u;
    case EMU_SHUFFLE_XOR:
        return (i ^ (unsigned)l->argument) & 31u;
    case EMU_SHUFFLE_UP:
        return (int)i - l->argument < 0 ? i : i - (unsigned)l->argument;
    case EMU_SHUFFLE_DOWN:
    default:
        return i + (unsigned)l->argument > 31 ? i : i + (unsigned)l->argument;
    }
}

static void shuffle(struct lane *warp, const struct emu_meeting *at) {
    uint64_t values[EMU_WARP];
    for (unsigned i = 0; i < EMU_WARP; i++)
        values[i] = in(at->mask, i) ? warp[i].value : 0;
    for (unsigned i = 0; i < EMU_WARP; i++) {
        if (!in(at->mask, i))
            continue;
        unsigned from = source_lane(&warp[i], i);
        if (!in(at->mask, from))
            emu_die("%s:%d: lane %u reads lane %u, which mask %08x does not name", at->file, at->line, i,
                    from, at->mask);
        warp[i].value = values[from];
    }
}

static void ballot(struct lane *warp, uint32_t mask) {
    uint32_t votes = 0;
    for (unsigned i = 0; i < EMU_WARP; i++)
        if (in(mask, i) && warp[i].value != 0)
            votes |= 1u << i;
    for (unsigned i = 0; i < EMU_WARP; i++)
        if (in(mask, i))
            warp[i].value = votes;
}

static float as_float(uint64_t value) {
    uint32_t bits = (uint32_t)value;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint64_t as_value(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* A butterfly over all lanes. */
static void reduce(struct lane *warp, bool sum) {
    float now[EMU_WARP], next[EMU_WARP];
    for (unsigned i = 0; i < EMU_WARP; i++)
        now[i] = as_float(warp[i].value);
    for (unsigned o = 16; o > 0; o /= 2) {
        for (unsigned i = 0; i < EMU_WARP; i++)
            next[i] = sum ? now[i] + now[i ^ o] : now[i] > now[i ^ o] ? now[i] : now[i ^ o];
        memcpy(now, next, sizeof now);
    }
    for (unsigned i = 0; i < EMU_WARP; i++)
        warp[i].value = as_value(now[i]);
}

/* Lane L gets elements 2*(L%4) and +1 of row L/4 of each matrix; transposed: of column L/4. */
static void ldmatrix(struct lane *warp) {
    int n = warp[0].argument;
    bool transposed = warp[0].how != 0;
    for (int m = 0; m < n; m++) {
        uint16_t rows[8][8];
        for (int r = 0; r < 8; r++)
            memcpy(rows[r], (const void *)(uintptr_t)warp[m * 8 + r].value, 16);
        for (int l = 0; l < EMU_WARP; l++) {
            int major = l / 4, minor = l % 4 * 2;
            uint32_t low = transposed ? rows[minor][major] : rows[major][minor];
            uint32_t high = transposed ? rows[minor + 1][major] : rows[major][minor + 1];
            warp[l].d[m] = low | high << 16;
        }
    }
}

static void work(struct lane *me) {
    struct lane *warp = warp_of(me);
    switch (me->op) {
    case WARP_BARRIER:
        emu_block->warp_barriers[me->index / EMU_WARP]++;
        break;
    case WARP_SHUFFLE:
        shuffle(warp, &me->at);
        break;
    case WARP_BALLOT:
        ballot(warp, me->at.mask);
        break;
    case WARP_SUM:
    case WARP_MAX:
        reduce(warp, me->op == WARP_SUM);
        break;
    case WARP_MMA:
        numbers_mma((enum emu_mma)me->how, warp);
        break;
    case WARP_LDMATRIX:
        ldmatrix(warp);
        break;
    }
}

/* The lane has brought its part; comes back when all have and the work is done. */
static void meet(struct emu_meeting at, enum warp_op op) {
    struct lane *me = emu_lane;
    unsigned lane = me->index % EMU_WARP;
    struct meeting *last = &emu_block->meetings[me->index / EMU_WARP];
    me->at = at;
    me->op = op;
    if (!in(at.mask, lane))
        emu_die("%s:%d: the calling lane %u is not in its own mask %08x", at.file, at.line, lane, at.mask);
    if (last->here != 0 && last->op == op && last->at.file == at.file && last->at.line == at.line &&
        last->at.mask == at.mask)
        last->here |= 1u << lane;
    else
        *last = (struct meeting){.at = at, .op = op, .here = who_is_here(me)};
    if (last->here != at.mask) {
        block_pause(LANE_IN_WARP);
        return;
    }
    last->here = 0;
    work(me);
    struct lane *warp = warp_of(me);
    for (unsigned i = 0; i < EMU_WARP; i++)
        if (in(at.mask, i) && &warp[i] != me)
            block_wake(&warp[i]);
}

static void need_all(const struct emu_meeting *at, const char *what) {
    if (at->mask != 0xFFFFFFFFu)
        emu_die("%s:%d: %s needs all lanes of the warp", at->file, at->line, what);
}

void emu_warp_barrier(struct emu_meeting at) {
    meet(at, WARP_BARRIER);
}

uint64_t emu_shuffle(struct emu_meeting at, enum emu_shuffle how, uint64_t value, int argument) {
    struct lane *me = emu_lane;
    me->how = (int)how;
    me->argument = argument;
    me->value = value;
    meet(at, WARP_SHUFFLE);
    return me->value;
}

uint32_t emu_ballot(struct emu_meeting at, bool predicate) {
    struct lane *me = emu_lane;
    me->value = predicate;
    meet(at, WARP_BALLOT);
    return (uint32_t)me->value;
}

static float reduction(struct emu_meeting at, enum warp_op op, float v) {
    struct lane *me = emu_lane;
    need_all(&at, "a sum or largest value");
    me->value = as_value(v);
    meet(at, op);
    return as_float(me->value);
}

float emu_warp_sum(struct emu_meeting at, float v) {
    return reduction(at, WARP_SUM, v);
}

float emu_warp_max(struct emu_meeting at, float v) {
    return reduction(at, WARP_MAX, v);
}

void emu_mma(struct emu_meeting at, enum emu_mma type, uint32_t d[4], const uint32_t a[4],
             const uint32_t b[2]) {
    struct lane *me = emu_lane;
    need_all(&at, "mma");
    me->how = (int)type;
    memcpy(me->d, d, sizeof me->d);
    memcpy(me->a, a, sizeof me->a);
    memcpy(me->b, b, sizeof me->b);
    meet(at, WARP_MMA);
    memcpy(d, me->d, sizeof me->d);
}

static bool in_shared(const void *p) {
    const struct arena *arenas[] = {&emu_block->fixed, &emu_block->dynamic};
    for (int i = 0; i < 2; i++)
        if (arenas[i]->at != NULL && (const char *)p >= arenas[i]->at &&
            (const char *)p + 16 <= arenas[i]->at + arenas[i]->bytes)
            return true;
    return false;
}

void emu_ldmatrix(struct emu_meeting at, int n, bool transposed, uint32_t *out, const void *row) {
    struct lane *me = emu_lane;
    need_all(&at, "ldmatrix");
    if ((int)(me->index % EMU_WARP) < 8 * n && (!in_shared(row) || (uintptr_t)row % 16 != 0))
        emu_die("%s:%d: ldmatrix needs rows of 16 aligned bytes in shared memory", at.file, at.line);
    if (emu_watch != NULL && (int)(me->index % EMU_WARP) < 8 * n)
        emu_watch(row, 16, false);
    me->how = transposed ? 1 : 0;
    me->argument = n;
    me->value = (uint64_t)(uintptr_t)row;
    meet(at, WARP_LDMATRIX);
    memcpy(out, me->d, (size_t)n * sizeof *out);
}
