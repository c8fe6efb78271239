#include "daemon/http_url.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int http_url_decode(const char *text, size_t len, bool plus_is_space, char *out) {
    size_t used = 0;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == '%') {
            int high = len - i > 2 ? hex_digit(text[i + 1]) : -1;
            int low = len - i > 2 ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0) {
                return -EINVAL;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        out[used++] = c;
    }
    out[used] = '\0';
    return 0;
}

bool http_url_valid(const char *text) {
    for (const char *p = text; (p = strchr(p, '%')) != NULL; p += 3) {
        if (hex_digit(p[1]) < 0 || hex_digit(p[2]) < 0 || (p[1] == '0' && p[2] == '0')) {
            return false;
        }
    }
    return true;
}

int http_url_split(char *target, char **path, char **query) {
    for (const char *p = target; *p != '\0'; p++) {
        if (*p <= ' ' || *p > '~') {
            return -EINVAL;
        }
    }
    char *start = target;
    if (strncasecmp(start, "http://", 7) == 0) {
        start = strchr(start + 7, '/');
    }
    if (start == NULL || *start != '/') {
        return -EINVAL;
    }
    char *mark = strchr(start, '#');
    if (mark != NULL) {
        *mark = '\0';
    }
    char *question = strchr(start, '?');
    if (question != NULL) {
        *question = '\0';
        *query = question + 1;
    } else {
        *query = start + strlen(start);
    }
    *path = start;
    return 0;
}

int http_url_query(const char *query, const char *name, char **value) {
    size_t name_len = strlen(name);
    const char *p = query;
    while (*p != '\0') {
        size_t len = strcspn(p, "&");
        const char *equals = memchr(p, '=', len);
        size_t key_len = equals != NULL ? (size_t)(equals - p) : len;
        if (key_len == name_len && memcmp(p, name, name_len) == 0) {
            size_t value_len = equals != NULL ? len - key_len - 1 : 0;
            char *out = malloc(value_len + 1);
            if (out == NULL) {
                return -ENOMEM;
            }
            int rc = http_url_decode(equals != NULL ? equals + 1 : "", value_len, true, out);
            if (rc != 0) {
                free(out);
                return rc;
            }
            *value = out;
            return 0;
        }
        p += len;
        p += *p == '&';
    }
    return -ENOENT;
}
