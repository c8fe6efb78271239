/* What grammars cost, with the 128,256 tokens of Llama 3 and 1,509 schemas of real projects: each valid
 * instance is walked token by token; every mask and every accepted token is timed, in time of this thread
 * less what reading the clock takes. Masks are computed in a second copy of the grammar, too: "better of two"
 * leaves out what interrupted only one of them. Then the same of a grammar made to be slow.
 *
 *   bench_grammar [-n SCHEMAS] [-s FIRST] [-j]   (all, from line 1)
 *
 * -j prints one JSON object per schema instead, with the verdicts on all its instances
 * (tests/bench/compare_grammars.py). */
#include "agent/constrain.h"
#include "agent/rawjson.h"
#include "base/json.h"
#include "engine/tokenizer.h"
#include "tests/engine/llama3.h"
#include "tests/shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES (4u << 20)

struct times {
    double *us;
    size_t n, cap;
};

static double now_us(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* a busy machine must not count */
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void add(struct times *t, double us) {
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 4096 : t->cap * 2;
        t->us = realloc(t->us, t->cap * sizeof *t->us);
        if (t->us == NULL)
            abort();
    }
    t->us[t->n++] = us;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What two readings of the clock are apart when nothing is between them. */
static double clock_cost_us(void) {
    struct times t = {0};
    for (int i = 0; i < 10001; i++) {
        double before = now_us();
        add(&t, now_us() - before);
    }
    qsort(t.us, t.n, sizeof *t.us, by_size);
    double cost = t.us[t.n / 2];
    free(t.us);
    return cost;
}

static void print(const char *what, struct times *t, const char *unit) {
    if (t->n == 0)
        return;
    qsort(t->us, t->n, sizeof *t->us, by_size);
    printf("%-22s n %8zu   p50 %9.2f   p99 %9.2f   p99.9 %9.2f   worst %9.2f %s\n", what, t->n,
           t->us[t->n / 2], t->us[t->n * 99 / 100], t->us[t->n * 999 / 1000], t->us[t->n - 1], unit);
    free(t->us);
}

static struct rawjson member(struct rawjson object, const char *key) {
    struct rawjson value = {0};
    return rawjson_get(object, key, &value) ? value : (struct rawjson){0};
}

struct bench {
    const struct tokenizer *tokenizer;
    const struct grammar_vocab *vocab;
    uint32_t *mask;
    double clock_us;
    bool json;
    struct grammar *copy; /* of the present schema, for a second first time */
    struct times compile, mask_first, mask_all, mask_copy, mask_again, accept, program_kb, states_kb,
        whole_kb;
    size_t schemas, instances, tokens, not_walked, cut;
    struct times masks; /* of the present schema, for -j */
};

static double passed(const struct bench *b, double from, double to) {
    return to - from > b->clock_us ? to - from - b->clock_us : 0;
}

static size_t n_cut(const struct grammar *g) {
    struct grammar_info info;
    grammar_info(g, &info);
    return info.n_cut;
}

/* One instance; `mask`: where the times of its masks go. True when all of it is taken. */
static bool walk(struct bench *b, struct grammar *g, const struct token_list *ids, struct times *mask,
                 bool first_time) {
    struct grammar_matcher m;
    bool taken = true;
    if (grammar_matcher_init(&m, g) != 0)
        abort();
    for (size_t i = 0; i < ids->n && taken; i++) {
        size_t cut = n_cut(g);
        double t0 = now_us();
        int rc = grammar_matcher_mask(&m, b->vocab, GRAMMAR_FOREVER, b->mask);
        double t1 = now_us();
        taken = grammar_matcher_token(&m, b->vocab, ids->v[i]) == 1;
        double t2 = now_us();
        bool allowed = (b->mask[ids->v[i] / 32] >> ids->v[i] % 32 & 1) != 0;
        cut = n_cut(g) - cut;
        if (rc != 0 || (cut == 0 ? taken != allowed : allowed && !taken))
            abort();
        b->cut += cut;
        add(mask, passed(b, t0, t1));
        if (first_time && i == 0)
            add(&b->mask_first, passed(b, t0, t1));
        if (first_time && taken) {
            add(&b->accept, passed(b, t1, t2));
            b->tokens++;
        }
        if (first_time && b->json)
            add(&b->masks, passed(b, t0, t1));
    }
    taken = taken && grammar_matcher_is_complete(&m);
    grammar_matcher_finish(&m);
    return taken;
}

static void print_text(const struct buf *text) {
    struct buf quoted;
    buf_init(&quoted, 8 * LINE_MAX_BYTES);
    if (json_quote(&quoted, text->data, text->len, false) != 0)
        abort();
    printf("{\"text\": %.*s", (int)quoted.len, quoted.data);
    buf_finish(&quoted);
}

/* The grammar's verdict on an instance. */
static bool judge(struct bench *b, const struct schema *schema, struct grammar *g, struct rawjson data,
                  bool valid) {
    struct value_document *document = NULL;
    struct token_list ids = {0};
    struct buf text;
    bool taken = false;
    if (value_parse(data.text, data.len, &schema_value_limits, &document, NULL, 0) != 0) {
        if (b->json)
            printf("{\"text\": null");
        return false;
    }
    buf_init(&text, LINE_MAX_BYTES);
    if (constrain_spell(schema, value_root(document), &text) != 0 ||
        tokenizer_encode_text(b->tokenizer, text.data, text.len, &ids) < 0)
        abort();
    if (b->json)
        print_text(&text);
    if (valid) {
        taken = walk(b, g, &ids, &b->mask_all, true);
        (void)walk(b, g, &ids, &b->mask_again, false);
        (void)walk(b, b->copy, &ids, &b->mask_copy, false);
        b->instances++;
        b->not_walked += !taken;
    } else {
        struct grammar_matcher m;
        if (grammar_matcher_init(&m, g) != 0)
            abort();
        taken = grammar_matcher_bytes(&m, text.data, text.len) == 1 && grammar_matcher_is_complete(&m);
        grammar_matcher_finish(&m);
    }
    token_list_finish(&ids);
    buf_finish(&text);
    value_destroy(document);
    return taken;
}

static void count_bytes(struct bench *b, const struct grammar *g, size_t number) {
    struct grammar_info info;
    grammar_info(g, &info);
    add(&b->states_kb, (double)(info.state_bytes + info.mask_bytes) / 1e3);
    add(&b->program_kb, (double)info.program_bytes / 1e3);
    double whole = (double)(info.program_bytes + info.state_bytes + info.mask_bytes) / 1e3;
    add(&b->whole_kb, whole);
    if (whole > 1000 && !b->json)
        printf("line %zu: %.0f kB, of which its program %.0f\n", number, whole,
               (double)info.program_bytes / 1e3);
}

static void play(struct bench *b, struct rawjson line, size_t number) {
    static const struct schema_options options = {.any_value = true};
    struct rawjson source = member(line, "schema"), tests = member(line, "tests"), test;
    struct schema *schema = NULL;
    struct grammar *g = NULL;
    struct constrain_report report = {0};
    char err[300];
    int rc = schema_compile_with(source.text, source.len, &options, &schema, NULL, err, sizeof err);
    double before = now_us(), compile_us = 0;
    if (rc == 0) {
        rc = constrain_value(schema, true, &g, &report, err, sizeof err);
        compile_us = passed(b, before, now_us());
        if (rc == 0 && constrain_value(schema, true, &b->copy, &report, err, sizeof err) != 0)
            abort();
        add(&b->compile, compile_us);
        b->schemas++;
    }
    if (b->json)
        printf("{\"line\": %zu, \"refused\": %s, \"exact\": %s, \"compile_us\": %.2f, \"tests\": [", number,
               rc == 0 ? "false" : "true", report.exact ? "true" : "false", compile_us);
    bool first = true;
    for (size_t at = 0; rc == 0 && rawjson_next(tests, &at, NULL, &test); first = false) {
        bool valid = rawjson_type(member(test, "valid")) == 't';
        if (!valid && !b->json)
            continue;
        if (b->json && !first)
            printf(", ");
        bool taken = judge(b, schema, g, member(test, "data"), valid);
        if (b->json)
            printf(", \"taken\": %s}", taken ? "true" : "false");
    }
    if (b->json) {
        printf("], \"masks_us\": [");
        for (size_t i = 0; i < b->masks.n; i++)
            printf("%s%.2f", i > 0 ? ", " : "", b->masks.us[i]);
        printf("]}\n");
        b->masks.n = 0;
    }
    if (rc == 0)
        count_bytes(b, g, number);
    grammar_unref(g);
    grammar_unref(b->copy);
    b->copy = NULL;
    schema_destroy(schema);
}

static void print_all(struct bench *b) {
    printf("%zu schemas, %zu valid instances, %zu tokens; %zu instances end early (not exact, or spelled "
           "otherwise); %zu masks were cut\n",
           b->schemas, b->instances, b->tokens, b->not_walked, b->cut);
    print("compile", &b->compile, "us");
    print("first mask of a schema", &b->mask_first, "us");
    /* What interrupts one of the two hardly interrupts the other. */
    for (size_t i = 0; i < b->mask_all.n && i < b->mask_copy.n; i++)
        if (b->mask_all.us[i] < b->mask_copy.us[i])
            b->mask_copy.us[i] = b->mask_all.us[i];
    print("mask, first time", &b->mask_all, "us");
    print("mask, better of two", &b->mask_copy, "us");
    print("mask, again", &b->mask_again, "us");
    print("accept a token", &b->accept, "us");
    print("program", &b->program_kb, "kB");
    print("states and masks", &b->states_kb, "kB");
    print("all of it", &b->whole_kb, "kB");
}

/* As a hostile schema may be: so many counters that all go on with every letter, and no two places alike. */
static struct grammar *hostile_grammar(void) {
    enum { WAYS = 3000 };
    struct grammar_builder *b = grammar_builder_create();
    static uint32_t ways[WAYS];
    struct grammar *g = NULL;
    char err[300] = "";
    for (uint32_t i = 0; i < WAYS; i++) {
        char end[16];
        int len = snprintf(end, sizeof end, "%u", i);
        uint32_t items[] = {grammar_repeat(b, grammar_byte(b, 'A', 'z'), 1 + i % 7, 2000 + i),
                            grammar_literal(b, end, (size_t)len)};
        ways[i] = grammar_sequence(b, items, 2);
    }
    if (grammar_compile(b, grammar_choice(b, ways, WAYS), 8, &g, err, sizeof err) < 0) {
        fprintf(stderr, "%s\n", err);
        exit(1);
    }
    grammar_builder_destroy(b);
    return g;
}

static void play_hostile(const struct bench *b) {
    struct times masks = {0}, tokens = {0};
    double before = now_us();
    struct grammar *g = hostile_grammar();
    printf("hostile grammar: compile %.1f us\n", now_us() - before);
    struct grammar_matcher m;
    if (grammar_matcher_init(&m, g) != 0)
        abort();
    for (int i = 0; i < 40; i++) {
        double t0 = now_us();
        if (grammar_matcher_mask(&m, b->vocab, GRAMMAR_FOREVER, b->mask) != 0)
            abort();
        double t1 = now_us();
        if (grammar_matcher_byte(&m, 'k') != 1)
            abort();
        add(&masks, passed(b, t0, t1));
        add(&tokens, passed(b, t1, now_us()));
    }
    printf("%zu masks were cut\n", n_cut(g));
    print("hostile mask", &masks, "us");
    print("hostile byte", &tokens, "us");
    grammar_matcher_finish(&m);
    grammar_unref(g);
}

int main(int argc, char **argv) {
    size_t most = SIZE_MAX, first = 1;
    struct bench b = {.clock_us = clock_cost_us()};
    for (int option; (option = getopt(argc, argv, "n:s:j")) != -1;) {
        if (option == 'n')
            most = strtoul(optarg, NULL, 10);
        else if (option == 's')
            first = strtoul(optarg, NULL, 10);
        else if (option == 'j')
            b.json = true;
        else
            return 2;
    }
    char path[4096], *line = malloc(LINE_MAX_BYTES);
    struct model *m = llama3_open();
    double before = now_us();
    struct grammar_vocab *v = llama3_vocab(m);
    if (!b.json)
        printf("vocabulary: %.1f ms, %.1f MB\n", (now_us() - before) / 1e3,
               (double)grammar_vocab_bytes(v) / 1e6);
    b.tokenizer = m->tokenizer;
    b.vocab = v;
    b.mask = calloc(grammar_vocab_words(v), sizeof *b.mask);
    FILE *f = fopen(shared_path(path, "jsonschemabench/schemas.jsonl"), "rb");
    if (f == NULL || line == NULL || b.mask == NULL)
        return 1;
    for (size_t n = 1; fgets(line, LINE_MAX_BYTES, f) != NULL && (most == SIZE_MAX || n < first + most); n++)
        if (n >= first)
            play(&b, rawjson_of(line, strlen(line)), n);
    (void)fclose(f);
    if (!b.json) {
        print_all(&b);
        play_hostile(&b);
    }
    grammar_vocab_destroy(v);
    model_close(m);
    free(b.masks.us);
    free(line);
    free(b.mask);
    return 0;
}
