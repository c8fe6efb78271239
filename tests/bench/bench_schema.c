/* How many published schemas compile, what is refused and why, whether every verdict is right, and how long
 * it takes.
 *
 *   bench_schema [--refused] [FOLDER]
 *
 * FOLDER (default ../shared/data) holds json-schema-suite/ and jsonschemabench/. --refused names every
 * refused schema. */
#include "tests/tools/schema_suite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static size_t wrong(const struct suite *s) {
    return s->wrong_accepts + s->wrong_refusals;
}

static size_t play_draft(const char *root, const char *draft_name, enum schema_draft draft,
                         FILE *refused_to) {
    struct suite suite = {.wrong = stdout, .refused_to = refused_to};
    char path[1000];
    snprintf(path, sizeof path, "%s/%s", root, draft_name);
    if (access(path, R_OK) != 0) {
        printf("%s is not there\n", path);
        return 0;
    }
    suite_folder(&suite, path, draft);
    suite_print(&suite, path);
    size_t bad = wrong(&suite);
    suite_finish(&suite);
    return bad;
}

int main(int argc, char **argv) {
    FILE *refused_to = argc > 1 && strcmp(argv[1], "--refused") == 0 ? stdout : NULL;
    const char *root = argc > 1 + (refused_to != NULL) ? argv[argc - 1] : "../shared/data";
    static const char debian[] = "/usr/share/json-schema-test-suite/tests";
    struct suite lines = {.wrong = stdout, .refused_to = refused_to};
    char path[1000], soft[1000];
    snprintf(path, sizeof path, "%s/json-schema-suite/tests", root);
    size_t bad = play_draft(path, "draft2020-12", SCHEMA_DRAFT_2020_12, refused_to) +
                 play_draft(path, "draft7", SCHEMA_DRAFT_07, refused_to) +
                 play_draft(debian, "draft2020-12", SCHEMA_DRAFT_2020_12, refused_to) +
                 play_draft(debian, "draft2019-09", SCHEMA_DRAFT_2019_09, refused_to) +
                 play_draft(debian, "draft7", SCHEMA_DRAFT_07, refused_to) +
                 play_draft(debian, "draft6", SCHEMA_DRAFT_06, refused_to) +
                 play_draft(debian, "draft4", SCHEMA_DRAFT_04, refused_to);
    snprintf(path, sizeof path, "%s/jsonschemabench/schemas.jsonl", root);
    snprintf(soft, sizeof soft, "%s/jsonschemabench/unconfirmed.json", root);
    if (access(path, R_OK) == 0) {
        suite_lines(&lines, path, soft);
        suite_print(&lines, path);
        bad += wrong(&lines);
    }
    suite_finish(&lines);
    return bad > 0;
}
