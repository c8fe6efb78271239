#include "base/clock.h"

#include <stdio.h>
#include <time.h>

uint64_t clock_mono_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int64_t clock_wall_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + (int64_t)ts.tv_nsec;
}

void clock_format(int64_t wall_ns, char text[CLOCK_TEXT_SIZE]) {
    int64_t ns = wall_ns % 1000000000;
    time_t seconds = (time_t)(wall_ns / 1000000000);
    if (ns < 0) {
        ns += 1000000000;
        seconds--;
    }
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char date[CLOCK_TEXT_SIZE];
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text, CLOCK_TEXT_SIZE, "%.19s.%03dZ", date, (int)(ns / 1000000));
}
