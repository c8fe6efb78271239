#!/usr/bin/env python3
"""The checks of the house fail when they should: each is run over a small tree with one fault."""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LONG_BODY = "\n".join(["    x++;"] * 90)
CALL = "int f(void) {\n    return tool->invoke(state, call, args);\n}\n"
LINK = None  # instead of a text
FAULTS = [
    ("layers", "agent/a.c", '#include "daemon/job.h"\n', "may not include"),
    ("layers", "engine/a.c", "#include <sqlite3.h>\n", "belongs to"),
    ("layers", "agent/a.c", "#include <pthread.h>\n", "pure"),
    ("layers", "tools/b.c", CALL, "exactly one line"),
    ("layers", "daemon/a.c", "int f(void) {\n    return fork();\n}\n", "never forks"),
    ("sizes", "base/a.c", "\n" * 601, "above 600"),
    ("sizes", "base/a.c", "int f(int x) {\n" + LONG_BODY + "\n}\n", "f() has 92 lines"),
    ("words", "base/a.c", "/* TO" + "DO */\n", "left-over"),
    ("words", "base/a.c", 'x = "/wo' + 'rk/y";\n', "path of one machine"),
    ("words", "base/a.c", "strcpy(a, b);\n", "banned"),
    ("words", "here", LINK, "symbolic link"),
]


def run(check, name, text):
    with tempfile.TemporaryDirectory() as root:
        files = {"tools/worker_main.c": CALL, "scripts/packages": "gcc # compiler\n"}
        if name:
            files[name] = text
        for path, content in files.items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            if content is LINK:
                os.symlink("/somewhere", os.path.join(root, path))
                continue
            with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                f.write(content)
        subprocess.run(["git", "init", "-q", root], check=True)
        subprocess.run(["git", "-C", root, "add", "-A"], check=True)
        out = subprocess.run([sys.executable, os.path.join(HERE, f"check_{check}.py")], capture_output=True, text=True,
                             env={**os.environ, "HOUSE_ROOT": root})
        return out.returncode, out.stdout + out.stderr


failed = 0
for check in ("layers", "sizes", "words"):
    rc, out = run(check, None, None)
    if rc != 0:
        print(f"{check} finds a fault in a clean tree: {out}")
        failed += 1
for check, name, text, want in FAULTS:
    rc, out = run(check, name, text)
    if rc == 0 or want not in out:
        print(f"{check} does not see the fault in {name} (wanted '{want}'): {out}")
        failed += 1
print(f"{len(FAULTS) + 3 - failed} of {len(FAULTS) + 3} checks of the checks hold")
sys.exit(1 if failed else 0)
