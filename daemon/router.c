#include "daemon/router.h"

#include <stdio.h>
#include <string.h>

/* Number of literal segments, or -1 when the path does not fit the pattern. */
static int match_pattern(const char *pattern, const char *path, struct router_match *match) {
    int literals = 0;
    match->param_count = 0;
    while (*pattern == '/' && *path == '/') {
        pattern++;
        path++;
        size_t want = strcspn(pattern, "/");
        size_t have = strcspn(path, "/");
        if (want >= 2 && pattern[0] == '{' && pattern[want - 1] == '}') {
            if (have == 0 || match->param_count == ROUTER_PARAMS) {
                return -1;
            }
            int i = match->param_count++;
            match->params[i].name = pattern + 1;
            match->params[i].name_len = want - 2;
            match->params[i].value = path;
            match->params[i].value_len = have;
        } else if (want != have || memcmp(pattern, path, want) != 0) {
            return -1;
        } else {
            literals++;
        }
        pattern += want;
        path += have;
    }
    return *pattern == '\0' && *path == '\0' ? literals : -1;
}

static void allow_add(char *allow, const char *method) {
    size_t len = strlen(allow);
    if (strstr(allow, method) == NULL) {
        snprintf(allow + len, ROUTER_ALLOW_SIZE - len, "%s%s", len > 0 ? ", " : "", method);
    }
}

void router_find(const struct http_route *routes, size_t route_count, const char *method, const char *path,
                 struct router_match *match) {
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    int best = -1;
    memset(match, 0, sizeof *match);
    for (size_t i = 0; i < route_count; i++) {
        struct router_match one = {0};
        int literals = match_pattern(routes[i].pattern, path, &one);
        if (literals < 0) {
            continue;
        }
        allow_add(match->allow, routes[i].method);
        if (strcmp(routes[i].method, "GET") == 0) {
            allow_add(match->allow, "HEAD");
        }
        if (strcmp(routes[i].method, wanted) == 0 && literals > best) {
            best = literals;
            match->route = &routes[i];
            match->param_count = one.param_count;
            memcpy(match->params, one.params, sizeof one.params);
        }
    }
}
