#include "tools/schema_build.h"

#include <stdlib.h>
#include <string.h>

/* A URI in its parts, as RFC 3986 appendix B cuts it; the lengths count what separates them, too. */
struct uri {
    const char *scheme, *authority, *path, *query;
    size_t scheme_len, authority_len, path_len, query_len;
};

static struct uri cut(const char *text) {
    struct uri u = {.scheme = text};
    size_t n = strcspn(text, ":/?#");
    if (text[n] == ':' && n > 0)
        u.scheme_len = n + 1;
    u.authority = text + u.scheme_len;
    if (u.authority[0] == '/' && u.authority[1] == '/')
        u.authority_len = 2 + strcspn(u.authority + 2, "/?#");
    u.path = u.authority + u.authority_len;
    u.path_len = strcspn(u.path, "?#");
    u.query = u.path + u.path_len;
    u.query_len = strcspn(u.query, "#");
    return u;
}

/* Takes "." and ".." out of the path in place; its new length. */
static size_t remove_dots(char *path, size_t len) {
    size_t out = 0;
    for (size_t i = 0; i < len;) {
        size_t n = 1;
        while (i + n < len && path[i + n] != '/')
            n++;
        bool last = i + n == len;
        if (path[i] == '/' && n == 2 && path[i + 1] == '.') {
            if (last)
                path[out++] = '/';
        } else if (path[i] == '/' && n == 3 && path[i + 1] == '.' && path[i + 2] == '.') {
            while (out > 0 && path[--out] != '/')
                continue;
            if (last)
                path[out++] = '/';
        } else {
            memmove(path + out, path + i, n);
            out += n;
        }
        i += n;
    }
    return out;
}

static char *put(char *to, const char *from, size_t len) {
    memcpy(to, from, len);
    return to + len;
}

/* Where the reference's path begins in the base's: behind the last slash. */
static size_t directory(const struct uri *base) {
    size_t n = base->path_len;
    while (n > 0 && base->path[n - 1] != '/')
        n--;
    return n;
}

char *schema_uri_resolve(const char *base_text, const char *reference) {
    struct uri base = cut(base_text), r = cut(reference);
    char *out = malloc(strlen(base_text) + strlen(reference) + 2), *at = out;
    if (out == NULL)
        return NULL;
    if (r.scheme_len > 0)
        base = (struct uri){.scheme = base_text};
    at = r.scheme_len > 0 ? put(at, r.scheme, r.scheme_len) : put(at, base.scheme, base.scheme_len);
    bool own = r.scheme_len > 0 || r.authority_len > 0;
    at = own ? put(at, r.authority, r.authority_len) : put(at, base.authority, base.authority_len);
    char *path = at;
    if (own || (r.path_len > 0 && r.path[0] == '/')) {
        at = put(at, r.path, r.path_len);
    } else if (r.path_len > 0) {
        if (base.authority_len > 0 && base.path_len == 0)
            *at++ = '/';
        at = put(at, base.path, directory(&base));
        at = put(at, r.path, r.path_len);
    } else {
        at = put(at, base.path, base.path_len);
    }
    at = path + remove_dots(path, (size_t)(at - path));
    bool keep_query = !own && r.path_len == 0 && r.query_len == 0;
    at = keep_query ? put(at, base.query, base.query_len) : put(at, r.query, r.query_len);
    *at = '\0';
    return out;
}
