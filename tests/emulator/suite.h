/* Small kernels that are right, and the same with one fault each. */
#ifndef TESTS_EMULATOR_SUITE_H
#define TESTS_EMULATOR_SUITE_H

#ifdef __cplusplus
extern "C" {
#endif

enum suite_fault {
    SUITE_RIGHT,
    /* suite_reduce */
    SUITE_NO_BARRIER,         /* shared memory is read before all have written it */
    SUITE_DIVERGENT_BARRIER,  /* half of the block waits at another barrier */
    SUITE_BARRIER_AFTER_EXIT, /* some threads have left */
    SUITE_SHARED_OVERRUN,     /* one element behind the end of shared memory is written */
    SUITE_SHARED_UNDERRUN,    /* one before its start */
    SUITE_SHARED_FAR,         /* far behind its end is read */
    SUITE_GLOBAL_OVERRUN,     /* one element behind an allocation is written */
    SUITE_GLOBAL_FAR,         /* a page behind it is read */
    SUITE_FREED,              /* memory is used that was freed */
    SUITE_UNWRITTEN_SHARED,   /* a sum starts from shared memory that nobody wrote */
    SUITE_UNWRITTEN_GLOBAL,   /* or from device memory */
    SUITE_WRONG_MASK,         /* a full mask where half a warp comes */
    SUITE_OTHER_MASKS,        /* lanes come with different masks */
    SUITE_OTHER_PLACE,        /* half a warp comes to the same collective at another place */
    SUITE_NOT_IN_MASK,        /* the caller is not in its own mask */
    SUITE_LANE_OUTSIDE_MASK,  /* a shuffle reads a lane that the mask does not name */
    SUITE_HOST_READS,         /* the host reads device memory */
    SUITE_PAGEABLE_COPY,      /* a queued copy from memory that is not the GPU's */
    SUITE_EARLY_HOST_WRITE,   /* the host writes to a buffer that a queued copy will read */
    SUITE_NO_SYNC,            /* the host reads a result that it did not wait for */
    /* suite_product */
    SUITE_WRONG_FRAGMENT_A, /* registers 1 and 2 of a fragment are exchanged */
    SUITE_WRONG_FRAGMENT_B,
    SUITE_WRONG_FRAGMENT_D,
    SUITE_WRONG_ROW,         /* ldmatrix with the rows of another matrix */
    SUITE_LATE_WAIT,         /* the wait for an asynchronous copy stands behind the barrier */
    SUITE_NO_WAIT,           /* it is not there */
    SUITE_ONE_GROUP_TOO_FEW, /* it leaves the group under way that is needed next */
    SUITE_NO_SECOND_BARRIER, /* a buffer is filled again while others read it */
    SUITE_MISALIGNED,        /* 16 bytes at an address that is not a multiple of 16 */
    /* suite_chain */
    SUITE_NO_WAIT_PREVIOUS,    /* a kernel that may start early does not wait */
    SUITE_READ_BEFORE_WAIT,    /* it reads the result of the one before, then waits */
    SUITE_WRITE_BEFORE_WAIT,   /* it writes what the one before still reads, then waits */
    SUITE_NO_EVENT,            /* two streams without the event between them */
    SUITE_STALE_POINTER,       /* a graph keeps a pointer whose memory was replaced */
    SUITE_STALE_VALUE,         /* a graph keeps a number that has changed */
    SUITE_STALE_INTERMEDIATE,  /* a graph reads what an earlier replay left */
    SUITE_FIRST_BLOCK_REDUCES, /* block 0 adds up the others' sums in place of the last to finish */
    /* suite_ranks */
    SUITE_MEMORY_OF_ANOTHER_GPU,   /* a kernel reads it */
    SUITE_QUEUE_OF_ANOTHER_GPU,    /* a kernel is launched on it */
    SUITE_NO_SUM,                  /* each goes on with its own part */
    SUITE_SUM_NOT_BEGUN,           /* ranks come one by one, and wait for each other */
    SUITE_SUM_WITHOUT_A_RANK,      /* one does not come */
    SUITE_SUM_TWICE_BY_A_RANK,     /* one comes twice */
    SUITE_SUM_OF_OTHER_COUNTS,     /* one brings fewer numbers */
    SUITE_SUM_IN_OTHER_MEMORY,     /* one brings memory of another GPU */
    SUITE_SUM_OF_ANOTHER_GPU,      /* one comes while another GPU is in use */
    SUITE_GRAPH_OF_A_RANK_NOT_RUN, /* all were recorded with a sum, one graph does not run */
    SUITE_LOST_NOT_ASKED,          /* the connection breaks, and who waits does not ask for it */
    SUITE_FAULTS
};

/* Each runs one program and returns 0 when its result is right, 1 when it is wrong. */
int suite_reduce(enum suite_fault fault);
int suite_product(enum suite_fault fault);
int suite_chain(enum suite_fault fault);
int suite_ranks(enum suite_fault fault);
/* Collectives, conversions and fragments, one by one; 0, or the line of the check that failed. */
int suite_collectives(void);

#ifdef __cplusplus
}
#endif

#endif
