"""Requests of several calls whose first one fails: there is no number to go on with, and the answer says so."""
import json
import re

import tasks_compute as compute
import tasks_files as files
import tasks_stores as stores
from render import Task


def outside(w):
    """A path that the workspace does not hold, whatever is in it."""
    return w.pick(["../../etc/passwd", "/etc/passwd", "/etc/hosts", f"../{w.word()}.txt", f"../../{w.word()}/{w.word()}.txt", f"/{w.word()}/{w.word()}.txt", f"/home/{w.word()}/{w.word()}.md",
                   f"/tmp/{w.word()}.txt"])


def problem_of(w, name, arguments):
    """What the real tool says."""
    if name == "read_file":
        path = arguments["path"]
        return f"outside the workspace, use a path inside it: {path}" if path.startswith(("/", "..")) else f"no such file: {path}"
    if name == "list_files":
        return f"no such folder: {arguments['path']}"
    if name == "recall":
        return f"no value is stored under '{arguments['key']}'"
    return f"no such file: {arguments['database']}"


def first_fails(make):
    """The task that `make` makes, ended honestly where its first call fails."""

    def task(w):
        whole = make(w)
        said, first = whole.messages[0]["content"], whole.messages[1]["content"]
        name, arguments = (json.loads(re.search(r"<tool_call>\n(.*?)\n</tool_call>", first, re.S)[1])[k] for k in ("name", "arguments"))
        if name == "read_file" and w.chance(0.3):
            old, new = arguments["path"], outside(w)
            said, first, arguments = said.replace(old, new), first.replace(json.dumps(old), json.dumps(new)), {"path": new}
        problem = problem_of(w, name, arguments)
        t = Task("error").user(said)
        t.call(name, arguments, ("error", problem))
        t.messages[1]["content"] = first
        if name == "sql_query":
            t.world["missing"] = problem
        return t.answer(f"That did not work: {problem}.", [problem])

    task.__name__ = make.__name__ + "_failed"
    return task


FAILED = {first_fails(make): (needs, weight, []) for make, needs, weight in [
    (files.read_then_calculate, ["read_file", "calculator"], 0.7),
    (files.copy_file, ["read_file", "write_file"], 0.2),
    (files.read_then_weekday, ["read_file", "weekday"], 0.2),
    (files.list_then_read, ["list_files", "read_file"], 0.2),
    (stores.recall_then_calculate, ["recall", "calculator"], 0.3),
    (stores.recall_then_read, ["recall", "read_file"], 0.15),
    (stores.read_then_remember, ["read_file", "remember"], 0.15),
    (stores.sql_then_calculate, ["sql_query", "calculator"], 0.2),
]}


def outside_file(w):
    path = outside(w)
    problem = problem_of(w, "read_file", {"path": path})
    t = Task("error").user(files.read_request(w, path))
    t.call("read_file", {"path": path}, ("error", problem))
    return t.answer(f"That did not work: {problem}.", [problem])


def one_of_two_missing(w):
    """Two files, of which one is not there: what one says is said all the same."""
    whole = files.two_reads(w)
    paths = list(whole.world["files"])
    if len(paths) < 2:
        return whole
    lost = w.pick([0, 1])
    texts = [whole.expect[0], whole.expect[1]]
    problem = f"no such file: {paths[lost]}"
    results = [{"content": whole.world["files"][p]} for p in paths]
    results[lost] = ("error", problem)
    parts = [f"The {n} says: {text}" for n, text in zip(("first", "second"), texts)]
    parts[lost] = f"The {('first', 'second')[lost]} did not work: {problem}."
    t = Task("error").user(whole.messages[0]["content"]).file(paths[1 - lost], whole.world["files"][paths[1 - lost]])
    t.calls([("read_file", {"path": p}) for p in paths], results, ["read_file and read_file"])
    return t.answer("\n".join(parts), [texts[1 - lost], problem] if lost == 1 else [problem, texts[1]])


# one call and one answer each, of tools that the tasks may meet together
ALONE = [(compute.calculate, "calculator"), (compute.calculate, "calculator"), (compute.weekday, "weekday"), (compute.date_add, "date_add"), (files.read_file, "read_file"), (files.read_file, "read_file"),
         (stores.recall, "recall"), (stores.remember, "remember")]


def two_things(w, names):
    """Two requests in one sentence, two calls in one turn. None where `names` have not two such tools."""
    able = [make for make, name in ALONE if name in names]
    if len(set(able)) < 2:
        return None
    a, b = w.pick(able)(w), w.pick(able)(w)
    first, second = (t.messages[0]["content"] for t in (a, b))
    if a.kind == b.kind or "error" in (a.kind, b.kind) or any(len(t.messages) != 4 for t in (a, b)):
        return None
    t = Task("parallel").user(first.rstrip("?.! ") + w.pick([" and ", " and ", ", and ", "? And ", ". Also "]) + second[0].lower() + second[1:])
    calls, bodies = [], []
    for one in (a, b):
        calls.append(re.search(r"<tool_call>\n(.*?)\n</tool_call>", one.messages[1]["content"], re.S)[1])
        bodies += one.messages[2]["responses"]
        for key, value in one.world.items():
            t.world.setdefault(key, {}).update(value)
        for key, value in one.effects.items():
            t.effects.setdefault(key, {}).update(value)
    names = [json.loads(c)["name"] for c in calls]
    t.messages.append({"role": "assistant", "content": f"<PLAN>\n1. {names[0]} and {names[1]}\n</PLAN>\n" + "\n".join(f"<tool_call>\n{c}\n</tool_call>" for c in calls)})
    t.messages.append({"role": "tool", "responses": bodies})
    return t.answer(f"First: {a.messages[3]['content']}\nSecond: {b.messages[3]['content']}", a.expect + b.expect)
