#include "tools/format.h"

#include "tools/format_net.h"
#include "tools/format_time.h"
#include "tools/regex.h"

#include <errno.h>
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
