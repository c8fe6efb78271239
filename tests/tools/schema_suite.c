#include "tests/tools/schema_suite.h"

#include "agent/rawjson.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void die(const char *path, const char *why) {
    fprintf(stderr, "%s: %s\n", path, why);
    exit(1);
}

static char *read_file(const char *path, size_t *len) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t cap = 0, n = 0, got;
    if (file == NULL)
        die(path, strerror(errno));
    do {
        if (n + 65536 + 1 > cap) {
            cap = (n + 65536 + 1) * 2;
            text = realloc(text, cap);
            if (text == NULL)
                die(path, "no memory");
        }
        got = fread(text + n, 1, 65536, file);
        n += got;
    } while (got > 0);
    fclose(file);
    text[n] = '\0';
    *len = n;
    return text;
}

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* a busy machine must not count */
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void keep_time(double **times, size_t *n, double us) {
    if ((*n & (*n - 1)) == 0) { /* a power of two, or 0: full */
        double *more = realloc(*times, (*n == 0 ? 1 : *n * 2) * sizeof **times);
        if (more == NULL)
            die("times", "no memory");
        *times = more;
    }
    (*times)[(*n)++] = us;
}

static struct rawjson member(struct rawjson object, const char *key) {
    struct rawjson value = {0};
    return rawjson_get(object, key, &value) ? value : (struct rawjson){0};
}

static void count_refusal(struct suite *s, const char *keyword) {
    size_t i = 0;
    while (i < s->n_refusals && strcmp(s->refusals[i].keyword, keyword) != 0)
        i++;
    if (i == SUITE_KEYWORDS)
        die(keyword, "more kinds of refusals than SUITE_KEYWORDS");
    if (i == s->n_refusals)
        snprintf(s->refusals[s->n_refusals++].keyword, sizeof s->refusals[i].keyword, "%s", keyword);
    s->refusals[i].count++;
}

static void judge(struct suite *s, const struct schema *schema, struct rawjson test, const char *name,
                  size_t index, bool soft) {
    struct value_document *document = NULL;
    struct rawjson data = member(test, "data"), description = member(test, "description");
    bool valid = rawjson_type(member(test, "valid")) == 't';
    char err[600] = "";
    if (value_parse(data.text, data.len, &schema_value_limits, &document, err, sizeof err) != 0) {
        s->unjudged++;
        return;
    }
    double before = now_us();
    int rc = schema_check(schema, value_root(document), err, sizeof err);
    keep_time(&s->check_us, &s->n_checks, now_us() - before);
    value_destroy(document);
    if (rc == (valid ? 0 : -EINVAL)) {
        s->right++;
        return;
    }
    if (soft)
        s->soft++;
    else if (rc == 0)
        s->wrong_accepts++;
    else
        s->wrong_refusals++;
    fprintf(s->wrong, "%s %s, test %zu (%.*s): %s, said %s%s%s\n  %.*s\n", soft ? "soft " : "WRONG", name,
            index, (int)description.len, description.text, valid ? "valid" : "invalid",
            rc == 0 ? "valid" : "invalid", rc == 0 ? "" : ": ", err, (int)(data.len < 400 ? data.len : 400),
            data.text);
}

/* `soft` is the list of the indexes of unsure tests, or empty. */
static void play_group(struct suite *s, struct rawjson group, const char *name,
                       const struct schema_options *options, struct rawjson soft) {
    struct rawjson text = member(group, "schema"), tests = member(group, "tests"), test, number;
    struct schema *schema = NULL;
    char keyword[SCHEMA_KEYWORD_MAX], err[600] = "";
    size_t at = 0;
    s->schemas++;
    double before = now_us();
    int rc = schema_compile_with(text.text, text.len, options, &schema, keyword, err, sizeof err);
    double us = now_us() - before;
    if (rc != 0) {
        count_refusal(s, keyword[0] != '\0'                 ? keyword
                         : strncmp(err, "not JSON", 8) == 0 ? "(not JSON here)"
                                                            : "(a ceiling)");
        if (s->refused_to != NULL)
            fprintf(s->refused_to, "refused %s: %s\n", name, err);
        return;
    }
    keep_time(&s->compile_us, &s->n_compiles, us);
    s->accepted++;
    for (size_t i = 0; rawjson_next(tests, &at, NULL, &test); i++) {
        bool unsure = false;
        for (size_t k = 0; rawjson_next(soft, &k, NULL, &number);)
            unsure = unsure || strtoul(number.text, NULL, 10) == i;
        judge(s, schema, test, name, i, unsure);
    }
    schema_destroy(schema);
}

void suite_file(struct suite *suite, const char *path, const struct schema_options *options) {
    size_t len, at = 0;
    char *text = read_file(path, &len), name[600];
    struct rawjson all = rawjson_of(text, len), group;
    if (rawjson_type(all) != '[')
        die(path, "is no list of tests");
    while (rawjson_next(all, &at, NULL, &group)) {
        struct rawjson description = member(group, "description");
        const char *file = strstr(path, "draft");
        snprintf(name, sizeof name, "%s: %.*s", file != NULL ? file : path, (int)description.len,
                 description.text);
        play_group(suite, group, name, options, (struct rawjson){0});
    }
    free(text);
}

size_t suite_folder(struct suite *suite, const char *path, enum schema_draft draft) {
    DIR *folder = opendir(path);
    struct dirent *entry;
    size_t files = 0;
    if (folder == NULL)
        die(path, strerror(errno));
    while ((entry = readdir(folder)) != NULL) {
        char inner[1200];
        size_t n = strlen(entry->d_name);
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        struct schema_options options = {.draft = draft,
                                         .any_value = true,
                                         .formats_are_notes = strcmp(entry->d_name, "format.json") == 0 &&
                                                              strstr(path, "optional") == NULL};
        if (n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0) {
            suite_file(suite, inner, &options);
            files++;
        } else if (entry->d_name[0] != '.' && entry->d_type == DT_DIR) {
            files += suite_folder(suite, inner, draft);
        }
    }
    closedir(folder);
    return files;
}

void suite_lines(struct suite *suite, const char *path, const char *unconfirmed) {
    static const struct schema_options options = {.any_value = true};
    size_t len, soft_len = 0;
    char *text = read_file(path, &len),
         *soft_text = unconfirmed != NULL ? read_file(unconfirmed, &soft_len) : NULL;
    struct rawjson soft = soft_text != NULL ? rawjson_of(soft_text, soft_len) : (struct rawjson){0};
    for (char *line = text, *end; line < text + len; line = end + 1) {
        end = memchr(line, '\n', (size_t)(text + len - line));
        if (end == NULL)
            end = text + len;
        struct rawjson group = rawjson_of(line, (size_t)(end - line));
        char *id = rawjson_string(member(group, "id"));
        if (id == NULL)
            continue;
        play_group(suite, group, id, &options, member(soft, id));
        free(id);
    }
    free(text);
    free(soft_text);
}

/* ---- printing ---- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int by_count(const void *a, const void *b) {
    size_t x = ((const struct suite_refusals *)a)->count, y = ((const struct suite_refusals *)b)->count;
    return x > y ? -1 : x < y;
}

static void print_times(const char *what, double *times, size_t n) {
    if (n == 0)
        return;
    qsort(times, n, sizeof *times, by_value);
    printf("  %-8s p50 %8.1f us   p99 %8.1f us   worst %8.1f us\n", what, times[n / 2], times[n * 99 / 100],
           times[n - 1]);
}

void suite_print(const struct suite *s, const char *title) {
    struct suite_refusals sorted[SUITE_KEYWORDS];
    memcpy(sorted, s->refusals, sizeof sorted);
    qsort(sorted, s->n_refusals, sizeof sorted[0], by_count);
    printf("%s: %zu schemas, %zu accepted (%.1f %%)\n", title, s->schemas, s->accepted,
           s->schemas > 0 ? 100.0 * (double)s->accepted / (double)s->schemas : 0);
    printf(
        "  verdicts: %zu right, %zu wrongly valid, %zu wrongly invalid, %zu where the source is unsure; %zu "
        "instances are no JSON here\n",
        s->right, s->wrong_accepts, s->wrong_refusals, s->soft, s->unjudged);
    print_times("compile", s->compile_us, s->n_compiles);
    print_times("check", s->check_us, s->n_checks);
    for (size_t i = 0; i < s->n_refusals; i++)
        printf("  refused %4zu  %s\n", sorted[i].count, sorted[i].keyword);
}

void suite_finish(struct suite *suite) {
    free(suite->compile_us);
    free(suite->check_us);
}
