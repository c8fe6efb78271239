#include "engine/gguf_set.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TENSORS 65536
/* "-00001-of-00003.gguf" */
#define SUFFIX_BYTES 20

/* What a part says of itself. */
struct split {
    int64_t no, count, tensors;
};

static int read_split(const struct gguf *g, struct split *s, char *err, size_t errlen) {
    *s = (struct split){0, 1, (int64_t)g->n_tensors};
    int rc = gguf_read_integer(g, "split.count", 0, UINT16_MAX, &s->count, err, errlen);
    if (rc <= 0 || s->count < 2) {
        s->count = 1;
        return rc < 0 ? rc : 0;
    }
    if (s->count > GGUF_SET_MAX)
        return err_set(err, errlen, -ENOTSUP,
                       "Model file '%s' is one of %lld parts; at most %d are possible.", g->path,
                       (long long)s->count, GGUF_SET_MAX);
    int no = gguf_read_integer(g, "split.no", 0, s->count - 1, &s->no, err, errlen);
    int tensors =
        no < 0 ? no : gguf_read_integer(g, "split.tensors.count", 0, MAX_TENSORS, &s->tensors, err, errlen);
    if (no < 0 || tensors < 0)
        return -EINVAL;
    if (no == 0 || tensors == 0)
        return err_set(err, errlen, -EINVAL, "Model file '%s' has split.count and no %s.", g->path,
                       no == 0 ? "split.no" : "split.tensors.count");
    return 0;
}

/* The path of part `no` (from 0) of `count`, whose first part is `first`; the caller's. */
static char *part_path(const char *first, int no, int count) {
    char *path = NULL;
    int stem = (int)strlen(first) - SUFFIX_BYTES;
    return asprintf(&path, "%.*s-%05d-of-%05d.gguf", stem, first, no + 1, count) < 0 ? NULL : path;
}

/* The first part must be the first, and be called so. */
static int check_first(const char *path, const struct split *s, char *err, size_t errlen) {
    char suffix[64];
    size_t len = strlen(path);
    (void)snprintf(suffix, sizeof suffix, "-%05d-of-%05d.gguf", (int)s->no + 1, (int)s->count);
    if (s->no != 0)
        return err_set(err, errlen, -EINVAL,
                       "Model file '%s' is part %d of %d; open the first one, whose name ends in "
                       "-00001-of-%05d.gguf.",
                       path, (int)s->no + 1, (int)s->count, (int)s->count);
    if (len < SUFFIX_BYTES || strcmp(path + len - SUFFIX_BYTES, suffix) != 0)
        return err_set(
            err, errlen, -EINVAL,
            "Model file '%s' is the first of %d parts; its name must end in %s, so that the others "
            "are found beside it.",
            path, (int)s->count, suffix);
    return 0;
}

static int check_part(const struct gguf_set *set, const struct gguf *g, const struct split *first, int no,
                      char *err, size_t errlen) {
    struct split s;
    int rc = read_split(g, &s, err, errlen);
    if (rc < 0)
        return rc;
    if (s.no != no || s.count != first->count || s.tensors != first->tensors)
        return err_set(
            err, errlen, -EINVAL,
            "Model file '%s' says that it is part %lld of %lld with %lld tensors in all, and should be "
            "part %d of %lld with %lld: it belongs to another model.",
            g->path, (long long)s.no + 1, (long long)s.count, (long long)s.tensors, no + 1,
            (long long)first->count, (long long)first->tensors);
    for (size_t i = 0; i < g->n_tensors; i++) {
        char name[260], shown[64];
        struct gguf_text text = g->tensors[i].name;
        memcpy(name, text.data, text.len); /* at most 256 bytes: gguf_open() */
        name[text.len] = '\0';
        const struct gguf *other = NULL;
        if (strlen(name) == text.len && gguf_set_find_tensor(set, name, &other) != NULL)
            return err_set(err, errlen, -EINVAL, "Tensor %s is in '%s' and again in '%s'.",
                           gguf_text_show(text, shown), other->path, g->path);
    }
    return 0;
}

static int open_parts(struct gguf_set *set, const struct split *first, char *err, size_t errlen) {
    int64_t tensors = (int64_t)set->parts[0]->n_tensors;
    for (int i = 1; i < first->count; i++) {
        char *path = part_path(set->parts[0]->path, i, (int)first->count);
        struct gguf *g = NULL;
        int rc = path == NULL ? err_set(err, errlen, -ENOMEM, "Not enough memory for the model.")
                              : gguf_open(path, &g, err, errlen);
        if (rc == -ENOENT)
            err_set(err, errlen, rc, "Part %d of %lld of model '%s' is missing: there is no '%s'.", i + 1,
                    (long long)first->count, set->parts[0]->path, path);
        free(path);
        if (rc < 0)
            return rc;
        rc = check_part(set, g, first, i, err, errlen);
        set->parts[set->n++] = g;
        tensors += (int64_t)g->n_tensors;
        if (rc < 0)
            return rc;
        if (tensors > first->tensors)
            break;
    }
    if (tensors != first->tensors)
        return err_set(err, errlen, -EINVAL,
                       "The parts of model '%s' have %s%lld tensors, and split.tensors.count says %lld.",
                       set->parts[0]->path, tensors > first->tensors ? "at least " : "", (long long)tensors,
                       (long long)first->tensors);
    return 0;
}

int gguf_set_open(const char *path, struct gguf_set **out, char *err, size_t errlen) {
    struct gguf_set *set = calloc(1, sizeof *set);
    struct split first = {0};
    if (set == NULL)
        return err_set(err, errlen, -ENOMEM, "Not enough memory for the model.");
    int rc = gguf_open(path, &set->parts[0], err, errlen);
    if (rc == 0) {
        set->n = 1;
        rc = read_split(set->parts[0], &first, err, errlen);
    }
    if (rc == 0 && first.count > 1) {
        rc = check_first(path, &first, err, errlen);
        rc = rc ? rc : open_parts(set, &first, err, errlen);
    }
    if (rc < 0) {
        gguf_set_close(set);
        return rc;
    }
    *out = set;
    return 0;
}

void gguf_set_close(struct gguf_set *s) {
    for (int i = 0; s != NULL && i < s->n; i++)
        gguf_close(s->parts[i]);
    free(s);
}

const struct gguf_tensor *gguf_set_find_tensor(const struct gguf_set *s, const char *name,
                                               const struct gguf **in) {
    for (int i = 0; i < s->n; i++) {
        const struct gguf_tensor *t = gguf_find_tensor(s->parts[i], name);
        if (t != NULL && in != NULL)
            *in = s->parts[i];
        if (t != NULL)
            return t;
    }
    return NULL;
}
