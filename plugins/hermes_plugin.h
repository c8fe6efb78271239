/* The whole interface between hermesd and a tool plugin, ABI major 1. C11 (and C99, C++11); the standard
 * library only.
 *
 * A plugin is a shared object that exports one function, hermes_plugin_v1(), which gives a constant
 * description of its tools. hello.c is a complete one. The daemon never loads it: a worker process of its own
 * does, confines itself, and calls it there.
 *
 *     cc -shared -fPIC -I<folder of this file> -o hello.so hello.c
 *
 * Rules of the interface
 * - Structures carry their size and only grow at the end, so a plugin built today loads in every later host
 * of this major.
 * - An absent flag means the worst case: not repeatable, may destroy, granted nothing.
 * - No memory crosses: arguments are borrowed for the time of the call, results are appended with
 * host->write().
 * - Text is UTF-8. Arguments are one JSON object, already checked against the tool's schema. A result is JSON
 * or plain text.
 * - What a failing tool writes is read by the model: "date must be YYYY-MM-DD, not '3/4'".
 * - Every function of a tool runs in a worker process that serves one call at a time, so blocking is fine. A
 * crash, an exit() or an endless loop costs that call and nothing else.
 *
 * The first half is the ABI. The second half, from "Helpers" on, is convenience, compiled into the plugin;
 * define HERMES_PLUGIN_NO_HELPERS to leave it out. */
#ifndef HERMES_PLUGIN_H
#define HERMES_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HERMES_TOOL_MAGIC     0x4c4f5448u /* "HTOL" in memory on a little-endian machine */
#define HERMES_TOOL_ABI_MAJOR 1
#define HERMES_TOOL_ABI_MINOR 0

#if defined(__GNUC__) || defined(__clang__)
#define HERMES_EXPORT             __attribute__((visibility("default")))
#define HERMES_FORMAT(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define HERMES_EXPORT
#define HERMES_FORMAT(fmt, first)
#endif

/* Borrowed text; NOT terminated by a NUL. */
typedef struct hermes_str {
    const char *p;
    size_t n;
} hermes_str;

/* One invocation; only the host looks inside. Valid until the tool's function returned, or until finish(). */
typedef struct hermes_call hermes_call;

/* ---- flags of a tool ---- */

/* Relaxations. Absent means the worst case. */
#define HERMES_T_READ_ONLY 0x0001u /* changes nothing */
#define HERMES_T_IDEMPOTENT                                                                                  \
    0x0002u /* the same arguments again have no further effect: may be repeated after a crash */
#define HERMES_T_ADDITIVE     0x0004u /* never destroys or overwrites */
#define HERMES_T_CLOSED_WORLD 0x0008u /* the result holds no text of third parties */
#define HERMES_T_POLL                                                                                        \
    0x0010u /* called again and again until something has happened: the same call with the same result is no \
               loop. Turns, calls and time of the job still bound it */
/* Grants: what the worker's confinement must leave open. Absent means denied. */
#define HERMES_T_NET          0x0100u
#define HERMES_T_FS_READ      0x0200u
#define HERMES_T_FS_WRITE     0x0400u
#define HERMES_T_EXEC         0x0800u
#define HERMES_T_PRIVATE_DATA 0x1000u /* can read the user's private data */
/* Tightening. */
#define HERMES_T_APPROVAL 0x10000u /* a person is always asked first */

/* ---- how a call ends ---- */

enum {
    HERMES_OK = 0,
    HERMES_E_TOOL = 1,      /* the tool said no; what it wrote goes to the model */
    HERMES_E_ARGS = 2,      /* arguments wrong, beyond what the schema says */
    HERMES_E_TRANSIENT = 3, /* nothing happened; the host may try again */
    HERMES_E_UNKNOWN = 4,   /* it may or may not have taken effect: never repeated by itself */
    HERMES_E_CANCELLED = 5,
    HERMES_E_DEADLINE = 6,
    HERMES_E_LIMIT = 7, /* the result does not fit */
    HERMES_E_INTERNAL = 8
};

enum { HERMES_LOG_DEBUG, HERMES_LOG_INFO, HERMES_LOG_WARN, HERMES_LOG_ERROR };

/* ---- what the host does for a plugin ---- */

/* All members may be called from any thread while the call lasts. A member that was added after 1.0 is there
 * only when `size` covers it: HERMES_HAS(host, hermes_host, member). The table lives as long as the worker.
 */
typedef struct hermes_host {
    uint32_t size;
    uint16_t abi_major, abi_minor;
    /* Appends to the result. HERMES_E_LIMIT when it would not fit: the call then ends as "too large". */
    int (*write)(hermes_call *call, const void *bytes, size_t n);
    /* Non-zero: stop soon. */
    int (*cancelled)(const hermes_call *call);
    /* A descriptor that becomes readable once the call is cancelled, for poll(); the host's, never read or
     * close it. */
    int (*cancel_fd)(const hermes_call *call);
    /* Until the call is cancelled; a moment later the worker is killed. */
    int64_t (*remaining_ms)(const hermes_call *call);
    /* The same text when this call is repeated, also after a restart. Borrowed until the end of the call. */
    const char *(*idempotency_key)(const hermes_call *call);
    /* fraction from 0 to 1; below 0: unknown. */
    void (*progress)(hermes_call *call, double fraction, hermes_str note);
    /* A line for the daemon's log. call may be NULL. */
    void (*log)(const hermes_call *call, int level, hermes_str message);
    /* For tools with start(): ends the call, exactly once, from any thread. */
    void (*finish)(hermes_call *call, int status);
    /* An optional service by its id, or NULL. */
    const void *(*extension)(const char *id);
} hermes_host;

/* ---- what a plugin describes ---- */

typedef struct hermes_tool {
    uint32_t size; /* HERMES_TOOL_SIZE */
    uint32_t flags;
    const char *name;          /* 1 to 64 of a-z A-Z 0-9 _ - */
    const char *description;   /* for the model: one sentence */
    const char *args_schema;   /* JSON Schema of an object; checked before the function runs */
    const char *result_schema; /* or NULL: free text */
    uint32_t timeout_ms;       /* 0: the host's default; the host may lower it */
    uint32_t max_result_bytes; /* 0: the host's default; the host may lower it */
    uint32_t max_concurrency;  /* calls at the same time, each in a worker of its own; 0: one */
    /* Exactly one of the two. invoke() gives the call's end as its return value. start() gives HERMES_OK, and
     * later somebody calls finish(); any other value ends the call at once. args_json is valid until the
     * function returns. */
    int (*invoke)(void *state, hermes_call *call, hermes_str args_json);
    int (*start)(void *state, hermes_call *call, hermes_str args_json);
    /* Optional: called once, from another thread, when the call should stop. */
    void (*cancel)(void *state, hermes_call *call);
} hermes_tool;

typedef struct hermes_plugin {
    uint32_t magic;
    uint16_t abi_major, abi_minor;
    uint32_t size;
    const char *name, *version;
    const hermes_tool *const *tools; /* ends with NULL; lives as long as the plugin */
    /* Optional, once per worker, before any call. config_json is one JSON object: "workspace", "state_dir"
     * and "documents" (folders; absent when there is none), "allow_private_addresses" (boolean), and what the
     * configuration says for this plugin. HERMES_OK, or the worker ends. */
    int (*init)(const hermes_host *host, hermes_str config_json, void **state);
    /* Optional, when the worker ends in peace. */
    void (*fini)(void *state);
} hermes_plugin;

/* The one exported symbol. No side effects: it is also called just to list the tools. */
HERMES_EXPORT const hermes_plugin *hermes_plugin_v1(void);

/* The first members of a hermes_plugin and of a hermes_tool. */
#define HERMES_PLUGIN_INIT                                                                                   \
    HERMES_TOOL_MAGIC, HERMES_TOOL_ABI_MAJOR, HERMES_TOOL_ABI_MINOR, (uint32_t)sizeof(hermes_plugin)
#define HERMES_TOOL_SIZE (uint32_t)sizeof(hermes_tool)

/* Whether the structure behind `pointer` is large enough to have `member`. */
#define HERMES_HAS(pointer, type, member)                                                                    \
    ((pointer)->size >= offsetof(type, member) + sizeof((pointer)->member))

/* A schema without quoting: HERMES_SCHEMA({"type": "object"}). */
#define HERMES_SCHEMA(...) #__VA_ARGS__

#ifdef __cplusplus
}
#endif

#ifndef HERMES_PLUGIN_NO_HELPERS
/* ---- Helpers ---- */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* init of a plugin without settings: its state is the host. */
static inline int hermes_init_host(const hermes_host *host, hermes_str config_json, void **state) {
    (void)config_json;
    *state = (void *)(uintptr_t)host;
    return HERMES_OK;
}

/* Exports a plugin whose state is the host: HERMES_PLUGIN("hello", "1.0.0", tools); with `tools` an array
 * that ends with NULL. */
#define HERMES_PLUGIN(plugin_name, plugin_version, plugin_tools)                                             \
    HERMES_EXPORT const hermes_plugin *hermes_plugin_v1(void) {                                              \
        static const hermes_plugin plugin = {HERMES_PLUGIN_INIT, plugin_name,      plugin_version,           \
                                             plugin_tools,       hermes_init_host, NULL};                    \
        return &plugin;                                                                                      \
    }                                                                                                        \
    HERMES_EXPORT const hermes_plugin *hermes_plugin_v1(void)

static inline hermes_str hermes_str_of(const char *text) {
    hermes_str s = {text, strlen(text)};
    return s;
}

/* The result as it is. Gives the status to return. */
static inline int hermes_reply(const hermes_host *host, hermes_call *call, const char *text) {
    return host->write(call, text, strlen(text));
}

/* A sentence for the model, printf's way, cut at 1,000 bytes. Gives `code`, HERMES_E_…, to return. */
static inline int hermes_refuse(const hermes_host *host, hermes_call *call, int code, const char *format, ...)
    HERMES_FORMAT(4, 5);
static inline int hermes_refuse(const hermes_host *host, hermes_call *call, int code, const char *format,
                                ...) {
    char text[1001];
    va_list values;
    va_start(values, format);
    int n = vsnprintf(text, sizeof text, format, values);
    va_end(values);
    if (n > 0)
        (void)host->write(call, text, strlen(text));
    return code;
}

/* Appends `text` with what JSON wants escaped escaped, without the quotes around it. */
static inline int hermes_write_escaped(const hermes_host *host, hermes_call *call, const char *text) {
    int status = HERMES_OK;
    while (*text != '\0' && status == HERMES_OK) {
        size_t plain = 0;
        while ((unsigned char)text[plain] >= 0x20 && text[plain] != '"' && text[plain] != '\\')
            plain++;
        if (plain > 0)
            status = host->write(call, text, plain);
        text += plain;
        if (*text != '\0' && status == HERMES_OK) {
            char escape[8];
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)(unsigned char)*text);
            status = host->write(call, escape, 6);
            text++;
        }
    }
    return status;
}

/* A result in JSON: printf with %s (escaped; write the quotes), %d, %lld, %g and %%. Gives the status to
 * return. return hermes_reply_json(host, call, "{\"name\": \"%s\", \"age\": %d}", name, age); */
static inline int hermes_reply_json(const hermes_host *host, hermes_call *call, const char *format, ...)
    HERMES_FORMAT(3, 4);
static inline int hermes_reply_json(const hermes_host *host, hermes_call *call, const char *format, ...) {
    int status = HERMES_OK;
    char number[40];
    va_list values;
    va_start(values, format);
    while (*format != '\0' && status == HERMES_OK) {
        size_t plain = strcspn(format, "%");
        if (plain > 0) {
            status = host->write(call, format, plain);
            format += plain;
            continue;
        }
        number[0] = '\0';
        if (strncmp(format, "%s", 2) == 0) {
            status = hermes_write_escaped(host, call, va_arg(values, const char *));
        } else if (strncmp(format, "%d", 2) == 0) {
            snprintf(number, sizeof number, "%d", va_arg(values, int));
        } else if (strncmp(format, "%lld", 4) == 0) {
            snprintf(number, sizeof number, "%lld", va_arg(values, long long));
            format += 2;
        } else if (strncmp(format, "%g", 2) == 0) {
            double value = va_arg(values, double);
            snprintf(number, sizeof number, value - value == 0 ? "%.15g" : "null", value);
        } else if (strncmp(format, "%%", 2) == 0) {
            status = host->write(call, "%", 1);
        } else {
            status = HERMES_E_INTERNAL; /* a conversion that is not offered */
            break;
        }
        if (number[0] != '\0')
            status = host->write(call, number, strlen(number));
        format += 2;
    }
    va_end(values);
    return status;
}

/* ---- reading the arguments without a JSON library ---- */

static inline const char *hermes_json_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

/* The end of the JSON value at p; `end` when it is cut short. */
static inline const char *hermes_json_skip(const char *p, const char *end) {
    int depth = 0, quoted = 0;
    for (; p < end; p++) {
        if (quoted) {
            if (*p == '\\' && p + 1 < end)
                p++;
            else if (*p == '"')
                quoted = 0;
            if (!quoted && depth == 0)
                return p + 1;
        } else if (*p == '"') {
            quoted = 1;
        } else if (*p == '{' || *p == '[') {
            depth++;
        } else if (*p == '}' || *p == ']') {
            if (depth <= 1)
                return depth == 1 ? p + 1 : p;
            depth--;
        } else if (depth == 0 &&
                   (*p == ',' || *p == ':' || *p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) {
            return p;
        }
    }
    return end;
}

static inline long hermes_json_hex4(const char *p, const char *end) {
    long value = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *at;
        char c = p[i] >= 'A' && p[i] <= 'F' ? (char)(p[i] - 'A' + 'a') : p[i];
        if (c == '\0' || (at = strchr(digits, c)) == NULL)
            return -1;
        value = value * 16 + (at - digits);
    }
    return value;
}

/* One escape after its backslash: the bytes it stands for in `out`, their number as the result (0: not an
 * escape), *at moved on. */
static inline size_t hermes_json_escape(const char **at, const char *end, char out[4]) {
    const char *p = *at, *from = "\"\\/bfnrt", *to = "\"\\/\b\f\n\r\t", *simple;
    if (p >= end || *p == '\0')
        return 0;
    if (*p != 'u') {
        if ((simple = strchr(from, *p)) == NULL)
            return 0;
        out[0] = to[simple - from];
        *at = p + 1;
        return 1;
    }
    long code = hermes_json_hex4(p + 1, end);
    if (code <= 0)
        return 0;
    p += 5;
    if (code >= 0xd800 && code <= 0xdbff && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
        long low = hermes_json_hex4(p + 2, end);
        if (low >= 0xdc00 && low <= 0xdfff) {
            code = 0x10000 + (code - 0xd800) * 0x400 + (low - 0xdc00);
            p += 6;
        }
    }
    if (code >= 0xd800 && code <= 0xdfff)
        code = 0xfffd; /* half of a pair */
    *at = p;
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(lead[n] | code);
    return n;
}

/* The text of a JSON string (`raw` with its quotes) with a NUL at its end: `out`, or NULL when it is not a
 * string, holds U+0000 or does not fit. */
static inline const char *hermes_json_text(hermes_str raw, char *out, size_t size) {
    size_t len = 0;
    if (raw.n < 2 || raw.p[0] != '"' || raw.p[raw.n - 1] != '"' || size == 0)
        return NULL;
    const char *p = raw.p + 1, *end = raw.p + raw.n - 1;
    while (p < end) {
        char bytes[4];
        size_t n = 1;
        bytes[0] = *p++;
        if (bytes[0] == '\\')
            n = hermes_json_escape(&p, end, bytes);
        if (n == 0 || n > size - 1 - len)
            return NULL;
        memcpy(out + len, bytes, n);
        len += n;
    }
    out[len] = '\0';
    return out;
}

/* The member `key` of a JSON object, as JSON text inside `object`; p is NULL when there is none. */
static inline hermes_str hermes_json_member(hermes_str object, const char *key) {
    hermes_str none = {NULL, 0};
    const char *end = object.p + object.n, *p = hermes_json_space(object.p, end);
    if (p == end || *p != '{')
        return none;
    p++;
    for (;;) {
        char name[128];
        hermes_str raw, value;
        raw.p = hermes_json_space(p, end);
        p = hermes_json_skip(raw.p, end);
        raw.n = (size_t)(p - raw.p);
        p = hermes_json_space(p, end);
        if (p == end || *p != ':')
            return none;
        value.p = hermes_json_space(p + 1, end);
        p = hermes_json_skip(value.p, end);
        value.n = (size_t)(p - value.p);
        if (hermes_json_text(raw, name, sizeof name) != NULL && strcmp(name, key) == 0)
            return value;
        p = hermes_json_space(p, end);
        if (p == end || *p != ',')
            return none;
        p++;
    }
}

/* A string argument, NUL-terminated in `out`: `out`, or NULL when it is absent, not a string, or does not fit
 * into `size` bytes. */
static inline const char *hermes_arg_string(hermes_str args_json, const char *key, char *out, size_t size) {
    hermes_str value = hermes_json_member(args_json, key);
    return value.p == NULL ? NULL : hermes_json_text(value, out, size);
}

/* A number argument: 1, or 0 when it is absent or not a number (*out stays). */
static inline int hermes_arg_number(hermes_str args_json, const char *key, double *out) {
    char text[64], *stop;
    hermes_str value = hermes_json_member(args_json, key);
    if (value.p == NULL || value.n == 0 || value.n >= sizeof text ||
        strchr("-0123456789", value.p[0]) == NULL)
        return 0;
    memcpy(text, value.p, value.n);
    text[value.n] = '\0';
    double number = strtod(text, &stop);
    if (*stop != '\0' || number - number != 0)
        return 0;
    *out = number;
    return 1;
}

/* A whole-number argument (2 and 2.0 are both): 1, or 0 when it is absent, not whole, or beyond +-2^53 (*out
 * stays). */
static inline int hermes_arg_int(hermes_str args_json, const char *key, int64_t *out) {
    double number = 0;
    if (!hermes_arg_number(args_json, key, &number) || number > 9007199254740992.0 ||
        number < -9007199254740992.0 || (double)(int64_t)number < number || (double)(int64_t)number > number)
        return 0;
    *out = (int64_t)number;
    return 1;
}

/* A boolean argument: 1 or 0 as *out and 1 as the result, or 0 when it is absent or not a boolean (*out
 * stays). */
static inline int hermes_arg_bool(hermes_str args_json, const char *key, int *out) {
    hermes_str value = hermes_json_member(args_json, key);
    int is_true = value.n == 4 && memcmp(value.p, "true", 4) == 0;
    if (!is_true && !(value.n == 5 && memcmp(value.p, "false", 5) == 0))
        return 0;
    *out = is_true;
    return 1;
}

#ifdef __cplusplus
}
#endif
#endif /* HERMES_PLUGIN_NO_HELPERS */

#endif
