/* A small HTTP server on loopback, in a thread of the test: each connection gets the answer for its path and
 * is closed. */
#ifndef TESTS_PLUGINS_STUB_SERVER_H
#define TESTS_PLUGINS_STUB_SERVER_H

#include <stddef.h>

struct stub_server;

/* Listens on `host` ("127.0.0.1", "127.0.0.2", "::1") at a free port. NULL when that address cannot be had.
 */
struct stub_server *stub_server_start(const char *host);
void stub_server_stop(struct stub_server *server);
int stub_server_port(const struct stub_server *server);
/* Where /elsewhere redirects to; borrowed. */
void stub_server_set_elsewhere(struct stub_server *server, const char *url);
/* Connections taken so far. */
int stub_server_connections(const struct stub_server *server);

#endif
