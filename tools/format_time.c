#include "tools/format_time.h"

#include <string.h>

/* `n` digits as a number, -1 when they are not there. */
static int digits(const char *text, size_t n) {
    int value = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

bool format_is_date(const char *text, size_t len) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (len != 10 || text[4] != '-' || text[7] != '-')
        return false;
    int year = digits(text, 4), month = digits(text + 5, 2), day = digits(text + 8, 2);
    if (year < 0 || month < 1 || month > 12 || day < 1)
        return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return day <= days[month - 1] + (month == 2 && leap);
}

/* "Z" or "+hh:mm"; the minutes to UTC go to *offset. */
static bool is_offset(const char *text, size_t len, int *offset) {
    *offset = 0;
    if (len == 1)
        return (text[0] | 0x20) == 'z';
    if (len != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':')
        return false;
    int hours = digits(text + 1, 2), minutes = digits(text + 4, 2);
    *offset = (text[0] == '-' ? -1 : 1) * (hours * 60 + minutes);
    return hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60;
}

bool format_is_time(const char *text, size_t len) {
    int offset;
    size_t at = 8;
    if (len < 9 || text[2] != ':' || text[5] != ':')
        return false;
    int hour = digits(text, 2), minute = digits(text + 3, 2), second = digits(text + 6, 2);
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
        return false;
    if (text[at] == '.') {
        size_t n = strspn(text + at + 1, "0123456789");
        if (n == 0)
            return false;
        at += 1 + n;
    }
    if (!is_offset(text + at, len - at, &offset))
        return false;
    /* A leap second is the last of a day in UTC. */
    return second < 60 || (hour * 60 + minute - offset + 1440) % 1440 == 1439;
}

bool format_is_date_time(const char *text, size_t len) {
    return len > 11 && format_is_date(text, 10) && (text[10] | 0x20) == 't' &&
           format_is_time(text + 11, len - 11);
}

/* Numbers with units in the order of `units`, none left out between the first and the last ("1Y3D" is none,
 * as RFC 3339 has it). What stands behind, NULL when there is no such number. */
static const char *units_at(const char *at, const char *units) {
    const char *next = NULL;
    bool any = false;
    for (;;) {
        size_t n = strspn(at, "0123456789");
        if (n == 0 || at[n] == '\0')
            return any && n == 0 ? at : NULL;
        const char *unit = strchr(units, at[n]);
        if (unit == NULL || (next != NULL && unit != next))
            return NULL;
        next = unit + 1;
        any = true;
        at += n + 1;
    }
}

bool format_is_duration(const char *text, size_t len) {
    const char *at = text + 1;
    (void)len;
    if (text[0] != 'P')
        return false;
    if (*at != 'T' && strchr(at, 'W') != NULL) {
        size_t n = strspn(at, "0123456789");
        return n > 0 && strcmp(at + n, "W") == 0;
    }
    if (*at != 'T' && (at = units_at(at, "YMD")) == NULL)
        return false;
    if (*at == 'T' && (at = units_at(at + 1, "HMS")) == NULL)
        return false;
    return *at == '\0';
}
