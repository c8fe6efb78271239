#include "plugins/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_init(struct text *t, size_t max) {
    *t = (struct text){.max = max};
}

void text_finish(struct text *t) {
    free(t->data);
    *t = (struct text){0};
}

int text_add(struct text *t, const char *bytes, size_t len) {
    if (t->status != 0)
        return t->status;
    if (len > t->max - t->len)
        return t->status = -ENOBUFS;
    if (t->len + len + 1 > t->cap) {
        size_t cap = t->cap < 256 ? 256 : t->cap;
        while (cap < t->len + len + 1)
            cap *= 2;
        char *data = realloc(t->data, cap);
        if (data == NULL)
            return t->status = -ENOMEM;
        t->data = data;
        t->cap = cap;
    }
    if (len > 0)
        memcpy(t->data + t->len, bytes, len);
    t->len += len;
    t->data[t->len] = '\0';
    return 0;
}

int text_put(struct text *t, const char *string) {
    return text_add(t, string, strlen(string));
}

int text_format(struct text *t, const char *format, ...) {
    char small[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof small)
        return t->status = t->status != 0 ? t->status : -ENOBUFS;
    return text_add(t, small, (size_t)len);
}

size_t text_utf8_length(const unsigned char *bytes, size_t len) {
    unsigned char first = bytes[0], low = 0x80, high = 0xBF;
    size_t need;
    if (first < 0x80)
        return 1;
    if (first >= 0xC2 && first <= 0xDF)
        need = 2;
    else if (first >= 0xE0 && first <= 0xEF)
        need = 3;
    else if (first >= 0xF0 && first <= 0xF4)
        need = 4;
    else
        return 0;
    if (first == 0xE0)
        low = 0xA0;
    else if (first == 0xED)
        high = 0x9F;
    else if (first == 0xF0)
        low = 0x90;
    else if (first == 0xF4)
        high = 0x8F;
    if (len < need || bytes[1] < low || bytes[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++)
        if ((bytes[i] & 0xC0) != 0x80)
            return 0;
    return need;
}

bool text_is_utf8(const char *bytes, size_t len) {
    for (size_t i = 0; i < len;) {
        size_t n = text_utf8_length((const unsigned char *)bytes + i, len - i);
        if (n == 0 || bytes[i] == '\0')
            return false;
        i += n;
    }
    return true;
}

size_t text_cut(const char *bytes, size_t len, size_t max) {
    if (len <= max)
        return len;
    while (max > 0 && (bytes[max] & 0xC0) == 0x80)
        max--;
    return max;
}

int text_quote(struct text *t, const char *bytes, size_t len) {
    text_add(t, "\"", 1);
    for (size_t i = 0; i < len && t->status == 0;) {
        size_t n = text_utf8_length((const unsigned char *)bytes + i, len - i);
        unsigned char c = (unsigned char)bytes[i];
        if (n == 0 || c == 0)
            text_put(t, "\xEF\xBF\xBD");
        else if (c == '"' || c == '\\')
            text_format(t, "\\%c", c);
        else if (c == '\n' || c == '\r' || c == '\t')
            text_put(t, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else if (c < 0x20)
            text_format(t, "\\u%04x", c);
        else
            text_add(t, bytes + i, n);
        i += n == 0 ? 1 : n;
    }
    return text_add(t, "\"", 1);
}
