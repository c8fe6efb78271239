#include "daemon/tool_times.h"

#include <stdlib.h>
#include <string.h>

#define KEPT      64
#define TOOLS_MAX 1024

struct times {
    char *tool;
    float ms[KEPT]; /* a ring */
    int n, next;
};

struct tool_times {
    struct times *tools;
    int n_tools;
};

struct tool_times *tool_times_create(void) {
    return calloc(1, sizeof(struct tool_times));
}

void tool_times_destroy(struct tool_times *t) {
    if (t == NULL) {
        return;
    }
    for (int i = 0; i < t->n_tools; i++) {
        free(t->tools[i].tool);
    }
    free(t->tools);
    free(t);
}

static struct times *find(const struct tool_times *t, const char *tool) {
    for (int i = 0; i < t->n_tools; i++) {
        if (strcmp(t->tools[i].tool, tool) == 0) {
            return &t->tools[i];
        }
    }
    return NULL;
}

static struct times *add_tool(struct tool_times *t, const char *tool) {
    if (t->n_tools == TOOLS_MAX) {
        return NULL;
    }
    struct times *grown = realloc(t->tools, ((size_t)t->n_tools + 1) * sizeof *grown);
    char *name = grown != NULL ? strdup(tool) : NULL;
    if (grown != NULL) {
        t->tools = grown;
    }
    if (name == NULL) {
        return NULL;
    }
    t->tools[t->n_tools] = (struct times){.tool = name};
    return &t->tools[t->n_tools++];
}

void tool_times_add(struct tool_times *t, const char *tool, double ms) {
    struct times *times = find(t, tool);
    times = times != NULL ? times : add_tool(t, tool);
    if (times == NULL || !(ms >= 0)) {
        return;
    }
    times->ms[times->next] = (float)ms;
    times->next = (times->next + 1) % KEPT;
    times->n += times->n < KEPT;
}

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

double tool_times_expect(const struct tool_times *t, const char *tool) {
    const struct times *times = find(t, tool);
    if (times == NULL || times->n == 0) {
        return TOOL_TIMES_UNKNOWN_MS;
    }
    float sorted[KEPT];
    memcpy(sorted, times->ms, (size_t)times->n * sizeof *sorted);
    qsort(sorted, (size_t)times->n, sizeof *sorted, compare);
    double ms = sorted[(times->n * 95 + 99) / 100 - 1];
    ms = ms > TOOL_TIMES_LEAST_MS ? ms : TOOL_TIMES_LEAST_MS;
    return ms < TOOL_TIMES_MOST_MS ? ms : TOOL_TIMES_MOST_MS;
}
