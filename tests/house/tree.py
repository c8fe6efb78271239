"""The files of the project, as git knows them (or a plain walk where there is no git)."""
import os
import subprocess

ROOT = os.path.abspath(os.environ.get("HOUSE_ROOT", os.path.join(os.path.dirname(__file__), "..", "..")))


def files(*suffixes):
    try:
        out = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], check=True,
                             capture_output=True, text=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        out = [os.path.relpath(os.path.join(folder, name), ROOT)
               for folder, _, names in os.walk(ROOT) for name in names
               if "/build" not in folder and "/.git" not in folder]
    return sorted(f for f in out if f.endswith(suffixes) and os.path.isfile(os.path.join(ROOT, f)))


def links():
    """Symbolic links that git keeps."""
    try:
        out = subprocess.run(["git", "-C", ROOT, "ls-files", "-s"], check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [line.split("\t", 1)[1] for line in out.splitlines() if line.startswith("120000 ")]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def report(name, problems):
    for problem in problems:
        print(problem)
    print(f"{name}: {len(problems)} problems")
    return 1 if problems else 0
