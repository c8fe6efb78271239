/* The sampler: truncation, distribution with a fixed seed, reproducibility. */
#include "engine/sampler.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N     12
#define DRAWS 40000

static const float base_logits[N] = {0.5f,  2.0f, -1.0f, 1.5f,  2.0f, 0.0f,
                                     -3.0f, 1.0f, 0.2f,  -0.5f, 1.2f, -8.0f};

static struct sampler sampler_of(struct engine_sampling how) {
    struct sampler s;
    char err[200];
    assert_int_equal(sampler_init(&s, &how, err, sizeof err), 0);
    return s;
}

static void draw_many(struct engine_sampling how, int counts[N]) {
    struct sampler s = sampler_of(how);
    struct sampler_candidate scratch[N];
    memset(counts, 0, N * sizeof *counts);
    for (int i = 0; i < DRAWS; i++) {
        float logits[N];
        memcpy(logits, base_logits, sizeof logits);
        counts[sampler_next(&s, logits, N, NULL, 0, scratch)]++;
    }
}

/* Probabilities of the tokens in `kept` at a temperature; counts must lie within 5 standard deviations. */
static void expect(const int counts[N], const bool kept[N], double temperature) {
    double p[N], sum = 0;
    for (int i = 0; i < N; i++)
        sum += p[i] = kept[i] ? exp((double)base_logits[i] / temperature) : 0;
    for (int i = 0; i < N; i++) {
        double mean = DRAWS * p[i] / sum;
        if (fabs(counts[i] - mean) > 5 * sqrt(mean) + (kept[i] ? 1 : 0))
            fail_msg("token %d was drawn %d times, expected about %g", i, counts[i], mean);
    }
}

/* The k best, ties to the lower id. */
static void keep_best(bool kept[N], int k) {
    memset(kept, 0, N * sizeof *kept);
    for (; k > 0; k--) {
        int best = -1;
        for (int i = 0; i < N; i++)
            if (!kept[i] && (best < 0 || base_logits[i] > base_logits[best]))
                best = i;
        kept[best] = true;
    }
}

static void test_plain_temperature(void **state) {
    (void)state;
    static const double temperatures[] = {0.3, 1.0, 2.5};
    int counts[N];
    bool kept[N];
    keep_best(kept, N);
    for (int i = 0; i < 3; i++) {
        draw_many((struct engine_sampling){.temperature = (float)temperatures[i], .top_p = 1, .seed = 1},
                  counts);
        expect(counts, kept, (double)(float)temperatures[i]);
    }
}

#define LARGE 10007 /* no multiple of anything */

/* Uniform in [0, 1): what engine/sampler.h names. */
static double split_mix(uint64_t *state) {
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* The token whose share of the whole, counted from the last token on, holds the random number: against the
 * same sum in double precision. */
static void test_a_large_vocabulary(void **state) {
    (void)state;
    float *given = malloc(LARGE * sizeof *given), *logits = malloc(LARGE * sizeof *logits);
    struct sampler_candidate *scratch = malloc(LARGE * sizeof *scratch);
    assert_true(given != NULL && logits != NULL && scratch != NULL);
    uint64_t random = 7;
    for (int round = 0; round < 300; round++) {
        double temperature = 0.05 + 3 * split_mix(&random), masked = round % 3 * 0.49;
        double sum = 0, top = -1e9, behind = 0;
        for (int i = 0; i < LARGE; i++) {
            given[i] =
                i > 0 && split_mix(&random) < masked ? -INFINITY : (float)(20 * split_mix(&random) - 8);
            top = (double)given[i] > top ? (double)given[i] : top;
        }
        uint64_t seed = random;
        struct sampler s =
            sampler_of((struct engine_sampling){.temperature = (float)temperature, .top_p = 1, .seed = seed});
        memcpy(logits, given, LARGE * sizeof *logits);
        int32_t token = sampler_next(&s, logits, LARGE, NULL, 0, scratch);
        for (int i = 0; i < LARGE; i++)
            sum += exp(((double)given[i] - top) / temperature);
        for (int i = LARGE - 1; i > token; i--)
            behind += exp(((double)given[i] - top) / temperature);
        double own = exp(((double)given[token] - top) / temperature), target = split_mix(&seed) * sum;
        assert_true(given[token] > -INFINITY);
        if (target < behind - 2e-6 * sum || target > behind + own + 2e-6 * sum)
            fail_msg("round %d: token %d is for %g to %g, not for %g", round, token, behind / sum,
                     (behind + own) / sum, target / sum);
    }
    free(given);
    free(logits);
    free(scratch);
}

static void test_top_k(void **state) {
    (void)state;
    int counts[N];
    bool kept[N];
    for (int k = 1; k <= N + 1; k += 3) {
        keep_best(kept, k < N ? k : N);
        draw_many((struct engine_sampling){.temperature = 1, .top_k = k, .top_p = 1, .seed = 2}, counts);
        expect(counts, kept, 1);
    }
}

static void test_top_p(void **state) {
    (void)state;
    static const float limits[] = {0.01f, 0.3f, 0.6f, 0.9f, 0.999f};
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += exp((double)base_logits[i]);
    for (int l = 0; l < 5; l++) {
        bool kept[N];
        int k = 0;
        double mass = 0;
        while (mass < (double)limits[l] * sum) { /* the fewest whose probabilities reach p */
            keep_best(kept, ++k);
            mass = 0;
            for (int i = 0; i < N; i++)
                mass += kept[i] ? exp((double)base_logits[i]) : 0;
        }
        int counts[N];
        draw_many((struct engine_sampling){.temperature = 1, .top_p = limits[l], .seed = 3}, counts);
        expect(counts, kept, 1);
        /* With a top-k above what top-p leaves, nothing changes. */
        draw_many(
            (struct engine_sampling){.temperature = 1, .top_k = N - 1, .top_p = limits[l] * 0.99f, .seed = 4},
            counts);
    }
}

static void test_min_p(void **state) {
    (void)state;
    bool kept[N];
    for (int i = 0; i < N; i++)
        kept[i] = exp((double)base_logits[i] - 2.0) >= 0.3;
    int counts[N];
    draw_many((struct engine_sampling){.temperature = 1, .top_p = 1, .min_p = 0.3f, .seed = 5}, counts);
    expect(counts, kept, 1);
}

static void test_greedy_takes_the_first_of_equals(void **state) {
    (void)state;
    int counts[N];
    draw_many((struct engine_sampling){.temperature = 0, .seed = 6}, counts);
    assert_int_equal(counts[1], DRAWS);
}

static void test_repeat_penalty(void **state) {
    (void)state;
    struct sampler s = sampler_of((struct engine_sampling){.temperature = 0, .repeat_penalty = 1.5f});
    struct sampler_candidate scratch[N];
    float logits[N];
    memcpy(logits, base_logits, sizeof logits);
    const int32_t recent[] = {1, 4, 4, 2};
    /* 1 and 4 fall from 2 to 1.33 (once each), 2 falls from -1 to -1.5; 3 has 1.5. */
    assert_int_equal(sampler_next(&s, logits, N, recent, 4, scratch), 3);
    assert_true(fabsf(logits[4] - 2 / 1.5f) < 1e-6f);
    assert_true(fabsf(logits[2] + 1.5f) < 1e-6f);
    /* Only the last 64 count. */
    int32_t many[65] = {1};
    for (int i = 1; i < 65; i++)
        many[i] = 11;
    memcpy(logits, base_logits, sizeof logits);
    assert_int_equal(sampler_next(&s, logits, N, many, 65, scratch), 1);
}

/* Pinned: the same seed must give the same tokens in every build. */
static void test_same_seed_same_tokens(void **state) {
    (void)state;
    static const int32_t pinned[8] = {10, 3, 1, 4, 10, 10, 4, 1};
    struct engine_sampling how = {.temperature = 1, .top_k = 8, .top_p = 0.95f, .min_p = 0.01f, .seed = 1234};
    struct sampler a = sampler_of(how), b = sampler_of(how);
    struct sampler_candidate scratch[N];
    bool differs = false;
    how.seed = 1235;
    struct sampler c = sampler_of(how);
    for (int i = 0; i < 200; i++) {
        float x[N], y[N], z[N];
        memcpy(x, base_logits, sizeof x);
        memcpy(y, base_logits, sizeof y);
        memcpy(z, base_logits, sizeof z);
        int32_t token = sampler_next(&a, x, N, NULL, 0, scratch);
        assert_int_equal(token, sampler_next(&b, y, N, NULL, 0, scratch));
        differs = differs || token != sampler_next(&c, z, N, NULL, 0, scratch);
        if (i < 8)
            assert_int_equal(token, pinned[i]);
    }
    assert_true(differs);
}

/* Weights that are noise give logits that are no numbers: some token comes out, always one of the vocabulary.
 */
static void test_logits_that_are_no_numbers(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0};
    const struct engine_sampling how[] = {{.temperature = 0},
                                          {.temperature = 1, .top_p = 1},
                                          {.temperature = 0.01f, .top_k = 3, .top_p = 0.5f},
                                          {.temperature = 100, .top_p = 0.9f, .min_p = 0.1f},
                                          {.temperature = 1, .repeat_penalty = 10, .min_p = 1}};
    const int32_t recent[] = {0, 1, 2, 3};
    for (size_t h = 0; h < sizeof how / sizeof how[0]; h++) {
        struct sampler s = sampler_of(how[h]);
        struct sampler_candidate scratch[N];
        for (unsigned round = 0; round < 7776; round++) {
            float logits[N];
            unsigned digits = round;
            for (int i = 0; i < N; i++) {
                logits[i] = bad[digits % 6];
                digits = i == 4 ? round * 31 : digits / 6;
            }
            assert_in_range(sampler_next(&s, logits, N, recent, 4, scratch), 0, N - 1);
        }
    }
}

static void test_settings_are_checked(void **state) {
    (void)state;
    static const struct engine_sampling bad[] = {
        {.temperature = -0.1f}, {.temperature = NAN},   {.top_k = -1},
        {.top_p = 1.1f},        {.top_p = -0.5f},       {.min_p = 2},
        {.min_p = NAN},         {.repeat_penalty = -1}, {.repeat_penalty = 11}};
    char err[200];
    struct sampler s;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(sampler_init(&s, &bad[i], err, sizeof err), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_temperature),
        cmocka_unit_test(test_a_large_vocabulary),
        cmocka_unit_test(test_top_k),
        cmocka_unit_test(test_top_p),
        cmocka_unit_test(test_min_p),
        cmocka_unit_test(test_greedy_takes_the_first_of_equals),
        cmocka_unit_test(test_repeat_penalty),
        cmocka_unit_test(test_same_seed_same_tokens),
        cmocka_unit_test(test_logits_that_are_no_numbers),
        cmocka_unit_test(test_settings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
