#include "tools/format.h"

#include "base/json.h"
#include "tools/format_net.h"
#include "tools/format_time.h"
#include "tools/regex.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_hex(char c) {
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* ---- the short ones ---- */

static bool matches_uuid(const char *text, size_t len) {
    for (size_t i = 0; i < len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !is_hex(text[i]))
            return false;
    }
    return len == 36;
}

/* ("/" token)*; a token has ~ only in ~0 and ~1. */
static bool matches_json_pointer(const char *text, size_t len) {
    if (len > 0 && text[0] != '/')
        return false;
    for (size_t i = 0; i < len; i++)
        if (text[i] == '~' && (i + 1 == len || (text[i + 1] != '0' && text[i + 1] != '1')))
            return false;
    return true;
}

/* A whole number, then a JSON pointer or "#". */
static bool matches_relative_pointer(const char *text, size_t len) {
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || (text[0] == '0' && digits > 1))
        return false;
    return strcmp(text + digits, "#") == 0 || matches_json_pointer(text + digits, len - digits);
}

static bool matches_regex(const char *text, size_t len) {
    struct regex *regex = NULL;
    char why[8];
    (void)len;
    int rc = regex_compile(text, &regex, why, sizeof why);
    regex_destroy(regex);
    return rc != -EINVAL;
}

/* ---- RFC 6570 ---- */

/* "%41" or a letter, a digit, _. The length, 0 for none. */
static size_t varchar(const char *text) {
    if (text[0] == '%')
        return is_hex(text[1]) && is_hex(text[2]) ? 3 : 0;
    char lower = (char)(text[0] | 0x20);
    return text[0] == '_' || is_digit(text[0]) || (lower >= 'a' && lower <= 'z');
}

/* name, then ":" and up to four digits, or "*". NULL when it is none. */
static const char *varspec(const char *at) {
    size_t n = varchar(at);
    if (n == 0)
        return NULL;
    while (n > 0) {
        at += n;
        n = varchar(at + (*at == '.')) > 0 ? varchar(at + (*at == '.')) + (*at == '.') : 0;
    }
    if (*at == '*')
        return at + 1;
    if (*at == ':') {
        size_t digits = strspn(at + 1, "0123456789");
        return digits > 0 && digits < 5 && at[1] != '0' ? at + 1 + digits : NULL;
    }
    return at;
}

static bool matches_uri_template(const char *text, size_t len) {
    const char *at = text;
    (void)len;
    while (*at != '\0') {
        if (*at == '%' && (!is_hex(at[1]) || !is_hex(at[2])))
            return false;
        if ((unsigned char)*at <= ' ' || strchr("\"'<>\\^`|}\x7f", *at) != NULL)
            return false;
        if (*at++ != '{')
            continue;
        if (*at != '\0' && strchr("+#./;?&=,!@|", *at) != NULL)
            at++;
        do {
            at = varspec(at);
        } while (at != NULL && *at == ',' && *++at != '\0');
        if (at == NULL || *at++ != '}')
            return false;
    }
    return true;
}

/* ---- contentEncoding, contentMediaType ---- */

static int base64_digit(char c) {
    char lower = (char)(c | 0x20);
    return c >= 'A' && c <= 'Z'           ? c - 'A'
           : lower >= 'a' && lower <= 'z' ? c - 'a' + 26
           : is_digit(c)                  ? c - '0' + 52
           : c == '+'                     ? 62
           : c == '/'                     ? 63
                                          : -1;
}

/* The bytes go to `out` (room for len) where that is not NULL. Their number, -1 for what is no base64. */
static long base64_decode(const char *text, size_t len, char *out) {
    size_t n = len;
    long bytes = 0;
    unsigned bits = 0;
    while (n > 0 && len - n < 2 && text[n - 1] == '=')
        n--;
    if (len % 4 != 0 || n % 4 == 1)
        return -1;
    for (size_t i = 0; i < n; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0)
            return -1;
        bits = (bits << 6 | (unsigned)digit) & 0xffffff;
        if (i % 4 == 0)
            continue;
        if (out != NULL)
            out[bytes] = (char)(bits >> (6 - 2 * (i % 4)));
        bytes++;
    }
    return bytes;
}

static bool matches_base64(const char *text, size_t len) {
    return base64_decode(text, len, NULL) >= 0;
}

static bool matches_json(const char *text, size_t len) {
    static const struct json_limits limits = {
        .max_bytes = 1u << 20, .max_nodes = 100000, .max_depth = 64, .any_number = true};
    return json_check(text, len, &limits, NULL, 0) == 0;
}

/* Without memory it is none, which is the safe side. */
static bool matches_base64_json(const char *text, size_t len) {
    char *decoded = malloc(len + 1);
    long n = decoded != NULL ? base64_decode(text, len, decoded) : -1;
    bool matches = n >= 0 && matches_json(decoded, (size_t)n);
    free(decoded);
    return matches;
}

/* ---- the table ---- */

static bool never(const char *text, size_t len) {
    (void)text, (void)len;
    return false;
}

static const struct {
    const char *name;
    bool (*matches)(const char *text, size_t len);
} formats[] = {
    [FORMAT_DATE] = {"date", format_is_date},
    [FORMAT_TIME] = {"time", format_is_time},
    [FORMAT_DATE_TIME] = {"date-time", format_is_date_time},
    [FORMAT_DURATION] = {"duration", format_is_duration},
    [FORMAT_UUID] = {"uuid", matches_uuid},
    [FORMAT_EMAIL] = {"email", format_is_email},
    [FORMAT_IDN_EMAIL] = {"idn-email", format_is_idn_email},
    [FORMAT_HOSTNAME] = {"hostname", format_is_hostname},
    [FORMAT_IPV4] = {"ipv4", format_is_ipv4},
    [FORMAT_IPV6] = {"ipv6", format_is_ipv6},
    [FORMAT_URI] = {"uri", format_is_uri},
    [FORMAT_URI_REFERENCE] = {"uri-reference", format_is_uri_reference},
    [FORMAT_IRI] = {"iri", format_is_iri},
    [FORMAT_IRI_REFERENCE] = {"iri-reference", format_is_iri_reference},
    [FORMAT_URI_TEMPLATE] = {"uri-template", matches_uri_template},
    [FORMAT_JSON_POINTER] = {"json-pointer", matches_json_pointer},
    [FORMAT_RELATIVE_JSON_POINTER] = {"relative-json-pointer", matches_relative_pointer},
    [FORMAT_REGEX] = {"regex", matches_regex},
    [FORMAT_UNSUPPORTED] = {"idn-hostname", never},
    [FORMAT_BASE64] = {NULL, matches_base64},
    [FORMAT_JSON] = {NULL, matches_json},
    [FORMAT_BASE64_JSON] = {NULL, matches_base64_json},
};
#define FORMATS (sizeof formats / sizeof formats[0])

enum format format_named(const char *name) {
    for (size_t i = 0; i < FORMATS; i++)
        if (formats[i].name != NULL && strcmp(formats[i].name, name) == 0)
            return (enum format)i;
    return FORMAT_NONE;
}

const char *format_name(enum format format) {
    return formats[format].name != NULL ? formats[format].name : "";
}

bool format_matches(enum format format, const char *text, size_t len) {
    return formats[format].matches == NULL || formats[format].matches(text, len);
}
