#!/usr/bin/env python3
"""The public header and hello.c compile without a warning in every dialect that plugin authors use, with the one command of the README, and a
plugin exports one symbol."""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.environ["HERMESD_SOURCE_DIR"]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-fPIC", "-shared", "-I", f"{ROOT}/plugins"]
CPP = """#include <hermes_plugin.h>
static int shout(void *state, hermes_call *call, hermes_str args) {
    const hermes_host *host = static_cast<const hermes_host *>(state);
    char name[64];
    if (hermes_arg_string(args, "name", name, sizeof name) == NULL)
        return hermes_refuse(host, call, HERMES_E_ARGS, "no name");
    return hermes_reply_json(host, call, "{\\"shout\\": \\"%s\\"}", name);
}
static const hermes_tool tool = {HERMES_TOOL_SIZE, HERMES_T_READ_ONLY, "shout", "Shout.", HERMES_SCHEMA({"type": "object"}),
                                 NULL, 0, 0, 0, shout, NULL, NULL};
static const hermes_tool *const tools[] = {&tool, NULL};
HERMES_PLUGIN("shout", "1.0.0", tools);
"""
BARE = """#define HERMES_PLUGIN_NO_HELPERS
#include <hermes_plugin.h>
int unused_by_this(void);
int unused_by_this(void) { return HERMES_OK; }
"""
CASES = [
    ("gcc", "-std=c11", "c"), ("gcc", "-std=c99", "c"), ("gcc", "-std=gnu17", "c"), ("g++", "-std=c++11", "cc"), ("g++", "-std=c++17", "cc"),
    ("clang", "-std=c11", "c"), ("clang", "-std=c99", "c"), ("clang++", "-std=c++11", "cc"), ("clang++", "-std=c++20", "cc"),
]


def run(command, what):
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if out.returncode != 0 or out.stderr:
        print(f"{what} failed:\n{out.stdout}{out.stderr}")
        return False
    return True


def main():
    good, skipped = True, []
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("shout.cc", CPP), ("bare.c", BARE), ("bare.cc", BARE)):
            with open(f"{folder}/{name}", "w", encoding="utf-8") as f:
                f.write(text)
        for compiler, standard, kind in CASES:
            if shutil.which(compiler) is None:
                skipped.append(compiler)
                continue
            whole = "plugins/hello.c" if kind == "c" else f"{folder}/shout.cc"
            for source in (whole, f"{folder}/bare.{kind}"):
                good &= run([compiler, standard, *WARNINGS, "-o", f"{folder}/out.so", source], f"{compiler} {standard} {source}")
        good &= run(["cc", "-shared", "-fPIC", "-Iplugins", "-o", f"{folder}/hello.so", "plugins/hello.c"], "the command of the README")
        symbols = subprocess.run(["nm", "-D", "--defined-only", f"{folder}/hello.so"], capture_output=True, text=True).stdout.split()
        if symbols[2::3] != ["hermes_plugin_v1"]:
            print(f"hello.so exports {symbols[2::3]}")
            good = False
    if skipped:
        print(f"not there, so not tried: {', '.join(sorted(set(skipped)))}")
    if "gcc" in skipped or "g++" in skipped:
        print("gcc and g++ belong to build-essential and must be there")
        good = False
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
