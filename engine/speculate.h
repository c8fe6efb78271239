/* How far ahead to guess: what rows of a step cost on this machine, how often guesses were right, and what
 * follows from both. The numbers only; engine/verify.c does it. Private to engine/. [engine-thread] */
#ifndef ENGINE_SPECULATE_H
#define ENGINE_SPECULATE_H

/* Guessed rows of one step at most, all sessions together, and sessions that may generate beside them: a
 * larger batch fills the machine with rows that are wanted for sure. */
#define SPECULATE_ROWS     15
#define SPECULATE_SESSIONS 8

/* Steps of rows that each give a token. Zeroed: nothing measured. */
struct speculate_cost {
    double one_ns;  /* a step of one row */
    double more_ns; /* each further row; 0: not measured yet */
};
/* A step of `rows` rows took `ns`. `prompt_ns`: what a row of a prompt takes, 0 when that is not known. */
void speculate_measure(struct speculate_cost *c, int rows, double ns, double prompt_ns);

/* How often guesses of one session came true, by how much of the text before them matched: short, middle,
 * long. Older ones count less. Zeroed: nothing known. */
#define SPECULATE_KINDS 3
struct speculate_luck {
    float right[SPECULATE_KINDS], tried[SPECULATE_KINDS];
};
/* `matched` as draft_find() gave it; the first `right` of `drafted` tokens came true. */
void speculate_learn(struct speculate_luck *l, int matched, int drafted, int right);
/* It was not tried: what is known loses weight, so that it will be again. */
void speculate_skipped(struct speculate_luck *l, int matched);
/* How likely the next guessed token is right when all before it were. */
double speculate_chance(const struct speculate_luck *l, int matched);

/* Rows to guess, 0 … most, so that most tokens come out of the time: `others` rows give one token each,
 * guesses with this chance each. `prompt_ns` stands for what was not measured. */
int speculate_choose(const struct speculate_cost *c, double prompt_ns, double chance, int others, int most);

#endif
