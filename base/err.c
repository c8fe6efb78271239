#include "base/err.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(char *err, size_t errlen, int code, const char *fmt, ...) {
    if (err == NULL || errlen == 0)
        return code;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err, errlen, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n >= errlen) {
        /* Cut: drop a UTF-8 sequence that lost its tail, so that the text stays valid wherever it is quoted.
         */
        size_t end = errlen - 1;
        size_t lead = end;
        while (lead > 0 && ((unsigned char)err[lead - 1] & 0xC0) == 0x80)
            lead--;
        if (lead > 0 && lead - 1 + utf8_wanted((unsigned char)err[lead - 1]) > end)
            err[lead - 1] = '\0';
    }
    return code;
}
