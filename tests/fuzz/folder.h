/* A folder of its own for a fuzz target whose reader wants files; gone when the process ends as it should. */
#ifndef TESTS_FUZZ_FOLDER_H
#define TESTS_FUZZ_FOLDER_H

#include "engine/model.h"
#include "kernels/cpu/convert.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_FOLDER_FILES 8

static char folder_path[256], folder_files[MOST_FOLDER_FILES][320];
static int folder_n_files;

static void folder_remove(void) {
    for (int i = 0; i < folder_n_files; i++)
        (void)unlink(folder_files[i]);
    (void)rmdir(folder_path);
}

/* The path of a file of the folder, which is made at the first call; for one name per call site. */
static const char *folder_file(const char *name) {
    const char *temporary = getenv("TMPDIR");
    if (folder_path[0] == '\0') {
        /* In memory where that is possible: a file is written for every input. */
        if (temporary == NULL)
            temporary = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
        (void)snprintf(folder_path, sizeof folder_path, "%s/hermesd-fuzz-XXXXXX", temporary);
        if (mkdtemp(folder_path) == NULL || atexit(folder_remove) != 0)
            abort();
    }
    if (folder_n_files == MOST_FOLDER_FILES)
        abort();
    (void)snprintf(folder_files[folder_n_files], sizeof folder_files[0], "%s/%s", folder_path, name);
    return folder_files[folder_n_files++];
}

static void folder_write(const char *file, const void *bytes, size_t n) {
    FILE *f = fopen(file, "wb");
    if (f == NULL || fwrite(bytes, 1, n, f) != n || fclose(f) != 0)
        abort();
}

/* A refusal is one whole sentence. */
static void folder_expect_sentence(int rc, const char *err) {
    size_t n = strlen(err);
    if (rc < 0 && (n < 20 || (err[n - 1] != '.' && n < 590))) {
        fprintf(stderr, "broken: the refusal is no sentence: '%s'\n", err);
        abort();
    }
}

/* Reads the first and the last row of every matrix: they are inside the file. */
static void folder_touch_tensor(const struct tensor *t) {
    size_t row_bytes = convert_row_bytes(t->type, t->cols);
    float *row = malloc((size_t)t->cols * sizeof *row);
    if (row == NULL)
        abort();
    convert_row(t->type, t->data, t->cols, row);
    convert_row(t->type, (const char *)t->data + row_bytes * (size_t)(t->rows - 1), t->cols, row);
    if (t->row_scales != NULL && !(t->row_scales[0] > 0 && t->row_scales[t->rows - 1] > 0))
        abort();
    free(row);
}

__attribute__((unused)) static void folder_touch(const struct model *m) {
    folder_touch_tensor(&m->tok_embd);
    folder_touch_tensor(&m->output_norm);
    folder_touch_tensor(&m->output);
    for (int l = 0; l < m->n_layers; l++) {
        const struct model_layer *y = &m->layers[l];
        const struct tensor *all[] = {&y->attn_norm, &y->wq,     &y->wk,   &y->wv,    &y->wo,
                                      &y->ffn_norm,  &y->w_gate, &y->w_up, &y->w_down};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
            folder_touch_tensor(all[i]);
    }
}

#endif
