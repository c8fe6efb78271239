/* One step of the engine: whose tokens run next, and what becomes of the results. */
#include "engine/local.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int batch_init(struct local_engine *e) {
    struct step *step = &e->step;
    size_t sessions = (size_t)e->max_sessions;
    step->tables_stride = (e->max_context + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS;
    step->rows = calloc((size_t)e->max_rows, sizeof *step->rows);
    step->outputs = calloc(sessions, sizeof *step->outputs);
    step->samples = calloc(sessions, sizeof(struct local_session *));
    step->sampled = calloc(sessions, sizeof *step->sampled);
    step->how = calloc(sessions, sizeof *step->how);
    step->tables = calloc(sessions * (size_t)step->tables_stride, sizeof *step->tables);
    if (step->rows == NULL || step->outputs == NULL || step->samples == NULL || step->sampled == NULL ||
        step->how == NULL || step->tables == NULL)
        return -ENOMEM;
    return 0;
}

void batch_finish(struct local_engine *e) {
    struct step *step = &e->step;
    free(step->rows);
    free(step->outputs);
    free(step->samples);
    free(step->sampled);
    free(step->how);
    free(step->tables);
}

void batch_release_pages(struct local_engine *e, struct local_session *s) {
    /* Last first, so that of the pages kept for later the beginnings, which more sessions share, are the
     * youngest. */
    for (int i = s->n_pages - 1; i >= 0; i--)
        pages_drop(e->pages, s->pages[i]);
    s->n_pages = s->n_published = s->n_computed = 0;
}

/* Tokens to compute now. The last one of a timeline waits for a generation (or for more tokens), because its
 * logits are the first thing a generation needs. */
static int pending(const struct local_session *s) {
    if (s->evicted && !s->gen.running)
        return 0;
    return s->n_tokens - s->n_computed - (s->gen.running ? 0 : 1);
}

static void bury(struct local_engine *e) {
    struct local_session **link = &e->sessions;
    while (*link != NULL) {
        struct local_session *s = *link;
        if (s->dead) {
            *link = s->next;
            batch_release_pages(e, s);
            local_session_free(s);
        } else {
            link = &s->next;
        }
    }
}

/* Takes published pages for tokens that others have computed already. */
static void adopt(struct local_engine *e, struct local_session *s) {
    while (s->n_computed % KERNELS_PAGE_TOKENS == 0 &&
           s->n_computed / KERNELS_PAGE_TOKENS == s->n_published && s->n_pages == s->n_published &&
           s->n_computed + KERNELS_PAGE_TOKENS < s->n_tokens && s->n_pages < s->pages_cap) {
        uint64_t parent = s->n_pages > 0 ? pages_serial(e->pages, s->pages[s->n_pages - 1]) : 0;
        int32_t page = pages_find(e->pages, parent, s->tokens + s->n_computed);
        if (page == PAGES_NONE)
            return;
        s->pages[s->n_pages++] = page;
        s->n_published++;
        s->n_computed += KERNELS_PAGE_TOKENS;
    }
}

/* Publishes the pages that a step has filled. */
static void publish(struct local_engine *e, struct local_session *s) {
    while ((s->n_published + 1) * KERNELS_PAGE_TOKENS <= s->n_computed) {
        int i = s->n_published;
        uint64_t parent = i > 0 ? pages_serial(e->pages, s->pages[i - 1]) : 0;
        s->pages[i] = pages_publish(e->pages, s->pages[i], parent, s->tokens + i * KERNELS_PAGE_TOKENS);
        s->n_published++;
    }
}

/* Frees pages for `s`: of sessions that wait first (longest unused first), else of the youngest that came
 * after `s`. Their timelines are computed again when they go on. False when there is none to take from. */
static bool reclaim(struct local_engine *e, const struct local_session *s) {
    struct local_session *idle = NULL, *young = NULL;
    for (struct local_session *other = e->sessions; other != NULL; other = other->next) {
        if (other == s || other->n_pages == 0 || other->n_rows > 0)
            continue;
        if (pending(other) <= 0) {
            if (idle == NULL || other->used_ns < idle->used_ns)
                idle = other;
        } else if (other->order > s->order && (young == NULL || other->order > young->order)) {
            young = other;
        }
    }
    struct local_session *victim = idle != NULL ? idle : young;
    if (victim == NULL)
        return false;
    batch_release_pages(e, victim);
    victim->evicted = !victim->gen.running;
    return true;
}

/* Makes pages for n_computed + n positions; returns how many of the n got one. */
static int reserve_pages(struct local_engine *e, struct local_session *s, int n) {
    int need = (s->n_computed + n + KERNELS_PAGE_TOKENS - 1) / KERNELS_PAGE_TOKENS;
    while (s->n_pages < need) {
        int32_t page = pages_take(e->pages);
        if (page != PAGES_NONE)
            s->pages[s->n_pages++] = page;
        else if (!reclaim(e, s))
            break;
    }
    int room = s->n_pages * KERNELS_PAGE_TOKENS - s->n_computed;
    return room < n ? room : n;
}

static void add_rows(struct local_engine *e, struct local_session *s, int n) {
    struct step *step = &e->step;
    n = reserve_pages(e, s, n);
    if (n <= 0)
        return;
    int32_t *table = step->tables + (size_t)step->n_tables * (size_t)step->tables_stride;
    memcpy(table, s->pages, (size_t)s->n_pages * sizeof *table);
    for (int i = 0; i < n; i++)
        step->rows[step->n_rows++] = (struct kernels_row){
            .token = s->tokens[s->n_computed + i], .position = s->n_computed + i, .table = step->n_tables};
    step->n_tables++;
    s->n_rows = n;
    if (s->gen.running && s->n_computed + n == s->n_tokens) {
        step->samples[step->n_outputs] = s;
        step->outputs[step->n_outputs++] = step->n_rows - 1;
    }
    if (s->gen.running && s->gen.started_ns == 0)
        s->gen.started_ns = clock_mono_ns();
}

static int ensure_table(struct local_engine *e, struct local_session *s) {
    if (s->pages_cap > 0)
        return 0;
    s->pages = calloc((size_t)e->step.tables_stride, sizeof *s->pages);
    if (s->pages == NULL)
        return -ENOMEM;
    s->pages_cap = e->step.tables_stride;
    return 0;
}

/* What was computed from token n on does not count any more. */
static void roll_back(struct local_engine *e, struct local_session *s, int n) {
    if (n < s->n_published * KERNELS_PAGE_TOKENS) { /* others may be reading this page */
        int keep = n / KERNELS_PAGE_TOKENS;
        while (s->n_pages > keep)
            pages_drop(e->pages, s->pages[--s->n_pages]);
        s->n_published = keep;
        n = keep * KERNELS_PAGE_TOKENS;
    }
    s->n_computed = s->n_computed < n ? s->n_computed : n;
}

static bool decodes(const struct local_session *s) {
    return s->gen.running && s->n_tokens - s->n_computed == 1 && s->n_tokens > s->gen.first;
}

/* Has tokens that were forced, or replaced. */
static bool continues(const struct local_session *s) {
    return s->gen.running && s->n_tokens > s->gen.first && s->n_computed >= s->gen.first &&
           s->n_computed < s->n_tokens;
}

/* The session with the lowest order above `after` that has something to prefill; generating ones (`running`)
 * and ones that only wait for a generation apart. */
static struct local_session *next_prefill(struct local_engine *e, bool running, uint64_t after) {
    struct local_session *best = NULL;
    for (struct local_session *s = e->sessions; s != NULL; s = s->next)
        if (s->gen.running == running && s->n_rows == 0 && pending(s) > 0 && s->order > after &&
            (best == NULL || s->order < best->order))
            best = s;
    return best;
}

/* Rows of this step, n_decode of which are there already. */
static int row_budget(const struct local_engine *e, int n_decode) {
    double rows = LOCAL_MIN_ROWS;
    if (e->row_ns > 0)
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
        int n = pending(s), room = budget - step->n_rows;
        add_rows(e, s, n < room ? n : room);
    }
}

static void plan_prefill(struct local_engine *e, bool running, int budget) {
    struct step *step = &e->step;
    uint64_t after = 0;
    struct local_session *s;
    while (step->n_rows < budget && (s = next_prefill(e, running, after)) != NULL) {
        after = s->order;
        if (ensure_table(e, s) < 0) {
            if (running)
                finish_failed(e, s, "The engine is out of memory for a session's page table.");
            continue;
        }
        adopt(e, s);
        int n = pending(s), room = budget - step->n_rows;
        if (n > 0)
            add_rows(e, s, n < room ? n : room);
    }
}

bool batch_plan(struct local_engine *e) {
    struct step *step = &e->step;
    step->n_rows = step->n_outputs = step->n_tables = 0;
    bury(e);
    for (struct local_session *s = e->sessions; s != NULL; s = s->next) {
        s->n_rows = 0;
        if (s->gen.running && s->gen.cancel)
            finish_generation(e, s, ENGINE_FINISH_CANCELLED);
        if (s->gen.running && s->n_computed == s->n_tokens)
            roll_back(e, s, s->n_tokens - 1); /* its logits went to a token that was not kept */
    }
    for (struct local_session *s = e->sessions; s != NULL; s = s->next)
        if (decodes(s) && s->pages_cap > 0 && step->n_rows < e->max_rows)
            add_rows(e, s, 1);
    int budget = row_budget(e, step->n_rows);
    plan_forced(e, budget);
    plan_prefill(e, true, budget);
    plan_prefill(e, false, budget);
    return step->n_rows > 0;
}

static bool is_stop(const struct local_engine *e, const struct local_session *s, int32_t token) {
    for (int i = 0; i < s->gen.n_stops; i++)
        if (s->gen.stops[i] == token)
            return true;
    return model_is_eog(e->model, token);
}

/* What a negative errno in the place of a token means. */
static const char *why_no_token(int32_t status) {
    if (status == -ENOMEM)
        return "The engine is out of memory for the grammar of the text.";
    if (status == -E2BIG)
        return "The grammar of the text became too large to be followed.";
    /* -EPROTO: the mask let it through, or there was no number among the logits */
    return "The engine chose a token that the grammar of the text does not allow; the model's weights may be "
           "broken.";
}

/* The timeline behind the sure tokens becomes gen.forced.ids; generate() made room for them. True when a
 * token among them ends the turn; it is not kept. [lock held] */
static bool keep_forced(struct local_engine *e, struct local_session *s) {
    struct generation *g = &s->gen;
    const struct token_list *ids = &g->forced.ids;
    int32_t *tail = s->tokens + g->sure;
    size_t n_tail = (size_t)(s->n_tokens - g->sure), same = 0;
    while (same < n_tail && same < ids->n && tail[same] == ids->v[same])
        same++;
    if (same < n_tail)
        roll_back(e, s, g->sure + (int)same);
    size_t n = same;
    for (; n < ids->n && !is_stop(e, s, ids->v[n]); n++)
        tail[n] = ids->v[n];
    s->n_tokens = g->sure + (int)n;
    g->sure += (int)(g->forced.n_sure < n ? g->forced.n_sure : n);
    return n < ids->n;
}

/* What one step of a generation gave: a token, and perhaps more that follow. [lock held] */
static void keep_token(struct local_engine *e, struct local_session *s, int32_t token) {
    struct generation *g = &s->gen;
    if (g->first_token_ns == 0)
        g->first_token_ns = clock_mono_ns();
    if (token < 0 && token != CONSTRAINED_FORCED) {
        finish_failed(e, s, why_no_token(token));
        return;
    }
    bool stop = token != CONSTRAINED_FORCED && is_stop(e, s, token);
    if (!stop && s->n_tokens >= e->max_context) {
        finish_generation(e, s, ENGINE_FINISH_CONTEXT_FULL);
        return;
    }
    if (!g->no_forced) {
        stop = keep_forced(e, s) || stop;
    } else if (!stop) {
        s->tokens[s->n_tokens++] = token;
        g->sure = s->n_tokens;
    }
    g->steps += token != CONSTRAINED_FORCED && !is_stop(e, s, token);
    if (stop || g->forced.over)
        finish_generation(e, s, ENGINE_FINISH_STOP);
    else if (!finish_send_text(e, s))
        finish_failed(e, s, "The engine is out of memory for the text of a token.");
    else if (s->n_tokens - g->first >= g->max_tokens)
        finish_generation(e, s, ENGINE_FINISH_LENGTH);
}

/* The device gave no result: whoever took part cannot go on. [lock held] */
static void fail_step(struct local_engine *e, const char *sentence) {
    for (struct local_session *s = e->sessions; s != NULL; s = s->next) {
        if (s->n_rows == 0)
            continue;
        batch_release_pages(e, s);
        if (s->gen.running && !s->dead)
            finish_failed(e, s, sentence);
    }
}

/* Rows of the step that are of the prompt. */
static int prompt_rows(const struct local_session *s) {
    int left = s->gen.first - s->n_computed;
    return !s->gen.running || left > s->n_rows ? s->n_rows : left > 0 ? left : 0;
}

void batch_run(struct local_engine *e) {
    struct step *step = &e->step;
    struct kernels_batch batch = {.rows = step->rows,
                                  .n_rows = step->n_rows,
                                  .pages = step->tables,
                                  .pages_stride = step->tables_stride,
                                  .outputs = step->outputs,
                                  .n_outputs = step->n_outputs,
                                  .samples = choose_prepare(e)};
    char sentence[256];
    uint64_t from = clock_mono_ns();
    int rc = forward_run(e->forward, &batch, sentence, sizeof sentence);
    if (rc == 0)
        choose_all(e);
    uint64_t now = clock_mono_ns();
    if (step->n_rows >= LOCAL_MIN_ROWS) {
        double row_ns = (double)(now - from) / step->n_rows;
        e->row_ns = e->row_ns > 0 ? 0.7 * e->row_ns + 0.3 * row_ns : row_ns;
    }
    pthread_mutex_lock(&e->lock);
    e->n_steps++;
    if (rc == -EIO) { /* the device runs nothing any more, in this process */
        e->stop = true;
        events_break(&e->base.events, sentence);
    } else if (rc < 0) {
        fail_step(e, sentence);
    }
    if (rc < 0) {
        pthread_mutex_unlock(&e->lock);
        return;
    }
    for (struct local_session *s = e->sessions; s != NULL; s = s->next) {
        if (s->n_rows == 0)
            continue;
        s->gen.computed_tokens += prompt_rows(s);
        s->n_computed += s->n_rows;
        s->used_ns = now;
        publish(e, s);
    }
    for (int o = 0; o < step->n_outputs; o++) {
        struct local_session *s = step->samples[o];
        if (!s->dead && s->gen.running && !s->gen.cancel)
            keep_token(e, s, step->sampled[o]);
    }
    pthread_mutex_unlock(&e->lock);
}
