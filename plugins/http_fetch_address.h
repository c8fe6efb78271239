/* Which network addresses are public. Judged on the address that is about to be connected to, after name
 * resolution, so that no spelling of a host and no name that resolves inwards gets past. Ranges: the IANA
 * special-purpose registries for IPv4 and IPv6 (https://www.iana.org/assignments/iana-ipv4-special-registry,
 * …/iana-ipv6-special-registry). [any-thread] */
#ifndef PLUGINS_HTTP_FETCH_ADDRESS_H
#define PLUGINS_HTTP_FETCH_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* False for loopback, private, shared, link-local, unique-local, multicast, mapped, documentation, reserved
 * and non-IP addresses. */
bool http_fetch_address_is_public(const struct sockaddr *address);

#endif
