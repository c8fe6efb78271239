/* A worker's process as the daemon holds it: frames out and in, what it prints, its end. What the frames mean
 * is its owner's business. [loop-thread] */
#ifndef TOOLS_PROCESS_H
#define TOOLS_PROCESS_H

#include "base/buf.h"
#include "base/err.h"
#include "tools/protocol.h"
#include "tools/spawn.h"
#include "tools/tools.h"

struct process;

struct process_owner {
    /* A frame came; its payload is borrowed. A negative result means that it makes no sense: the process is
     * killed. */
    int (*frame)(void *arg, const struct frame *frame);
    /* It printed a line; text without control characters. */
    void (*printed)(void *arg, const char *line);
    /* It is gone and reaped, and every frame that it had sent was handed over. The owner may destroy it here.
     */
    void (*ended)(void *arg);
    void *arg;
};

struct process {
    struct spawn spawn;
    pid_t pid;            /* stays when it was reaped */
    struct spawn_end end; /* valid from ended() on */
    struct process_owner owner;
    const struct tools_loop *loop; /* borrowed; NULL: not attached */
    void *link_watch, *exit_watch, *output_watch, *kill_timer;
    struct buf in, out, line;
    size_t max_payload;
    size_t printed;    /* bytes so far */
    bool closing;      /* our sending direction is shut */
    bool ending;       /* killed or ended: of no more use */
    const char *broke; /* why we killed it, when it was for its own fault; else NULL */
    bool sending_watched;
};

/* Starts the worker. Frames with a payload above max_payload are its end. *out is the caller's
 * (process_destroy). */
HX_MUST_CHECK int process_create(const char *worker_path, const char *plugin_path, size_t max_payload,
                                 const struct process_owner *owner, struct process **out, char *err,
                                 size_t errlen);
/* Lets the loop watch it. Before, the owner polls the descriptors and calls the three functions below. */
HX_MUST_CHECK int process_attach(struct process *p, const struct tools_loop *loop, char *err, size_t errlen);
void process_on_link(struct process *p);
void process_on_output(struct process *p);
void process_on_exit(struct process *p); /* ends in owner.ended(), after which p may be gone */

/* Sends what is in `frames`, now or as soon as there is room; copies what has to wait. -EPIPE when the worker
 * is gone. */
HX_MUST_CHECK int process_send(struct process *p, const struct buf *frames);
/* Shuts our direction (a call should stop, the worker ends after it) and kills it after the grace, when it is
 * still there. */
void process_stop(struct process *p, uint64_t grace_ms);
void process_kill(struct process *p);
/* Kills and reaps it if it is still there (blocking for that moment), and frees it. Not from inside frame()
 * or printed(). */
void process_destroy(struct process *p);

#endif
