/* Log-probabilities: of known distributions, ties, what is no number, lists longer than the vocabulary. */
#include "engine/logprobs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void expect_near(float got, double want) {
    if (!(fabs((double)got - want) < 1e-6))
        fail_msg("%.9g, not %.9g", (double)got, want);
}

/* Of weights 1, 2, 3 and 4, whatever is added to all logits. */
static void test_a_known_distribution(void **state) {
    (void)state;
    static const float moved[] = {0, 80, -300};
    for (int m = 0; m < 3; m++) {
        struct kernels_logprobs of;
        float logits[4];
        for (int i = 0; i < 4; i++)
            logits[i] = (float)(log(i + 1) + (double)moved[m]);
        double slack = m == 0 ? 0 : 2e-5; /* of the logits themselves */
        logprobs_of(logits, 4, 1, 2, &of);
        assert_true(fabs((double)of.chosen - log(0.2)) < 1e-6 + slack);
        assert_int_equal(of.n_top, 2);
        assert_int_equal(of.top[0].token, 3);
        assert_int_equal(of.top[1].token, 2);
        assert_true(fabs((double)of.top[0].logprob - log(0.4)) < 1e-6 + slack);
        assert_true(fabs((double)of.top[1].logprob - log(0.3)) < 1e-6 + slack);
    }
}

/* Probabilities of a whole list sum up to one, best first, of equal ones the lower token. */
static void test_order(void **state) {
    (void)state;
    static const float logits[] = {1, 3, 2, 3, 2, -1, 3};
    static const int32_t order[] = {1, 3, 6, 2, 4, 0, 5};
    struct kernels_logprobs of;
    double sum = 0;
    logprobs_of(logits, 7, 0, KERNELS_TOP_LOGPROBS, &of);
    assert_int_equal(of.n_top, 7);
    for (int i = 0; i < 7; i++) {
        assert_int_equal(of.top[i].token, order[i]);
        sum += exp((double)of.top[i].logprob);
    }
    expect_near((float)sum, 1);
    logprobs_of(logits, 7, 0, 4, &of);
    assert_int_equal(of.n_top, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(of.top[i].token, order[i]);
    logprobs_of(logits, 7, 6, 0, &of);
    assert_int_equal(of.n_top, 0);
    struct kernels_logprobs best;
    logprobs_of(logits, 7, 1, 1, &best);
    expect_near(of.chosen, (double)best.top[0].logprob);
}

/* What cannot be and what is no number counts for nothing. */
static void test_no_numbers(void **state) {
    (void)state;
    const float logits[] = {NAN, 0, -INFINITY, 0, NAN};
    struct kernels_logprobs of;
    logprobs_of(logits, 5, 3, 5, &of);
    assert_int_equal(of.n_top, 2);
    assert_int_equal(of.top[0].token, 1);
    assert_int_equal(of.top[1].token, 3);
    expect_near(of.chosen, log(0.5));
    logprobs_of(logits, 5, 2, 0, &of);
    assert_true(isinf(of.chosen) && of.chosen < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_known_distribution),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_no_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
