/* Whose tokens run in the next step. */
#include "engine/local.h"

#include "base/clock.h"

#include <string.h>

static void bury(struct local_engine *e) {
    struct local_session **link = &e->sessions;
    while (*link != NULL) {
        struct local_session *s = *link;
        if (s->dead) {
            *link = s->next;
            hold_release(e, s, ENGINE_MISS_EVICTED);
            local_session_free(s);
        } else {
            link = &s->next;
        }
    }
}

static void add_rows(struct local_engine *e, struct local_session *s, int n) {
    struct step *step = &e->step;
    n = hold_reserve(e, s, n);
    if (n <= 0)
        return;
    int32_t *table = step->tables + (size_t)step->n_tables * (size_t)step->tables_stride;
    memcpy(table, s->pages, (size_t)s->n_pages * sizeof *table);
    for (int i = 0; i < n; i++)
        step->rows[step->n_rows++] = (struct kernels_row){
            .token = s->tokens[s->n_computed + i], .position = s->n_computed + i, .table = step->n_tables};
    step->owners[step->n_tables++] = s;
    s->n_rows = n;
    if (s->gen.running && s->n_computed + n == s->n_tokens) {
        step->samples[step->n_samples++] = s;
        s->output = step->n_outputs;
        step->outputs[step->n_outputs++] = step->n_rows - 1;
    }
    if (s->gen.running && s->gen.started_ns == 0)
        s->gen.started_ns = clock_mono_ns();
}

static bool decodes(const struct local_session *s) {
    return s->gen.running && s->n_tokens - s->n_computed == 1 && s->n_tokens > s->gen.first;
}

/* Has tokens that were forced, or replaced. */
static bool continues(const struct local_session *s) {
    return s->gen.running && s->n_tokens > s->gen.first && s->n_computed >= s->gen.first &&
           s->n_computed < s->n_tokens;
}

/* ---- whose turn it is ---- */

bool plan_before(const struct local_session *a, const struct local_session *b) {
    return a->about.priority != b->about.priority ? a->about.priority > b->about.priority
                                                  : a->order < b->order;
}

static bool has_sessions(const struct local_engine *e, int64_t client) {
    const struct local_session *s = e->sessions;
    while (s != NULL && s->about.client != client)
        s = s->next;
    return s != NULL;
}

/* The client's account; there are at most as many with sessions as there can be sessions. */
static struct local_client *client_of(struct local_engine *e, int64_t id) {
    struct local_client *c = e->clients, *end = c + e->n_clients;
    while (c < end && c->id != id)
        c++;
    if (c < end)
        return c;
    if (e->n_clients < e->max_sessions)
        e->n_clients++;
    else
        for (c = e->clients; has_sessions(e, c->id) && c + 1 < end; c++) {
        }
    *c = (struct local_client){.id = id};
    return c;
}

/* Where the client stands: start-time fair queueing. Who had nothing to prefill for a while has not saved
 * anything up. */
static uint64_t standing(struct local_engine *e, const struct local_session *s) {
    uint64_t served = client_of(e, s->about.client)->served;
    return served > e->served ? served : e->served;
}

static void charge(struct local_engine *e, const struct local_session *s, int rows) {
    uint64_t from = standing(e, s);
    client_of(e, s->about.client)->served = from + (uint64_t)rows;
    e->served = from;
}

/* The next session that has something to prefill, but for the share of next_lower(): the highest priority
 * first, of these the client that got least so far, of its sessions the one that was made first, so that who
 * comes back with a tool's result stands where he stood. Generating ones (`running`) and ones that only wait
 * for a generation apart. */
static struct local_session *next_prefill(struct local_engine *e, bool running) {
    struct local_session *best = NULL;
    uint64_t best_standing = 0;
    for (struct local_session *s = e->sessions; s != NULL; s = s->next) {
        if (s->gen.running != running || s->n_rows > 0 || s->passed || hold_pending(s) <= 0)
            continue;
        uint64_t own = standing(e, s);
        bool same = best != NULL && s->about.priority == best->about.priority;
        if (best == NULL || (same && own != best_standing ? own < best_standing : plan_before(s, best))) {
            best = s;
            best_standing = own;
        }
    }
    return best;
}

/* Sessions of a lower priority than one that is served: *wait says whether any has a prompt to be read, *n
 * how many have not had their turn in this step; of these the one that has been without a row for longest, or
 * NULL. */
static struct local_session *next_lower(struct local_engine *e, int priority, int *n, bool *wait) {
    struct local_session *best = NULL;
    *n = 0;
    *wait = false;
    for (struct local_session *s = e->sessions; s != NULL; s = s->next) {
        if (!s->gen.running || s->about.priority >= priority)
            continue;
        *wait = *wait || s->n_computed < s->gen.first;
        if (s->n_rows > 0 || s->passed || hold_pending(s) <= 0)
            continue;
        ++*n;
        if (best == NULL || s->turn < best->turn)
            best = s;
    }
    return best;
}

/* Rows that the next of n sessions of lower priority gets now: its part of what is due, in pieces of
 * LOCAL_MIN_ROWS at least. */
static int due_lower(const struct local_engine *e, int n) {
    int rows = e->low_due / (LOCAL_LOW_SHARE - 1);
    if (n == 0 || rows < LOCAL_MIN_ROWS)
        return 0;
    return rows / n > LOCAL_MIN_ROWS ? rows / n : LOCAL_MIN_ROWS;
}

/* `rows` went to a session while one of a lower priority waited, or to that one. */
static void count_lower(struct local_engine *e, bool lower, int rows) {
    e->low_due += lower ? -rows * (LOCAL_LOW_SHARE - 1) : rows;
    int most = e->max_rows * (LOCAL_LOW_SHARE - 1);
    e->low_due = e->low_due < 0 ? 0 : e->low_due > most ? most : e->low_due;
}

/* ---- the step ---- */

/* Rows of this step, n_decode of which are there already. */
static int row_budget(const struct local_engine *e, int n_decode) {
    double rows = LOCAL_MIN_ROWS;
    if (e->always_rows > 0)
        rows = e->always_rows;
    else if (e->row_ns > 0)
        rows = (n_decode > 0 ? LOCAL_MIXED_STEP_NS : LOCAL_STEP_NS) / e->row_ns;
    rows = rows < LOCAL_MIN_ROWS ? LOCAL_MIN_ROWS : rows;
    return rows + n_decode < e->max_rows ? (int)rows + n_decode : e->max_rows;
}

/* Sessions that generate go on with all their new tokens at once. */
static void plan_forced(struct local_engine *e, int budget) {
    struct step *step = &e->step;
    for (struct local_session *s = e->sessions; s != NULL && step->n_rows < budget; s = s->next) {
        if (s->n_rows > 0 || s->pages_cap == 0 || !continues(s))
            continue;
        int n = hold_pending(s), room = budget - step->n_rows;
        add_rows(e, s, n < room ? n : room);
    }
}

/* Rows for one session, at most `room`. */
static void prefill(struct local_engine *e, struct local_session *s, int room) {
    s->passed = true;
    if (hold_table(e, s) < 0) {
        if (s->gen.running)
            finish_failed(e, s, "The engine is out of memory for a session's page table.");
        return;
    }
    hold_adopt(e, s);
    int n = hold_pending(s);
    if (n > 0 && !hold_waits(e, s)) {
        add_rows(e, s, n < room ? n : room);
        hold_see_at_once(e, s);
    }
    if (s->n_rows > 0)
        s->turn = ++e->last_order;
    charge(e, s, s->n_rows);
}

static void plan_prefill(struct local_engine *e, bool running, int budget) {
    struct step *step = &e->step;
    struct local_session *s;
    while (step->n_rows < budget && (s = next_prefill(e, running)) != NULL) {
        int n = 0, room = budget - step->n_rows;
        bool wait = false;
        struct local_session *lower = running ? next_lower(e, s->about.priority, &n, &wait) : NULL;
        int due = due_lower(e, n);
        if (due > 0) {
            prefill(e, lower, due < room ? due : room);
            count_lower(e, true, lower->n_rows);
        } else {
            prefill(e, s, room);
            if (wait)
                count_lower(e, false, s->n_rows);
        }
    }
}

bool plan_step(struct local_engine *e) {
    struct step *step = &e->step;
    int n_decode = 0;
    step->n_rows = step->n_outputs = step->n_samples = step->n_tables = step->n_guessed = 0;
    bury(e);
    for (struct local_session *s = e->sessions; s != NULL; s = s->next) {
        s->n_rows = s->n_at_once = s->verify.n = 0;
        s->output = -1;
        s->passed = false;
        if (s->gen.running && s->gen.cancel) {
            finish_generation(e, s, ENGINE_FINISH_CANCELLED);
            s->rests = true;
        }
        if (s->gen.running && s->n_computed == s->n_tokens)
            hold_roll_back(e, s, s->n_tokens - 1, false); /* its logits went to a token that was not kept */
        n_decode += decodes(s);
    }
    for (struct local_session *s = e->sessions; s != NULL; s = s->next)
        if (decodes(s) && s->pages_cap > 0 && step->n_rows < e->max_rows) {
            add_rows(e, s, 1);
            verify_plan(e, s, n_decode);
        }
    step->n_decode = step->n_rows - step->n_guessed;
    step->budget = row_budget(e, step->n_rows);
    plan_forced(e, step->budget);
    plan_prefill(e, true, step->budget);
    plan_prefill(e, false, step->budget);
    return step->n_rows > 0;
}
