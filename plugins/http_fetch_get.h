/* Fetches one page with libcurl. Only http and https, at most five redirects, no proxy, cookies, credentials
 * or netrc. Every address is judged right before it is connected to,
 * redirects included. The text is given as the server sent it, HTML with its tags;
 * ISO-8859-1 becomes UTF-8, other bytes that are not UTF-8 become U+FFFD. [any-thread] */
#ifndef PLUGINS_HTTP_FETCH_GET_H
#define PLUGINS_HTTP_FETCH_GET_H

#include "plugins/text.h"

#include <sys/socket.h>

#define HTTP_FETCH_BODY_MAX      (256 * 1024) /* bytes of a page that are told */
#define HTTP_FETCH_REDIRECTS_MAX 5
#define HTTP_FETCH_URL_MAX       4096

struct http_fetch_request {
    const char *url;
    bool (*may_connect)(
        const struct sockaddr *address); /* http_fetch_address_is_public, or NULL: any address */
    long timeout_ms;                     /* > 0, for all of it */
    bool (*stop)(void *arg);             /* asked about every second and whenever data moves */
    void *arg;
};

/* Appends {"status": 200, "body": "…"}, and "truncated": true when the page was longer. 0, -EACCES (private
 * address), -ETIMEDOUT, -ECANCELED, -EINVAL (URL), -EIO with a sentence for the model. */
int http_fetch_get(const struct http_fetch_request *request, struct text *out, char *err, size_t errlen);

#endif
