#include "tests/plugins/expect.h"

#include <stdlib.h>

static struct hermes_test t;

static int start(void **state) {
    (void)state;
    return hermes_test_start(&t, hermes_plugin_v1(), "{}");
}

static int finish(void **state) {
    (void)state;
    hermes_test_finish(&t);
    return 0;
}

static void gives(const char *expression, const char *value) {
    char *args = arguments_of("expression", expression, NULL, NULL), want[4096];
    snprintf(want, sizeof want, "{\"result\": \"%s\"}", value);
    if (HERMES_TEST_CALL(&t, "calculator", args) != HERMES_OK || strcmp(t.text, want) != 0)
        fail_msg("%s gave %s, not %s", expression, t.text, want);
    free(args);
}

static void refuses(const char *expression, const char *sentence) {
    char *args = arguments_of("expression", expression, NULL, NULL);
    if (HERMES_TEST_CALL(&t, "calculator", args) != HERMES_E_TOOL || strcmp(t.text, sentence) != 0)
        fail_msg("%s gave %d %s, not %s", expression, t.status, t.text, sentence);
    free(args);
}

static void test_declaration(void **state) {
    (void)state;
    expect_declared(hermes_plugin_v1(), "calculator",
                    HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT | HERMES_T_ADDITIVE | HERMES_T_CLOSED_WORLD,
                    "Evaluate an arithmetic expression.",
                    "{\"type\": \"object\", \"properties\": {\"expression\": {\"type\": \"string\", "
                    "\"description\": \"e.g. 17% * "
                    "2340\"}}, \"required\": [\"expression\"], \"additionalProperties\": false}");
}

static void test_exact(void **state) {
    (void)state;
    gives("17% * 2340", "397.8");
    gives("0.1 + 0.2", "0.3");
    gives("1/3", "0.3333333333333333333333333333333333");
    gives("2/3", "0.6666666666666666666666666666666667");
    gives("100000000000000000000 * 100000000000000000001", "10000000000000000000100000000000000000000");
    gives("1e40", "10000000000000000000000000000000000000000");
    gives("10^41", "1e+41");
    gives("-0", "0");
    gives("5 - 5", "0");
    gives("1.50 * 2", "3");
    gives("100 + 10%", "100.1");
    gives("50%%", "0.005");
    gives(".5 + 1.", "1.5");
    gives("  7\t*\n6 ", "42");
}

static void test_precedence(void **state) {
    (void)state;
    gives("2 + 3 * 4", "14");
    gives("(2 + 3) * 4", "20");
    gives("10 - 4 - 3", "3");
    gives("100 / 10 / 2", "5");
    gives("2^3^2", "512");
    gives("2**10", "1024");
    gives("-2^2", "-4");
    gives("(-2)^2", "4");
    gives("2^-2", "0.25");
    gives("--3", "3");
    gives("2 * -3", "-6");
    gives("3 \xc3\x97 4 \xc3\xb7 2 \xe2\x88\x92 1", "5");
}

static void test_functions(void **state) {
    (void)state;
    gives("sqrt(144)", "12");
    gives("sqrt(2)", "1.414213562373095048801688724209698");
    gives("2^0.5", "1.414213562373095048801688724209698");
    gives("sqrt(0)", "0");
    gives("abs(-3.5)", "3.5");
    gives("floor(-1.5)", "-2");
    gives("ceil(-1.5)", "-1");
    gives("round(2.5)", "3");
    gives("round(-2.5)", "-3");
    gives("round(2.345, 2)", "2.35");
    gives("round(1250, -2)", "1300");
    gives("min(3, -1, 2)", "-1");
    gives("max(3, -1, 2)", "3");
    gives("mod(-7, 3)", "2");
    gives("mod(7, -3)", "-2");
    gives("mod(7.5, 2)", "1.5");
    gives("mod(10^40 + 1, 7)", "5");
    gives("sin(pi)", "0");
    gives("cos(pi)", "-1");
    gives("sin(pi/6)", "0.5");
    gives("cos(pi/2)", "0");
    gives("tan(pi/4)", "1");
    gives("ln(e)", "1");
    gives("log10(0.001)", "-3");
    gives("exp(0)", "1");
    gives("exp(1)", "2.71828182845905");
    gives("pi", "3.141592653589793238462643383279503");
    gives("e", "2.718281828459045235360287471352662");
}

static void test_powers(void **state) {
    (void)state;
    gives("0^0", "1");
    gives("0^5", "0");
    gives("1^123456789012345678901234567890", "1");
    gives("(-1)^123456789012345678901234567891", "-1");
    gives("2^100", "1267650600228229401496703205376");
    gives("1.05^30", "4.321942375150662009157288198886473341473378241062164306640625");
    gives("1.004166^360", "4.46667663181762830306221590176936");
    gives("8^(2/3)", "4");
}

static void test_errors(void **state) {
    (void)state;
    refuses("1/0", "division by zero");
    refuses("5 / (2 - 2)", "division by zero");
    refuses("mod(1, 0)", "division by zero");
    refuses("0^-1", "division by zero");
    refuses("2 + )", "unexpected ')' at 5");
    refuses("\xc3\x97 3", "unexpected '\xc3\x97' at 1");
    refuses("2 \xc3\x97 \xe2\x82\xac", "unexpected '\xe2\x82\xac' at 5");
    refuses("foo(3)", "unknown function 'foo'");
    refuses("3 * x", "unknown name 'x' at 5");
    refuses("2,340 * 3", "unexpected ',' at 2, write 2340 without separators");
    refuses("1,234,567", "unexpected ',' at 2, write 1234567 without separators");
    refuses("(1,234)", "unexpected ',' at 3, write 1234 without separators");
    refuses("sqrt(1,600)", "unexpected ',' at 7, write 1600 without separators");
    refuses("7 % 3", "unexpected '3' at 5, for a remainder write mod(a, b)");
    refuses("17% of 20", "unexpected 'of' at 5");
    refuses("", "the expression is empty");
    refuses("   ", "the expression ends too early");
    refuses("1 +", "the expression ends too early");
    refuses("(1 + 2", "a ')' is missing at the end");
    refuses("2 3", "unexpected '3' at 3");
    refuses("2(3)", "unexpected '(' at 2");
    refuses("1.2.3", "'1.2.3' at 1 is not a number");
    refuses("sqrt(-1)", "sqrt of a negative number");
    refuses("(-8)^(1/3)", "a negative number has no real power with a fraction");
    refuses("ln(0)", "ln needs a number above 0");
    refuses("log10(-5)", "log10 needs a number above 0");
    refuses("exp(1e9)", "exp needs a number from -10000 to 10000");
    refuses("tan(pi/2)", "tan is not defined at this angle");
    refuses("sin(1e40)", "the angle is too large, use one below 10^30");
    refuses("round(1.5, 0.5)", "round needs a whole number of digits from -2000 to 2000");
    refuses("mod(3)", "mod needs 2 values");
    refuses("mod(3, 2, 1)", "mod takes at most 2 values");
    refuses("sqrt", "sqrt needs its value in parentheses");
    refuses("2^10000", "the result has more than 2000 digits");
    refuses("9^9^9^9", "the result has more than 2000 digits");
    refuses("1e99999", "the number at 1 is too long");
    refuses("1\x01", "unexpected control character at 2");
}

static void test_ceilings(void **state) {
    (void)state;
    char deep[6000];
    memset(deep, '(', 3000);
    memcpy(deep + 3000, "1", sizeof "1");
    refuses(deep, "the expression is nested deeper than 64");
    memset(deep, '-', 3000);
    refuses(deep, "the expression is nested deeper than 64");
    deep[0] = '\0';
    for (int i = 0; i < 70; i++)
        append(deep, sizeof deep, "2^");
    append(deep, sizeof deep, "1");
    refuses(deep, "the expression is nested deeper than 64");
    memset(deep, '1', 5000);
    deep[5000] = '\0';
    refuses(deep, "the expression is longer than 4096 bytes");
    memset(deep, '9', 2000);
    memcpy(deep + 2000, "+1", sizeof "+1");
    char want[2100];
    snprintf(want, sizeof want, "1e+2000");
    gives(deep, want);
    memcpy(deep + 2000, "0.5", sizeof "0.5");
    refuses(deep, "the number at 1 is too long");
}

/* Every line of the table that Python worked out (tests/oracles/calculator_golden.py). */
static void test_golden(void **state) {
    (void)state;
    const char *path = getenv("HERMESD_CALCULATOR_GOLDEN");
    FILE *f = fopen(path != NULL ? path : "tests/plugins/calculator_golden.txt", "r");
    static char line[16384];
    int count = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        char *tab = strchr(line, '\t');
        assert_non_null(tab);
        *tab = '\0';
        tab[1 + strcspn(tab + 1, "\n")] = '\0';
        gives(line, tab + 1);
        count++;
    }
    fclose(f);
    assert_true(count > 500);
}

/* Random bytes and random pieces of expressions: an answer or a sentence, never anything else. */
static void test_noise(void **state) {
    (void)state;
    static const char *const pieces[] = {"1",   "2.5", "(", ")", "+",        "-",     "*",          "/",
                                         "^",   "%",   ",", "e", "pi",       "sqrt(", "mod(",       "round(",
                                         "1e9", "0",   " ", "x", "\xc3\x97", "min(",  "9999999999", "."};
    unsigned seed = 1;
    for (int i = 0; i < 20000; i++) {
        char text[512] = "";
        int n = rand_r(&seed) % 20;
        for (int k = 0; k < n; k++)
            append(text, sizeof text, pieces[(unsigned)rand_r(&seed) % (sizeof pieces / sizeof pieces[0])]);
        char *args = arguments_of("expression", text, NULL, NULL);
        int status = HERMES_TEST_CALL(&t, "calculator", args);
        assert_true(status == HERMES_OK || status == HERMES_E_TOOL);
        assert_true(t.len > 0);
        free(args);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_declaration), cmocka_unit_test(test_exact),  cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_functions),   cmocka_unit_test(test_powers), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_ceilings),    cmocka_unit_test(test_golden), cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, start, finish);
}
