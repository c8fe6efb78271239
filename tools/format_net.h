/* Names and addresses of the net, as `format` checks them. The text is NUL-terminated. [any-thread] */
#ifndef TOOLS_FORMAT_NET_H
#define TOOLS_FORMAT_NET_H

#include <stdbool.h>
#include <stddef.h>

bool format_is_email(const char *text, size_t len);
bool format_is_idn_email(const char *text, size_t len);
bool format_is_hostname(const char *text, size_t len);
bool format_is_ipv4(const char *text, size_t len);
bool format_is_ipv6(const char *text, size_t len);

/* RFC 3986 and 3987 (format_uri.c): with a scheme, or also without; ASCII only, or also other characters. */
bool format_is_uri(const char *text, size_t len);
bool format_is_uri_reference(const char *text, size_t len);
bool format_is_iri(const char *text, size_t len);
bool format_is_iri_reference(const char *text, size_t len);

#endif
