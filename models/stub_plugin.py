"""A plugin made for an evaluation: tools the model was never trained on, each with the answers to the calls it should get."""
import json
import subprocess

HEAD = """/* Made by models/evaluate: tools nobody trained on. A call is answered only with the arguments it should have. */
#include "hermes_plugin.h"
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <string.h>

struct answer { const char *tool, *arguments, *result; bool error; };

static const struct answer answers[] = {
%s    {NULL, NULL, NULL, false}};

static int answer_call(const hermes_host *host, hermes_call *call, hermes_str args, const char *tool) {
    cJSON *given = cJSON_ParseWithLength(args.p, args.n);
    for (const struct answer *a = answers; a->tool != NULL; a++) {
        if (strcmp(a->tool, tool) != 0)
            continue;
        cJSON *wanted = cJSON_Parse(a->arguments);
        bool same = cJSON_Compare(given, wanted, true);
        cJSON_Delete(wanted);
        if (same) {
            cJSON_Delete(given);
            int status = host->write(call, a->result, strlen(a->result));
            return a->error ? HERMES_E_TOOL : status;
        }
    }
    cJSON_Delete(given);
    return hermes_refuse(host, call, HERMES_E_TOOL, "these arguments were not asked for");
}
"""
TOOL = """
static int call_%(n)d(void *state, hermes_call *call, hermes_str args) {
    return answer_call(state, call, args, %(name)s);
}
static const hermes_tool tool_%(n)d = {.size = HERMES_TOOL_SIZE, .flags = HERMES_T_READ_ONLY | HERMES_T_IDEMPOTENT, .name = %(name)s,
    .description = %(description)s, .args_schema = %(schema)s, .timeout_ms = 5000, .invoke = call_%(n)d};
"""
TAIL = """
static const hermes_tool *const tools[] = {%s, NULL};
HERMES_PLUGIN("evaluation-%d", "1.0.0", tools);
"""


def c_text(text):
    out = []
    for byte in text.encode():
        char = chr(byte)
        out.append("\\" + char if char in '"\\' else char if 32 <= byte < 127 and char != "?" else f"\\{byte:03o}")
    return '"' + "".join(out) + '"'


def write(path, number, tools, answers):
    """number: of the plugin; tools: the definitions; answers: [(tool, arguments, result)], result an object, a text or ('error', sentence)."""
    rows = []
    for name, arguments, result in answers:
        failed = isinstance(result, (tuple, list)) and len(result) == 2 and result[0] == "error"
        text = result[1] if failed else result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
        rows.append(f"    {{{c_text(name)}, {c_text(json.dumps(arguments, ensure_ascii=False))}, {c_text(text)}, {'true' if failed else 'false'}}},\n")
    parts = [HEAD % "".join(rows)]
    for n, tool in enumerate(tools):
        parts.append(TOOL % {"n": n, "name": c_text(tool["name"]), "description": c_text(tool["description"]),
                             "schema": c_text(json.dumps(tool["parameters"], ensure_ascii=False))})
    parts.append(TAIL % (", ".join(f"&tool_{n}" for n in range(len(tools))), number))
    with open(path, "w") as f:
        f.write("".join(parts))


def build(source, library, include):
    subprocess.run(["cc", "-std=gnu11", "-O1", "-shared", "-fPIC", "-I", include, "-o", library, source, "-lcjson"], check=True)
