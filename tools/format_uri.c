#include "tools/format_net.h"

#include <string.h>

/* The part of a URI that is being looked at. */
struct part {
    const char *at;
    size_t len;
    bool other; /* characters beyond ASCII are allowed (an IRI) */
};

static bool is_alpha(char c) {
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_hex(char c) {
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* Every character is unreserved, a sub-delimiter, an escape, or one of `also`. */
static bool consists_of(struct part p, const char *also) {
    for (size_t i = 0; i < p.len; i++) {
        char c = p.at[i];
        if (c == '%') {
            if (i + 2 >= p.len || !is_hex(p.at[i + 1]) || !is_hex(p.at[i + 2]))
                return false;
            i += 2;
        } else if (!is_alpha(c) && !is_digit(c) && strchr("-._~!$&'()*+,;=", c) == NULL &&
                   strchr(also, c) == NULL && !(p.other && (unsigned char)c >= 0x80)) {
            return false;
        }
    }
    return true;
}

/* "[…]": an IPv6 address, or "v1.…". */
static bool is_literal(struct part p) {
    char inner[64];
    if (p.len < 4 || p.at[p.len - 1] != ']' || p.len - 2 >= sizeof inner)
        return false;
    memcpy(inner, p.at + 1, p.len - 2);
    inner[p.len - 2] = '\0';
    if ((inner[0] | 0x20) != 'v')
        return format_is_ipv6(inner, p.len - 2);
    size_t n = 1;
    while (is_hex(inner[n]))
        n++;
    struct part rest = {inner + n + 1, inner[n] == '.' ? strlen(inner + n + 1) : 0, false};
    return n > 1 && rest.len > 0 && strchr(inner, '%') == NULL && consists_of(rest, ":");
}

/* [ user "@" ] host [ ":" port ] */
static bool is_authority(struct part p) {
    const char *at_sign = memchr(p.at, '@', p.len);
    if (at_sign != NULL) {
        struct part user = {p.at, (size_t)(at_sign - p.at), p.other};
        if (!consists_of(user, ":"))
            return false;
        p.len -= user.len + 1;
        p.at = at_sign + 1;
    }
    size_t digits = 0;
    while (digits < p.len && is_digit(p.at[p.len - 1 - digits]))
        digits++;
    if (digits < p.len && p.at[p.len - 1 - digits] == ':')
        p.len -= digits + 1;
    if (p.len > 0 && p.at[0] == '[')
        return is_literal(p);
    return consists_of(p, "");
}

static size_t scheme_length(const char *text, size_t len) {
    size_t n = 0;
    while (n < len && (is_alpha(text[n]) || (n > 0 && (is_digit(text[n]) || strchr("+-.", text[n]) != NULL))))
        n++;
    return n > 0 && n < len && text[n] == ':' ? n : 0;
}

static bool matches(const char *text, size_t len, bool relative, bool other) {
    size_t scheme = scheme_length(text, len);
    if (scheme == 0 && !relative)
        return false;
    struct part p = {text, len, other};
    if (scheme > 0) {
        p.at += scheme + 1;
        p.len -= scheme + 1;
    }
    size_t path = strcspn(p.at, "?#");
    if (p.len >= 2 && p.at[0] == '/' && p.at[1] == '/') {
        size_t n = strcspn(p.at + 2, "/?#");
        if (!is_authority((struct part){p.at + 2, n, other}))
            return false;
        p.at += 2 + n;
        p.len -= 2 + n;
        path -= 2 + n;
    } else if (scheme == 0 && memchr(p.at, ':', strcspn(p.at, "/?#")) != NULL) {
        return false; /* the first segment would read as a scheme */
    }
    if (!consists_of((struct part){p.at, path, other}, ":@/"))
        return false;
    const char *fragment = strchr(p.at, '#');
    size_t query = (fragment != NULL ? (size_t)(fragment - p.at) : p.len) - path;
    if (query > 0 && !consists_of((struct part){p.at + path + 1, query - 1, other}, ":@/?"))
        return false;
    return fragment == NULL || consists_of((struct part){fragment + 1, strlen(fragment + 1), other}, ":@/?");
}

bool format_is_uri(const char *text, size_t len) {
    return matches(text, len, false, false);
}

bool format_is_uri_reference(const char *text, size_t len) {
    return matches(text, len, true, false);
}

bool format_is_iri(const char *text, size_t len) {
    return matches(text, len, false, true);
}

bool format_is_iri_reference(const char *text, size_t len) {
    return matches(text, len, true, true);
}
