#include "engine/speculate.h"

#define OLD          0.8   /* weight of what was measured before */
#define FORGET       0.9f  /* of luck, with each try */
#define FORGET_SLOW  0.98f /* with each that was left out */
#define PRIOR_WEIGHT 2.0f  /* tokens that the first assumption counts as */
#define MARGIN       1.1   /* what it must promise to gain */

static double mean(double old, double now) {
    return old > 0 ? OLD * old + (1 - OLD) * now : now;
}

/* A further row costs at most as much as a step of its own, else it is something else that took the time. */
static double at_most(double more, double one) {
    return more < one ? more : one;
}

void speculate_measure(struct speculate_cost *c, int rows, double ns, double prompt_ns) {
    if (rows == 1) {
        c->one_ns = mean(c->one_ns, ns);
        /* What further rows cost is not seen while none are run; one unlucky measurement must not stay. */
        if (c->more_ns > 0 && prompt_ns > 0)
            c->more_ns += 0.02 * (at_most(prompt_ns, c->one_ns) - c->more_ns);
    } else if (rows > 1 && c->one_ns > 0) {
        double more = at_most((ns - c->one_ns) / (rows - 1), c->one_ns), least = c->one_ns * 1e-3;
        c->more_ns = mean(c->more_ns, more > least ? more : least);
    }
}

static int kind_of(int matched) {
    return matched < 5 ? 0 : matched < 12 ? 1 : 2;
}

void speculate_learn(struct speculate_luck *l, int matched, int drafted, int right) {
    int kind = kind_of(matched);
    /* Tokens behind the first wrong one say nothing. */
    int tried = right < drafted ? right + 1 : drafted;
    l->right[kind] = l->right[kind] * FORGET + (float)right;
    l->tried[kind] = l->tried[kind] * FORGET + (float)tried;
}

void speculate_skipped(struct speculate_luck *l, int matched) {
    int kind = kind_of(matched);
    l->right[kind] *= FORGET_SLOW;
    l->tried[kind] *= FORGET_SLOW;
}

double speculate_chance(const struct speculate_luck *l, int matched) {
    static const float prior[SPECULATE_KINDS] = {0.5f, 0.7f, 0.85f};
    int kind = kind_of(matched);
    return (double)((l->right[kind] + PRIOR_WEIGHT * prior[kind]) / (l->tried[kind] + PRIOR_WEIGHT));
}

int speculate_choose(const struct speculate_cost *c, double prompt_ns, double chance, int others, int most) {
    double more = c->more_ns > 0 ? c->more_ns : prompt_ns > 0 ? at_most(prompt_ns, c->one_ns) : c->one_ns;
    if (c->one_ns <= 0 || more <= 0)
        return 0;
    double tokens = others + 1, ns = c->one_ns + others * more, likely = 1;
    double best = MARGIN * tokens / ns;
    int chosen = 0;
    for (int n = 1; n <= most; n++) {
        likely *= chance;
        tokens += likely;
        ns += more;
        if (tokens / ns > best) {
            best = tokens / ns;
            chosen = n;
        }
    }
    return chosen;
}
