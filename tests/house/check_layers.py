#!/usr/bin/env python3
"""Who may include whom, and that exactly one line of the project calls a plugin function."""
import re
import sys

import tree

# folder -> our headers it may include (folders, or single files)
MAY = {
    "base": ["base/"],
    "kernels": ["base/", "kernels/"],
    "engine": ["base/", "kernels/", "engine/"],
    "tools": ["base/", "tools/", "plugins/hermes_plugin.h"],
    # what it makes grammars from
    "agent": ["base/", "agent/", "engine/grammar.h", "engine/grammar_except.h", "tools/schema.h", "tools/schema_graph.h", "tools/value.h", "tools/regex.h",
              "tools/format.h", "tools/decimal.h"],
    "daemon": ["base/", "engine/", "tools/", "agent/", "daemon/", "plugins/hermes_plugin.h"],
    "plugins": ["plugins/", "hermes_plugin.h"],
}
# library header -> folders that may include it
ONLY = {
    r"uv\.h|llhttp\.h|ini\.h": ["daemon"],
    r"sqlite3\.h": ["daemon", "plugins"],
    r"curl/.*": ["daemon", "plugins", "engine"],
    r"cuda.*|cublas.*|nccl.*": ["kernels"],
    r"dlfcn\.h": ["tools", "kernels"],
}
# the agent is pure: no I/O, no threads, no clock
NEVER_IN_AGENT = r"pthread\.h|unistd\.h|time\.h|sys/.*|fcntl\.h|poll\.h|signal\.h"


def problems():
    found = []
    calls = []
    for path in tree.files(".c", ".h", ".cu", ".cuh"):
        folder = path.split("/")[0]
        text = tree.read(path)
        if folder in MAY:
            for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.M):
                ours = any(name == m or (m.endswith("/") and name.startswith(m)) for m in MAY[folder])
                if not ours:
                    found.append(f"{path}: {folder}/ may not include \"{name}\"")
            for name in re.findall(r"^\s*#\s*include\s+<([^>]+)>", text, re.M):
                for pattern, allowed in ONLY.items():
                    if re.fullmatch(pattern, name) and folder not in allowed:
                        found.append(f"{path}: <{name}> belongs to {', '.join(allowed)} only")
                if folder == "agent" and re.fullmatch(NEVER_IN_AGENT, name):
                    found.append(f"{path}: the agent is pure and may not include <{name}>")
            if path != "plugins/plugin_test.h":
                calls += [f"{path}:{n}" for n, line in enumerate(text.split("\n"), 1)
                          if re.search(r"(->|\.)\s*(invoke|start)\s*\(\s*\w*state", line)]
    if len(calls) != 1:
        found.append(f"exactly one line may call a plugin function, found {len(calls)}: {', '.join(calls) or 'none'}")
    for path in tree.files(".c", ".h"):
        if path.startswith(("daemon/", "engine/", "agent/", "base/", "kernels/")) and re.search(r"\bv?fork\s*\(|\buv_spawn\s*\(", tree.read(path)):
            found.append(f"{path}: the daemon process never forks; use tools/spawn")
    return found


if __name__ == "__main__":
    sys.exit(tree.report("layers", problems()))
