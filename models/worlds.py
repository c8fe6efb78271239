"""What a task finds when it starts (files, notes, documents, a database, web pages), and whether its answer and effects are right."""
import datetime
import http.server
import os
import re
import shutil
import sqlite3
import sys
import threading

from words import WEEKDAYS


PORT = 18080  # always the same: it stands in prompts, and a few ports (33333) are hard to copy


class Pages:
    """A web server on the loopback address whose pages the tasks decide."""

    def __init__(self, port=PORT):
        pages = self.pages = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = pages.get(self.path, (404, "Not Found"))
                data = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.address = f"127.0.0.1:{port}"
        try:
            self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as e:
            sys.exit(f"error: no web pages can be served at {self.address} ({e.strerror}): end what listens there; models/evaluate takes another one with --port")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def fill_table(db, d):
    """A table for which the task's query gives the task's rows."""
    table, column, key, rows = d["table"], d["column"], d["key"], d["rows"]
    value = rows[0][0]
    if column is None:
        db.execute(f'CREATE TABLE "{table}"(id INTEGER, name TEXT)')
        db.executemany(f'INSERT INTO "{table}" VALUES(?, ?)', [(i, f"row {i}") for i in range(value)])
    elif key == "all":
        db.execute(f'CREATE TABLE "{table}"("{column}" TEXT)')
        db.executemany(f'INSERT INTO "{table}" VALUES(?)', rows)
    elif key is not None:
        db.execute(f'CREATE TABLE "{table}"(id INTEGER, "{column}" TEXT)')
        db.executemany(f'INSERT INTO "{table}" VALUES(?, ?)', [(key + 1000, "other"), (key, value)])
    else:
        f = d["query"].split("(")[0].split()[1]
        values = {"SUM": [1, value - 1], "AVG": [int(value), int(value) + 1], "MAX": [value, value - 1, value - 2], "MIN": [value + 2, value, value + 1]}[f]
        db.execute(f'CREATE TABLE "{table}"("{column}" INTEGER)')
        db.executemany(f'INSERT INTO "{table}" VALUES(?)', [(v,) for v in values])
    db.commit()
    got = [list(r) for r in db.execute(d["query"]).fetchall()]
    if got != rows:
        raise ValueError(f"{d['query']} gives {got}, wanted {rows}")


def empty(folder):
    for entry in os.scandir(folder):
        shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)


def put(folder, path, content):
    full = os.path.join(folder, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w", newline="") as f:
        f.write(content)


def prepare(task, room, pages, api):
    """Lays out the task's world; ValueError when it cannot be laid out (two files of one name, a column named like a keyword)."""
    workspace, documents = os.path.join(room, "workspace"), os.path.join(room, "documents")
    empty(workspace)
    empty(documents)
    try:
        world(task, workspace, documents, pages, api)
    except (OSError, sqlite3.Error) as e:
        raise ValueError(str(e)) from e


def world(task, workspace, documents, pages, api):
    for path, content in task.world.get("files", {}).items():
        put(workspace, path, content)
    folder = task.world.get("folder")
    if folder:
        here = os.path.normpath(os.path.join(workspace, folder["path"]))
        os.makedirs(here, exist_ok=True)
        for entry in folder["entries"]:
            if entry.endswith("/"):
                os.makedirs(os.path.join(here, entry))
            elif not os.path.exists(os.path.join(here, entry)):
                put(here, entry, "text\n")
    lines = {}
    for m in task.world.get("search", []):
        lines.setdefault(m["path"], {})[m["line"]] = m["text"]
    for path, numbered in lines.items():
        put(workspace, path, "".join(numbered.get(i, "-") + "\n" for i in range(1, max(numbered) + 1)))
    for path in task.effects.get("files", {}):
        os.makedirs(os.path.dirname(os.path.join(workspace, path)) or ".", exist_ok=True)
    for name, arguments, _ in task.wanted:
        if name == "search_files" and "path" in arguments:
            os.makedirs(os.path.join(workspace, arguments["path"]), exist_ok=True)
    for key, value in task.world.get("notes", {}).items():
        stored = api.call_tool("remember", {"key": key, "value": value})
        if stored.get("is_error"):
            sys.exit(f"error: the note {key} of a task cannot be stored: {stored['output']}")
    for passage in task.world.get("documents", []):
        put(documents, passage["id"].split("#")[0] + "-" + passage["id"].split("#")[1] + ".txt", passage["text"] + "\n")
    d = task.world.get("database")
    missing = task.world.get("missing", "")
    if d or "no such table" in missing:
        query = next(a for n, a, _ in task.wanted if n == "sql_query")
        db = sqlite3.connect(os.path.join(workspace, query["database"]))
        if d:
            fill_table(db, d)
        else:
            db.execute("CREATE TABLE zzz_other(id INTEGER)")
            db.commit()
        db.close()
    for name, arguments, result in task.wanted:
        if name == "http_fetch" and isinstance(result, dict):
            pages.pages["/" + arguments["url"].split("/", 3)[3] if arguments["url"].count("/") > 2 else "/"] = (result["status"], result["body"])


def on_loopback(task, address):
    """The web tasks' addresses become pages of our own server; an unreachable one stays unreachable."""
    for name, arguments, result in task.wanted:
        if name != "http_fetch":
            continue
        old = arguments["url"]
        host = address if isinstance(result, dict) else "127.0.0.1:1"
        arguments["url"] = "http://" + host + "/" + (old.split("/", 3)[3] if old.count("/") > 2 else "")
        for m in task.messages:
            if m["role"] == "user":
                m["content"] = m["content"].replace(old, arguments["url"])


def wanted_of(task):
    """What a right answer holds. Where a tool's own words or the clock decide, they are asked now."""
    now = datetime.datetime.now(datetime.timezone.utc)
    today = now.date()
    if "clock" in task.effects:
        offset = task.wanted[0][1].get("utc_offset", "+00:00")
        there = datetime.timedelta(hours=int(offset[1:3]), minutes=int(offset[4:6]))
        return [(now - there if offset[0] == "-" else now + there).date().isoformat()]
    if "clock_add" in task.effects:
        day = today + datetime.timedelta(days=task.effects["clock_add"])
        return [day.isoformat(), WEEKDAYS[day.weekday()]]
    if "clock_diff" in task.effects:
        other = datetime.date.fromisoformat(task.effects["clock_diff"][0])
        return [str(abs((today - other).days))]
    return task.expect


def effects_hold(task, room, api):
    for path, content in task.effects.get("files", {}).items():
        full = os.path.join(room, "workspace", path)
        if not os.path.isfile(full):
            return f"{path} was not written"
        with open(full, newline="") as f:
            if f.read() != content:
                return f"{path} does not hold {content!r}"
    for key, value in task.effects.get("notes", {}).items():
        got = api.call_tool("recall", {"key": key})
        if got.get("is_error") or value not in got["output"].replace('\\"', '"'):
            return f"the note {key} is not {value!r}"
    return None


def judge(task, job, calls, room, api):
    """None when the job solved the task, else what is wrong. `calls`: the calls of the job's trace."""
    if job["status"] != "completed":
        return f"{job['status']}: {(job.get('error') or {}).get('code')}"
    answer = job["result"]["text"]
    failed = [c["output"] for c in calls if c["is_error"]]
    if task.wanted and not calls:
        return "no tool was called"
    if not task.wanted and calls:
        return "a tool was called"
    last = task.wanted[-1][2] if task.wanted else None
    if isinstance(last, tuple):  # the honest end of a failure: the tool's own words
        if not any(f.rstrip(".") in answer for f in failed):
            return f"the answer does not hold the tool's error {failed}"
    else:
        for text in wanted_of(task):
            if text not in answer:
                return f"the answer lacks {text!r}"
    if task.kind == "cite" and task.world.get("documents"):
        cited = re.findall(r"<co>(.*?)</co>", answer)
        passages = "".join(c["output"] for c in calls)
        if len(cited) != 1 or f'"id": "{cited[0]}"' not in passages:
            return f"cites {cited}"
    return effects_hold(task, room, api)
