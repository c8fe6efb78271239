/* What the journal costs: the time of one commit alone, and batches per second when many wait at once. */
#include "base/clock.h"
#include "daemon/journal.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ALONE 500
#define MANY  20000
#define WAITS 256 /* batches that are under way at once */

struct bench {
    struct journal *journal;
    int wake[2];
    int number, landed, failed;
};

static void wake(void *arg) {
    struct bench *b = arg;
    if (write(b->wake[1], "x", 1) != 1)
        return; /* full: a wake is in it already */
}

static void landed(void *arg, const struct journal_result *r) {
    struct bench *b = arg;
    b->landed++;
    b->failed += r->status != 0;
}

static void submit(struct bench *b) {
    char id[32];
    snprintf(id, sizeof id, "job_%d", b->number++);
    struct journal_batch *batch = journal_batch_create();
    if (batch == NULL)
        exit(1);
    journal_add_job(batch, &(struct journal_job){.id = id,
                                                 .title = "bench",
                                                 .request_json = "{\"input\": \"How much is 17 %?\"}"});
    journal_add_event(
        batch, &(struct journal_event){.job_id = id, .seq = 1, .type = "job.queued", .data = "{}", .len = 2});
    if (journal_submit(b->journal, batch, landed, b) != 0)
        exit(1);
}

static void wait_for(struct bench *b, int landed_in_all) {
    while (b->landed < landed_in_all) {
        struct pollfd fd = {.fd = b->wake[0], .events = POLLIN};
        char drop[256];
        if (poll(&fd, 1, -1) < 0)
            exit(1);
        while (read(b->wake[0], drop, sizeof drop) > 0) {
        }
        journal_dispatch(b->journal);
    }
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    struct bench b = {0};
    char folder[] = "bench-journal-XXXXXX", err[512] = "";
    double ms[ALONE];
    /* the folder is made where the disk to be measured is */
    if (argc > 2 || (argc == 2 && chdir(argv[1]) != 0) || mkdtemp(folder) == NULL ||
        pipe2(b.wake, O_CLOEXEC | O_NONBLOCK) != 0) {
        fprintf(stderr, "usage: bench_journal [FOLDER]\n");
        return 2;
    }
    struct journal_config config = {.state_dir = folder, .wake = wake, .wake_arg = &b};
    if (journal_open(&config, &b.journal, err, sizeof err) != 0) {
        fprintf(stderr, "%s\n", err);
        return 1;
    }
    for (int i = 0; i < ALONE; i++) {
        uint64_t start = clock_mono_ns();
        submit(&b);
        wait_for(&b, i + 1);
        ms[i] = (double)(clock_mono_ns() - start) / 1e6;
    }
    qsort(ms, ALONE, sizeof *ms, compare);
    printf("one commit at a time:   p50 %.2f ms, p99 %.2f ms, worst %.2f ms\n", ms[ALONE / 2],
           ms[ALONE * 99 / 100], ms[ALONE - 1]);
    uint64_t start = clock_mono_ns();
    for (int i = 0; i < MANY; i++) {
        if (i >= WAITS)
            wait_for(&b, ALONE + i - WAITS + 1);
        submit(&b);
    }
    wait_for(&b, ALONE + MANY);
    printf("%d waiting at once:    %.0f jobs accepted per second\n", WAITS,
           MANY / ((double)(clock_mono_ns() - start) / 1e9));
    journal_close(b.journal);
    char path[64];
    snprintf(path, sizeof path, "%s/hermesd.db", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/hermesd.lock", folder);
    unlink(path);
    rmdir(folder);
    return b.failed == 0 ? 0 : 1;
}
