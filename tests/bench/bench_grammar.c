/* What grammars cost, with the 128,256 tokens of Llama 3 and 1,509 schemas of real projects: each valid
 * instance is walked token by token; every mask and every accepted token is timed.
 *
 *   bench_grammar [SCHEMAS]   (how many of them; all) */
#include "agent/constrain.h"
#include "agent/rawjson.h"
#include "engine/tokenizer.h"
#include "tests/engine/llama3.h"
#include "tests/shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

static void print(const char *what, struct times *t) {
    if (t->n == 0)
        return;
    qsort(t->us, t->n, sizeof *t->us, by_size);
    printf("%-22s n %8zu   p50 %9.2f us   p99 %9.2f us   p99.9 %9.2f us   worst %9.2f us\n", what, t->n,
           t->us[t->n / 2], t->us[t->n * 99 / 100], t->us[t->n * 999 / 1000], t->us[t->n - 1]);
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
    struct times compile, mask_first, mask_all, mask_again, accept;
    size_t schemas, instances, tokens, not_walked, forced;
    size_t most_state_bytes, most_program_bytes;
};

/* One instance; `mask`: where the times of its masks go. */
static void walk(struct bench *b, struct grammar *g, const struct token_list *ids, struct times *mask,
                 bool first_time) {
    struct grammar_matcher m;
    if (grammar_matcher_init(&m, g) != 0)
        abort();
    for (size_t i = 0; i < ids->n; i++) {
        double t0 = now_us();
        int rc = grammar_matcher_mask(&m, b->vocab, GRAMMAR_FOREVER, b->mask);
        double t1 = now_us();
        int taken = grammar_matcher_token(&m, b->vocab, ids->v[i]);
        double t2 = now_us();
        bool allowed = (b->mask[ids->v[i] / 32] >> ids->v[i] % 32 & 1) != 0;
        if (rc != 0 || (taken == 1) != allowed)
            abort();
        if (taken != 1) {
            b->not_walked++;
            break;
        }
        add(mask, t1 - t0);
        if (first_time && i == 0)
            add(&b->mask_first, t1 - t0);
        if (first_time) {
            add(&b->accept, t2 - t1);
            b->tokens++;
        }
    }
    grammar_matcher_finish(&m);
}

static void play(struct bench *b, struct rawjson line) {
    static const struct schema_options options = {.any_value = true};
    struct rawjson source = member(line, "schema"), tests = member(line, "tests"), test;
    struct schema *schema = NULL;
    struct grammar *g = NULL;
    struct constrain_report report;
    char err[300];
    if (schema_compile_with(source.text, source.len, &options, &schema, NULL, err, sizeof err) != 0)
        return;
    double before = now_us();
    int rc = constrain_value(schema, true, &g, &report, err, sizeof err);
    add(&b->compile, now_us() - before);
    size_t at = 0;
    while (rc == 0 && rawjson_next(tests, &at, NULL, &test)) {
        struct rawjson data = member(test, "data");
        struct value_document *document = NULL;
        struct token_list ids = {0};
        struct buf text;
        if (rawjson_type(member(test, "valid")) != 't' ||
            value_parse(data.text, data.len, &schema_value_limits, &document, NULL, 0) != 0)
            continue;
        buf_init(&text, LINE_MAX_BYTES);
        if (constrain_spell(schema, value_root(document), &text) != 0 ||
            tokenizer_encode_text(b->tokenizer, text.data, text.len, &ids) < 0)
            abort();
        walk(b, g, &ids, &b->mask_all, true);
        walk(b, g, &ids, &b->mask_again, false);
        b->instances++;
        token_list_finish(&ids);
        buf_finish(&text);
        value_destroy(document);
    }
    if (rc == 0) {
        struct grammar_info info;
        grammar_info(g, &info);
        if (info.state_bytes + info.mask_bytes > b->most_state_bytes)
            b->most_state_bytes = info.state_bytes + info.mask_bytes;
        if (info.program_bytes > b->most_program_bytes)
            b->most_program_bytes = info.program_bytes;
    }
    b->schemas++;
    grammar_unref(g);
    schema_destroy(schema);
}

int main(int argc, char **argv) {
    size_t most = argc > 1 ? strtoul(argv[1], NULL, 10) : SIZE_MAX, n = 0;
    char path[4096], *line = malloc(LINE_MAX_BYTES);
    struct model *m = llama3_open();
    double before = now_us();
    struct grammar_vocab *v = llama3_vocab(m);
    printf("vocabulary: %.1f ms, %.1f MB\n", (now_us() - before) / 1e3, (double)grammar_vocab_bytes(v) / 1e6);
    struct bench b = {.tokenizer = m->tokenizer, .vocab = v, .mask = calloc(grammar_vocab_words(v), 4)};
    FILE *f = fopen(shared_path(path, "jsonschemabench/schemas.jsonl"), "rb");
    if (f == NULL || line == NULL || b.mask == NULL)
        return 1;
    while (n++ < most && fgets(line, LINE_MAX_BYTES, f) != NULL)
        play(&b, rawjson_of(line, strlen(line)));
    (void)fclose(f);
    printf("%zu schemas, %zu valid instances, %zu tokens; %zu instances end early (not exact, or spelled "
           "otherwise)\n",
           b.schemas, b.instances, b.tokens, b.not_walked / 2);
    print("compile", &b.compile);
    print("first mask of a schema", &b.mask_first);
    print("mask, first time", &b.mask_all);
    print("mask, again", &b.mask_again);
    print("accept a token", &b.accept);
    printf("largest program %.2f MB, largest states and masks %.2f MB\n", (double)b.most_program_bytes / 1e6,
           (double)b.most_state_bytes / 1e6);
    grammar_vocab_destroy(v);
    model_close(m);
    free(line);
    free(b.mask);
    return 0;
}
