#include "plugins/clock_date.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Days before March-based year y of the 400-year cycle; with the year starting in March the leap day comes
 * last, so that no month needs a case of its own. 719468 days lie between 0000-03-01 and 1970-01-01. */
static long days_from_civil(long year, long month, long day) {
    long y = month > 2 ? year : year - 1;
    long m = month > 2 ? month - 3 : month + 9;
    return y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static int days_in_month(long year, long month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* The decimal digits text[0..n), or -1. */
static long digits_value(const char *text, int n) {
    long value = 0;
    for (int i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

int clock_parse_date(const char *text, long *day, char *err, size_t errlen) {
    long year = -1, month = -1, mday = -1;
    if (strlen(text) == 10 && text[4] == '-' && text[7] == '-') {
        year = digits_value(text, 4);
        month = digits_value(text + 5, 2);
        mday = digits_value(text + 8, 2);
    }
    if (year < 0 || month < 0 || mday < 0) {
        snprintf(err, errlen, "date must be YYYY-MM-DD, got '%.40s'", text);
        return -EINVAL;
    }
    if (year < 1 || month < 1 || month > 12 || mday < 1 || mday > days_in_month(year, month)) {
        snprintf(err, errlen, "%s is not a date", text);
        return -EINVAL;
    }
    *day = days_from_civil(year, month, mday);
    return 0;
}

void clock_format_date(long day, char *out) {
    /* The year is estimated from the mean length of 365.2425 days and then set right by at most one. */
    long year = (day + 719162L) * 10000 / 3652425 + 1;
    while (days_from_civil(year, 1, 1) > day)
        year--;
    while (days_from_civil(year + 1, 1, 1) <= day)
        year++;
    long month = 1, rest = day - days_from_civil(year, 1, 1);
    while (rest >= days_in_month(year, month))
        rest -= days_in_month(year, month++);
    char text[64];
    snprintf(text, sizeof text, "%04ld-%02ld-%02ld", year, month, rest + 1);
    memcpy(out, text, 10);
    out[10] = '\0';
}

const char *clock_weekday(long day) {
    static const char *const names[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                        "Friday", "Saturday", "Sunday"};
    return names[(day - CLOCK_DAY_MIN) % 7]; /* 0001-01-01 was a Monday */
}

int clock_parse_offset(const char *text, long *seconds, char *err, size_t errlen) {
    long hours = -1, minutes = -1;
    if (strcmp(text, "Z") == 0 || strcmp(text, "UTC") == 0) {
        *seconds = 0;
        return 0;
    }
    if (strlen(text) == 6 && (text[0] == '+' || text[0] == '-') && text[3] == ':') {
        hours = digits_value(text + 1, 2);
        minutes = digits_value(text + 4, 2);
    }
    if (hours < 0 || minutes < 0 || minutes > 59 || hours * 60 + minutes > 18 * 60) {
        snprintf(err, errlen, "utc_offset must look like +02:00, got '%.40s'", text);
        return -EINVAL;
    }
    *seconds = (hours * 60 + minutes) * (text[0] == '-' ? -60 : 60);
    return 0;
}

void clock_format_offset(long seconds, char *out) {
    long minutes = (seconds < 0 ? -seconds : seconds) / 60;
    char text[64];
    snprintf(text, sizeof text, "%c%02ld:%02ld", seconds < 0 ? '-' : '+', minutes / 60, minutes % 60);
    memcpy(out, text, 6);
    out[6] = '\0';
}
