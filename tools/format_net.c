#include "tools/format_net.h"

#include "tools/format_idn.h"

#include <string.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c) {
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool is_hex(char c) {
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* ---- addresses ---- */

bool format_is_ipv4(const char *text, size_t len) {
    size_t at = 0;
    for (int part = 0; part < 4; part++) {
        int value = 0;
        size_t start = at;
        for (; at < len && is_digit(text[at]) && at - start < 3; at++)
            value = value * 10 + (text[at] - '0');
        if (at == start || value > 255 || (text[start] == '0' && at - start > 1))
            return false;
        if (part < 3 && (at >= len || text[at++] != '.'))
            return false;
    }
    return at == len;
}

bool format_is_ipv6(const char *text, size_t len) {
    int groups = 0;
    bool gap = false;
    size_t at = 0;
    if (len >= 2 && text[0] == ':' && text[1] == ':') {
        gap = true;
        at = 2;
    }
    while (at < len) {
        size_t n = 0;
        while (n < 5 && is_hex(text[at + n])) /* the NUL ends it */
            n++;
        if (at + n < len && text[at + n] == '.' && format_is_ipv4(text + at, len - at)) {
            groups += 2;
            at = len;
            break;
        }
        if (n == 0 || n > 4)
            return false;
        groups++;
        at += n;
        if (at == len)
            break;
        if (text[at++] != ':' || at == len)
            return false;
        if (text[at] == ':') {
            if (gap)
                return false;
            gap = true;
            at++;
        }
    }
    return gap ? groups < 8 : groups == 8;
}

/* ---- names ---- */

/* Labels of letters, digits and inner dashes, 63 at most, 253 together. `other`: also characters beyond
 * ASCII. */
static bool is_host(const char *text, size_t len, bool other) {
    size_t label = 0;
    if (len == 0 || len > 253)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '.') {
            if (label == 0 || text[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        bool plain = is_alnum(text[i]) || (other && (unsigned char)text[i] >= 0x80);
        if (!plain && (text[i] != '-' || label == 0))
            return false;
        if (++label > 63)
            return false;
    }
    return label > 0 && text[len - 1] != '-';
}

/* Dashes in third and fourth place are kept for "xn--", behind which Punycode stands. */
static bool reserved_labels_fit(const char *text, size_t len) {
    for (size_t start = 0; start < len;) {
        size_t n = strcspn(text + start, ".");
        if (n >= 4 && text[start + 2] == '-' && text[start + 3] == '-' &&
            ((text[start] | 0x20) != 'x' || (text[start + 1] | 0x20) != 'n' ||
             !format_is_punycode(text + start + 4, n - 4)))
            return false;
        start += n + 1;
    }
    return true;
}

bool format_is_hostname(const char *text, size_t len) {
    return is_host(text, len, false) && reserved_labels_fit(text, len);
}

/* ---- mail ---- */

static bool is_atext(char c, bool other) {
    return is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL) ||
           (other && (unsigned char)c >= 0x80);
}

/* The length of a dot-string or a quoted string at the start, 0 for none. */
static size_t local_part(const char *text, size_t len, bool other) {
    size_t n = 0;
    if (text[0] != '"') {
        while (n < len && (is_atext(text[n], other) || (text[n] == '.' && n > 0 && text[n - 1] != '.')))
            n++;
        return n > 0 && text[n - 1] != '.' ? n : 0;
    }
    for (n = 1; n < len && text[n] != '"'; n++) {
        if (text[n] == '\\')
            n++;
        unsigned char c = (unsigned char)(n < len ? text[n] : '\0');
        if (c < ' ' || c == 0x7f || (c >= 0x80 && !other))
            return 0;
    }
    return n < len ? n + 1 : 0;
}

static bool is_mailbox(const char *text, size_t len, bool other) {
    char inner[64];
    size_t local = local_part(text, len, other);
    if (local == 0 || local > 64 || local >= len || text[local] != '@')
        return false;
    const char *domain = text + local + 1;
    size_t n = len - local - 1;
    if (n < 2 || domain[0] != '[')
        return is_host(domain, n, other);
    if (domain[n - 1] != ']' || n - 2 >= sizeof inner)
        return false;
    memcpy(inner, domain + 1, n - 2);
    inner[n - 2] = '\0';
    if (strncmp(inner, "IPv6:", 5) == 0)
        return format_is_ipv6(inner + 5, n - 7);
    return format_is_ipv4(inner, n - 2);
}

bool format_is_email(const char *text, size_t len) {
    return is_mailbox(text, len, false);
}

bool format_is_idn_email(const char *text, size_t len) {
    return is_mailbox(text, len, true);
}
