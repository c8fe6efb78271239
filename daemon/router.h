/* Which handler a method and a path belong to. [any-thread] */
#ifndef DAEMON_ROUTER_H
#define DAEMON_ROUTER_H

#include "daemon/http.h"

#define ROUTER_PARAMS     4
#define ROUTER_ALLOW_SIZE 64

struct router_match {
    const struct http_route *route; /* NULL when none fits the method */
    int param_count;
    /* The parameter's name (`name_len` bytes, borrowed from the pattern) and its value in the path, as sent.
     */
    struct {
        const char *name;
        size_t name_len;
        const char *value;
        size_t value_len;
    } params[ROUTER_PARAMS];
    char allow[ROUTER_ALLOW_SIZE]; /* methods of this path, "GET, HEAD, POST"; "" when the path is unknown */
};

/* Fills `match`. HEAD finds the GET route. Patterns with more literal segments win. */
void router_find(const struct http_route *routes, size_t route_count, const char *method, const char *path,
                 struct router_match *match);

#endif
