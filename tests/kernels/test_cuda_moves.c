/* Pages that move to host memory and back while nobody waits, of one GPU and of two that share them: whatever
 * order the queues run in, every page and every place has in the end what a program that does one thing after
 * the other leaves there. And each kind of wait between the queues is needed: the emulator sees when it is
 * left out. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/device.h"
#include "tests/emulator/emulator.h"
#include "tests/kernels/parity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGES 12 /* that move; as many more have content for them */

#define PLACES 32 /* each is written once */

/* What a page has, by the number of the content. */
struct contents {
    int pages[2 * PAGES], places[PLACES];
};

enum kind { WAIT_FULL, WAIT_EMPTY, WAIT_STORED, KINDS };

struct moves {
    struct kernels_device *d;
    int n_gpus;
    size_t bytes;
    uint8_t *host, *page; /* PLACES pages; one */
    struct contents want;
    enum kind kinds[16 * PLACES]; /* of the waits of a run */
    int n_waits;
};

static void fill(struct moves *m, int content) {
    for (size_t i = 0; i < m->bytes; i++)
        m->page[i] = (uint8_t)((size_t)content * 31 + i * (1 + (size_t)content % 3) + i / 256);
}

static void put(struct moves *m, int page, int content) {
    fill(m, content);
    assert_int_equal(m->d->ops->write_page(m->d, page, m->page), 0);
    m->want.pages[page] = content;
}

/* Whether the page has it. */
static bool has(struct moves *m, int page, int content) {
    uint8_t *got = malloc(m->bytes);
    assert_non_null(got);
    assert_int_equal(m->d->ops->read_page(m->d, page, got), 0);
    fill(m, content);
    bool same = memcmp(got, m->page, m->bytes) == 0;
    free(got);
    return same;
}

/* Every GPU waits for the one, where it does, and then for the other. */
static void note(struct moves *m, uint64_t before, enum kind first, enum kind second) {
    uint64_t n = (emu_event_waits() - before) / (uint64_t)m->n_gpus;
    for (uint64_t i = before; i < emu_event_waits(); i++)
        m->kinds[m->n_waits++] = (i - before) % n + 1 < n ? first : second;
}

static void store(struct moves *m, int page, int place) {
    uint64_t before = emu_event_waits();
    m->d->ops->store_page(m->d, page, m->host + (size_t)place * m->bytes);
    m->want.places[place] = m->want.pages[page];
    note(m, before, WAIT_EMPTY, WAIT_FULL);
}

static void fetch(struct moves *m, int page, int place) {
    uint64_t before = emu_event_waits();
    m->d->ops->fetch_page(m->d, page, m->host + (size_t)place * m->bytes);
    m->want.pages[page] = m->want.places[place];
    note(m, before, WAIT_STORED, WAIT_STORED);
}

static void copy(struct moves *m, int to, int from) {
    m->d->ops->copy_page(m->d, to, from);
    m->want.pages[to] = m->want.pages[from];
}

/* Moves as they come. */
static void move_at_random(struct moves *m, uint64_t seed) {
    uint64_t random = seed * 2 + 1;
    for (int next = PAGES; next < PLACES;) {
        int page = (int)(random_float(&random) * 500 + 500) % PAGES,
            what = (int)(random_float(&random) * 500 + 500) % 9;
        if (what == 0) /* one of the last ones */
            fetch(m, page, next - 1 - (int)(random_float(&random) * 500 + 500) % 6);
        else if (what < 5)
            store(m, page, next++);
        else
            copy(m, page, PAGES + (page * 5 + next) % PAGES);
    }
}

/* Those that went last come back, the one that went first of them first: nothing is there before it is waited
 * for. */
static void move_in_line(struct moves *m) {
    for (int i = PAGES; i < PLACES; i++) {
        store(m, i % PAGES, i);
        copy(m, i % PAGES, PAGES + i * 5 % PAGES);
    }
    for (int i = 0; i < CUDA_MOVE_SLOTS; i++)
        fetch(m, i, PLACES - CUDA_MOVE_SLOTS + i);
}

/* All pages out, other content in their place, then more of it. Whether all is as it should be then. */
static bool run(struct moves *m, uint64_t seed, bool in_line) {
    bool right = true;
    char err[300];
    m->n_waits = 0;
    for (int i = 0; i < 2 * PAGES; i++)
        put(m, i, (int)seed % 7 + i);
    for (int i = 0; i < PAGES; i++) {
        store(m, i, i);
        copy(m, i, PAGES + (i + 5) % PAGES);
    }
    if (in_line)
        move_in_line(m);
    else
        move_at_random(m, seed);
    int n_waits = m->n_waits;
    assert_int_equal(m->d->ops->sync(m->d, err, sizeof err), 0);
    for (int i = 0; i < PAGES; i++)
        right = has(m, i, m->want.pages[i]) && right;
    for (int i = 0; i < PLACES; i++) {
        fetch(m, 0, i);
        right = has(m, 0, m->want.places[i]) && right;
    }
    m->n_waits = n_waits;
    return right;
}

static void open_moves(struct moves *m, int n_gpus, struct kernels_model *model) {
    char err[300] = "";
    *m = (struct moves){.n_gpus = n_gpus};
    struct kernels_config config = parity_config(model, DTYPE_F16);
    config.gpus = (struct gpus){.n = n_gpus, .ids = {1, 0}};
    if (hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &m->d, err, sizeof err) < 0)
        fail_msg("%s", err);
    m->bytes = m->d->ops->page_bytes(m->d);
    m->page = malloc(m->bytes);
    m->host = m->d->ops->alloc_host(m->d, PLACES * m->bytes);
    assert_true(m->page != NULL && m->host != NULL);
}

static void close_moves(struct moves *m) {
    m->d->ops->free_host(m->d, m->host);
    m->d->ops->close(m->d);
    free(m->page);
    assert_int_equal(emu_memory_used(), 0);
}

static void make_model(struct kernels_model *model) {
    struct random_shape shape = {
        .n_layers = 1, .n_heads = 2, .n_kv_heads = 2, .head_dim = 8, .dim = 16, .ffn_dim = 16, .n_vocab = 20};
    random_model_init(model, &shape);
}

static void set_order(int order) {
    emu_set_order(order == 0 ? EMU_FORWARD : order == 1 ? EMU_BACKWARD : EMU_RANDOM, (uint64_t)order);
}

static void test_in_every_order(void **state) {
    (void)state;
    struct kernels_model model;
    struct moves m;
    make_model(&model);
    for (int i = 0; i < 16; i++) {
        set_order(i / 2);
        open_moves(&m, 1 + i % 2, &model);
        assert_true(run(&m, (uint64_t)i / 2, i / 2 % 4 == 2));
        close_moves(&m);
    }
    random_model_finish(&model);
}

static bool right_without(struct moves *m, int n_gpus, int order, int wait, struct kernels_model *model) {
    set_order(order);
    open_moves(m, n_gpus, model);
    emu_leave_out_wait(emu_event_waits() + (uint64_t)wait + 1);
    bool right = run(m, 1, true);
    emu_leave_out_wait(0);
    close_moves(m);
    return right;
}

/* Each wait of a run is left out once, in the order of things in which it is needed. */
static void check_waits(int n_gpus, struct kernels_model *model) {
    static const char *const names[KINDS] = {"for the slot to be full", "for it to be empty",
                                             "for the place to be written"};
    int all[KINDS] = {0}, seen[KINDS] = {0};
    struct moves m;
    open_moves(&m, n_gpus, model);
    assert_true(run(&m, 1, true));
    int n = m.n_waits;
    close_moves(&m);
    for (int k = 0; k < n; k++) {
        bool right = right_without(&m, n_gpus, 0, k, model) && right_without(&m, n_gpus, 1, k, model);
        all[m.kinds[k]]++;
        seen[m.kinds[k]] += !right;
    }
    for (int kind = 0; kind < KINDS; kind++) {
        print_message("%d GPUs: %d waits %s, %d were missed when they were left out\n", n_gpus, all[kind],
                      names[kind], seen[kind]);
        assert_true(all[kind] >= n_gpus * CUDA_MOVE_SLOTS && seen[kind] == all[kind]);
    }
}

static void test_every_wait_is_needed(void **state) {
    (void)state;
    struct kernels_model model;
    make_model(&model);
    check_waits(1, &model);
    check_waits(2, &model);
    random_model_finish(&model);
}

/* Slots are taken when memory is asked for; where a GPU has none for them there is none of it. */
static void test_no_room(void **state) {
    (void)state;
    struct kernels_model model;
    struct moves m;
    char err[300];
    make_model(&model);
    open_moves(&m, 2, &model);
    size_t with = emu_memory_used();
    m.d->ops->free_host(m.d, m.host);
    m.d->ops->close(m.d);
    struct kernels_config config = parity_config(&model, DTYPE_F16);
    config.gpus = (struct gpus){.n = 2, .ids = {1, 0}};
    assert_int_equal(hermesd_cuda_open(CUDA_MODULE_VERSION, &config, &m.d, err, sizeof err), 0);
    size_t without = emu_memory_used();
    assert_true(without < with);
    emu_set_memory(emu_memory_used_of(1) + m.bytes / 4); /* it has the tokens to choose: the other has room */
    assert_null(m.d->ops->alloc_host(m.d, m.bytes));
    assert_int_equal(emu_memory_used(), without);
    emu_set_memory((size_t)16 << 30);
    m.d->ops->close(m.d);
    free(m.page);
    assert_int_equal(emu_memory_used(), 0);
    random_model_finish(&model);
}

int main(void) {
    emu_set_gpus(2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_every_order),
        cmocka_unit_test(test_every_wait_is_needed),
        cmocka_unit_test(test_no_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
