#include "engine/cli_tokenize.h"

#include "base/help.h"
#include "base/json.h"
#include "engine/model.h"
#include "engine/tokenizer.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define MAX_TEXT_BYTES ((size_t)64 << 20)

struct options {
    const char *model;
    bool template, ids;
};

static int usage(FILE *to) {
    (void)fprintf(to, "usage: hermesd tokenize -m FILE [--template] [--ids] [TEXT...]\n"
                      "  Shows the tokens of TEXT, or of standard input, for the model FILE.\n"
                      "  -m, --model FILE  a GGUF file or a Hugging Face folder\n"
                      "      --template    find control tokens in the text (text of users never has any)\n"
                      "      --ids         only the ids, apart by commas\n");
    return to == stdout ? 0 : 2;
}

static int parse(int argc, char **argv, struct options *o) {
    static const struct option known[] = {{"model", required_argument, NULL, 'm'},
                                          {"template", no_argument, NULL, 't'},
                                          {"ids", no_argument, NULL, 'i'},
                                          {NULL, 0, NULL, 0}};
    int c;
    optind = 0; /* glibc: begin anew, whoever used getopt before */
    while ((c = getopt_long(argc, argv, "m:", known, NULL)) != -1) {
        if (c == 'm')
            o->model = optarg;
        else if (c == 't')
            o->template = true;
        else if (c == 'i')
            o->ids = true;
        else
            return -1;
    }
    return o->model != NULL ? 0 : -1;
}

static int read_input(struct buf *text, char *err, size_t errlen) {
    int rc = buf_read_to_end(text, stdin);
    return rc < 0 ? err_set(err, errlen, rc, "Standard input cannot be read, or is more than 64 MiB: %s.",
                            strerror(-rc))
                  : 0;
}

static int join(struct buf *text, int n, char **words, char *err, size_t errlen) {
    int rc = 0;
    for (int i = 0; i < n && rc == 0; i++) {
        rc = i > 0 ? buf_putc(text, ' ') : 0;
        rc = rc ? rc : buf_puts(text, words[i]);
    }
    return rc < 0 ? err_set(err, errlen, rc, "The text is too long.") : 0;
}

static int write_token(struct buf *out, const struct tokenizer *t, int32_t id) {
    size_t len = 0;
    const char *piece = tokenizer_piece(t, id, &len);
    int rc = buf_printf(out, "%d\t", id);
    rc = rc ? rc : json_quote(out, piece, len, false);
    return rc ? rc : buf_puts(out, tokenizer_is_added(t, id) ? "\tcontrol\n" : "\n");
}

static int print(const struct tokenizer *t, const struct token_list *list, bool ids) {
    struct buf out;
    buf_init(&out, (size_t)1 << 30);
    int rc = 0;
    for (size_t i = 0; i < list->n && rc == 0; i++)
        rc = ids ? buf_printf(&out, "%s%d", i > 0 ? "," : "", list->v[i]) : write_token(&out, t, list->v[i]);
    if (rc == 0 && ids)
        rc = buf_putc(&out, '\n');
    if (rc == 0 &&
        (fwrite(out.data != NULL ? out.data : "", 1, out.len, stdout) != out.len || fflush(stdout) != 0))
        rc = -EIO;
    buf_finish(&out);
    return rc;
}

static int run(const struct options *o, int n_words, char **words, char *err, size_t errlen) {
    struct model *m = NULL;
    struct token_list list = {0};
    struct buf text;
    buf_init(&text, MAX_TEXT_BYTES);
    int rc = model_open(o->model, &m, err, errlen);
    if (rc == 0)
        rc = n_words > 0 ? join(&text, n_words, words, err, errlen) : read_input(&text, err, errlen);
    if (rc == 0) {
        const char *data = text.data != NULL ? text.data : "";
        rc = o->template ? tokenizer_encode_template(m->tokenizer, data, text.len, &list)
                         : tokenizer_encode_text(m->tokenizer, data, text.len, &list);
        rc = rc ? rc : print(m->tokenizer, &list, o->ids);
        if (rc < 0)
            err_set(err, errlen, rc, "A text of %zu bytes cannot be shown as tokens: %s.", text.len,
                    strerror(-rc));
    }
    token_list_finish(&list);
    buf_finish(&text);
    model_close(m);
    return rc;
}

int cli_tokenize(int argc, char **argv) {
    if (help_is_wanted(argc, argv))
        return usage(stdout);
    struct options o = {0};
    char err[600] = "";
    if (parse(argc, argv, &o) < 0)
        return usage(stderr);
    if (run(&o, argc - optind, argv + optind, err, sizeof err) == 0)
        return 0;
    (void)fprintf(stderr, "hermesd tokenize: %s\n", err);
    return 1;
}
