#include "tests/plugins/stub_server.h"

#include <netinet/in.h>
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct stub_server {
    int listener, stop[2], port;
    atomic_int connections;
    const char *elsewhere;
    pthread_t thread;
};

static void send_all(int fd, const char *data, size_t len) {
    while (len > 0) {
        ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        data += sent;
        len -= (size_t)sent;
    }
}

static void send_page(int fd, const char *head, const char *body, size_t len) {
    char text[512];
    int n = snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                     head, len);
    send_all(fd, text, (size_t)n);
    send_all(fd, body, len);
}

static void send_redirect(int fd, const char *to) {
    char head[512];
    snprintf(head, sizeof head, "302 Found\r\nSet-Cookie: taste=sweet\r\nLocation: %s", to);
    send_page(fd, head, "moved", 5);
}

static void send_huge(int fd) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n";
    char block[8193];
    for (size_t i = 0; i + 3 <= sizeof block; i += 3)
        memcpy(block + i, "\xE2\x82\xAC", 3); /* three bytes to a character: the ceiling falls inside one */
    send_all(fd, head, sizeof head - 1);
    for (int i = 0; i < 256; i++)
        send_all(fd, block, sizeof block);
}

/* A head and then silence, until the client gives up or the server is stopped. */
static void send_slow(struct stub_server *s, int fd) {
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin";
    send_all(fd, head, sizeof head - 1);
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = s->stop[0], .events = POLLIN}};
    (void)poll(fds, 2, -1);
}

static void answer(struct stub_server *s, int fd) {
    char request[4096], path[256] = "";
    size_t n = 0;
    ssize_t got;
    while (n + 1 < sizeof request && (got = recv(fd, request + n, sizeof request - 1 - n, 0)) > 0) {
        n += (size_t)got;
        request[n] = '\0';
        if (strstr(request, "\r\n\r\n") != NULL)
            break;
    }
    request[n] = '\0';
    (void)sscanf(request, "GET %255s", path);
    if (strcmp(path, "/hello") == 0)
        send_page(fd, "200 OK\r\nContent-Type: text/plain; charset=utf-8", "Hello, \"hermesd\"\n", 17);
    else if (strcmp(path, "/html") == 0)
        send_page(fd, "200 OK\r\nContent-Type: text/html", "<p>One</p>", 10);
    else if (strcmp(path, "/latin1") == 0)
        send_page(fd, "200 OK\r\nContent-Type: text/html; charset=ISO-8859-1", "caf\xE9", 4);
    else if (strcmp(path, "/broken") == 0)
        send_page(fd, "200 OK\r\nContent-Type: text/plain",
                  "a\xFF"
                  "b",
                  3);
    else if (strcmp(path, "/png") == 0)
        send_page(fd, "200 OK\r\nContent-Type: image/png", "\x89PNG", 4);
    else if (strcmp(path, "/zero") == 0)
        send_page(fd, "200 OK\r\nContent-Type: text/plain", "a\0b", 3);
    else if (strcmp(path, "/empty") == 0)
        send_page(fd, "204 No Content", "", 0);
    else if (strcmp(path, "/echo") == 0)
        send_page(fd, "200 OK\r\nContent-Type: text/plain", request, n);
    else if (strcmp(path, "/elsewhere") == 0)
        send_redirect(fd, s->elsewhere);
    else if (strcmp(path, "/cookie") == 0)
        send_redirect(fd, "/echo");
    else if (strcmp(path, "/loop") == 0)
        send_redirect(fd, "/loop");
    else if (strcmp(path, "/huge") == 0)
        send_huge(fd);
    else if (strcmp(path, "/slow") == 0)
        send_slow(s, fd);
    else
        send_page(fd, "404 Not Found\r\nContent-Type: text/plain", "gone", 4);
}

static void *serve(void *arg) {
    struct stub_server *s = arg;
    for (;;) {
        struct pollfd fds[] = {{.fd = s->listener, .events = POLLIN}, {.fd = s->stop[0], .events = POLLIN}};
        if (poll(fds, 2, -1) < 0 || fds[1].revents != 0)
            return NULL;
        int fd = accept(s->listener, NULL, NULL);
        if (fd < 0)
            continue;
        atomic_fetch_add(&s->connections, 1);
        answer(s, fd);
        shutdown(fd, SHUT_WR);
        close(fd);
    }
}

static int listen_on(const char *host, int *port) {
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    int family = inet_pton(AF_INET, host, &in.sin_addr) == 1 ? AF_INET : AF_INET6;
    struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&in : (struct sockaddr *)&in6;
    socklen_t len = family == AF_INET ? sizeof in : sizeof in6;
    if (family == AF_INET6 && inet_pton(AF_INET6, host, &in6.sin6_addr) != 1)
        return -1;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 &&
        (bind(fd, address, len) != 0 || listen(fd, 16) != 0 || getsockname(fd, address, &len) != 0)) {
        close(fd);
        fd = -1;
    }
    *port = ntohs(family == AF_INET ? in.sin_port : in6.sin6_port);
    return fd;
}

struct stub_server *stub_server_start(const char *host) {
    struct stub_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->listener = listen_on(host, &s->port);
    s->elsewhere = "/hello";
    if (s->listener < 0) {
        free(s);
        return NULL;
    }
    if (pipe(s->stop) != 0 || pthread_create(&s->thread, NULL, serve, s) != 0)
        abort();
    return s;
}

void stub_server_stop(struct stub_server *s) {
    if (s == NULL)
        return;
    close(s->stop[1]);
    pthread_join(s->thread, NULL);
    close(s->stop[0]);
    close(s->listener);
    free(s);
}

int stub_server_port(const struct stub_server *s) {
    return s->port;
}

void stub_server_set_elsewhere(struct stub_server *s, const char *url) {
    s->elsewhere = url;
}

int stub_server_connections(const struct stub_server *s) {
    return s->connections;
}
