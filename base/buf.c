#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t max) {
    *b = (struct buf){.max = max};
}

void buf_finish(struct buf *b) {
    free(b->data);
    *b = (struct buf){.max = b->max};
}

void buf_clear(struct buf *b) {
    b->len = 0;
    if (b->data != NULL)
        b->data[0] = '\0';
}

int buf_reserve(struct buf *b, size_t n, char **at) {
    if (n > b->max || b->len > b->max - n)
        return -ENOBUFS;
    size_t need = b->len + n + 1;
    if (need > b->cap) {
        size_t cap = b->cap < 64 ? 64 : b->cap;
        while (cap < need)
            cap = cap > (size_t)-1 / 2 ? need : cap * 2;
        char *data = realloc(b->data, cap);
        if (data == NULL)
            return -ENOMEM;
        b->data = data;
        b->cap = cap;
    }
    *at = b->data + b->len;
    return 0;
}

void buf_commit(struct buf *b, size_t n) {
    b->len += n;
    b->data[b->len] = '\0';
}

int buf_append(struct buf *b, const void *bytes, size_t n) {
    char *at;
    int rc = buf_reserve(b, n, &at);
    if (rc < 0)
        return rc;
    if (n > 0)
        memcpy(at, bytes, n);
    buf_commit(b, n);
    return 0;
}

int buf_puts(struct buf *b, const char *text) {
    return buf_append(b, text, strlen(text));
}

int buf_putc(struct buf *b, char c) {
    return buf_append(b, &c, 1);
}

int buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *at;
    int rc = n < 0 ? -EINVAL : buf_reserve(b, (size_t)n, &at);
    if (rc == 0) {
        vsnprintf(at, (size_t)n + 1, fmt, again);
        buf_commit(b, (size_t)n);
    }
    va_end(again);
    return rc;
}

int buf_read_to_end(struct buf *b, FILE *in) {
    char block[4096];
    size_t n;
    while ((n = fread(block, 1, sizeof block, in)) > 0) {
        int rc = buf_append(b, block, n);
        if (rc < 0)
            return rc;
    }
    return ferror(in) ? -EIO : 0;
}

void buf_consume(struct buf *b, size_t n) {
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
    b->data[b->len] = '\0';
}

char *buf_take(struct buf *b, size_t *len) {
    char *data = b->data != NULL ? b->data : calloc(1, 1);
    if (len != NULL)
        *len = b->len;
    *b = (struct buf){.max = b->max};
    return data;
}
