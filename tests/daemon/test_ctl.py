#!/usr/bin/env python3
"""hermesctl against a scripted peer: what it sends, what it prints where, and how it ends."""
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import unittest

import ctl_peer
from ctl_peer import ID, Broken, Peer, job, story

CTL = os.path.join(os.environ.get("HERMESD_BINARY_DIR", "build/dev"), "bin", "hermesctl")


def environment(**more):
    base = {k: v for k, v in os.environ.items()
            if k not in ("HERMESD_HOST", "HERMESD_SOCKET", "HERMESD_TOKEN", "NO_COLOR", "CLICOLOR_FORCE", "XDG_RUNTIME_DIR")}
    return {**base, "TERM": "xterm", **more}


class Case(unittest.TestCase):
    def setUp(self):
        self.peer = None
        self.maxDiff = None

    def tearDown(self):
        if self.peer:
            self.peer.close()

    def serve(self, script, **how):
        self.peer = Peer(script if callable(script) else lambda request: script, **how)
        return self.peer

    def ctl(self, *words, stdin=subprocess.DEVNULL, given=None, env=None, timeout=20):
        args = [CTL] + (["--socket", self.peer.host] if self.peer else []) + [*words]
        how = {"input": given} if given is not None else {"stdin": stdin}
        return subprocess.run(args, capture_output=True, env=env or environment(), timeout=timeout, text=True, **how)

    def check(self, done, code, out=None, err=None):
        self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        if out is not None:
            self.assertEqual(done.stdout, out)
        if err is not None:
            self.assertIn(err, done.stderr)
        return done


class Run(Case):
    def test_the_answer_alone_is_on_standard_output(self):
        self.serve(lambda request: story())
        done = self.check(self.ctl("run", "How much is", "17 % of 2,340?"), 0, "It is 397.8.\n")
        self.assertEqual(done.stderr, f"{ID}\nPLAN\n  Multiply.\n  Then answer.\n"
                         '→ calculator {"expression":"2340*0.17"}\n← calculator 397.8  (1.2 ms)\n'
                         "2 turns, 1 calls, 172 tokens read, 143 written\n")
        request = self.peer.requests[0]
        self.assertEqual((request["method"], request["path"]), ("POST", "/v1/jobs"))
        self.assertEqual(request["json"], {"input": "How much is 17 % of 2,340?"})
        self.assertEqual(request["headers"]["accept"], "text/event-stream")
        self.assertEqual(request["headers"]["content-type"], "application/json")
        self.assertEqual(len(request["headers"]["idempotency-key"]), 32)

    def test_options_become_members(self):
        self.serve(lambda request: story())
        self.check(self.ctl("run", "-t", "a,b", "x", "--tool=c_*", "--system", "Be brief.", "-m", "tiny", "--max-turns", "3",
                            "--temperature", "0.5", "--seed", "7", "--idempotency-key", "k"), 0)
        request = self.peer.requests[0]
        self.assertEqual(request["json"], {"input": "x", "system": "Be brief.", "model": "tiny", "tools": ["a", "b", "c_*"],
                                           "max_turns": 3, "temperature": 0.5, "seed": 7})
        self.assertEqual(request["headers"]["idempotency-key"], "k")
        self.check(self.ctl("run", "--no-tools", "--", "-x"), 0)
        self.assertEqual(self.peer.requests[1]["json"], {"input": "-x", "tools": []})

    def test_the_prompt_may_come_over_a_pipe(self):
        self.serve(lambda request: story())
        for words, given, expected in ((["Sum up:"], "line\n", "Sum up:\n\nline\n"), (["-"], "all of it", "all of it"),
                                       ([], "all", "all"), (["no pipe"], "", "no pipe")):
            self.check(self.ctl("run", *words, given=given), 0)
            self.assertEqual(self.peer.requests[-1]["json"]["input"], expected)
        self.check(self.ctl("run", "-", given=""), 2, "", "The prompt is empty.")
        self.check(self.ctl("run"), 2, "", "There is no prompt")

    def test_quiet_and_no_reasoning(self):
        self.serve(lambda request: story())
        self.check(self.ctl("run", "-q", "x"), 0, "It is 397.8.\n")
        self.assertEqual(self.ctl("run", "-q", "x").stderr, "")
        done = self.ctl("run", "--no-reasoning", "x")
        self.assertNotIn("Multiply", done.stderr)
        self.assertIn("calculator", done.stderr)

    def test_json_is_the_events(self):
        self.serve(lambda request: story())
        done = self.check(self.ctl("run", "--json", "x"), 0)
        self.assertEqual([json.loads(line) for line in done.stdout.splitlines()], story())
        self.assertEqual(done.stderr, "")

    def test_a_message_that_is_not_the_answer_goes_to_standard_error(self):
        events = story()
        events.insert(6, {"type": "message.done", "turn": 0, "position": 1, "text": "Let me see.", "sequence_number": 99, "job_id": ID})
        self.serve(lambda request: events)
        done = self.check(self.ctl("run", "x"), 0, "It is 397.8.\n")
        self.assertIn("\nLet me see.\n→ calculator", done.stderr)

    def test_calls_that_fail(self):
        events = story()
        events[6:9] = [{"type": "tool_call.completed", "turn": 0, "call_id": "call_0", "name": "calculater", "arguments": {"a": 1},
                        "status": "invalid", "is_error": True, "output": "no such\ntool", "duration_ms": None, "job_id": ID,
                        "sequence_number": 5}]
        self.serve(lambda request: events)
        done = self.check(self.ctl("run", "x"), 0, "It is 397.8.\n")
        self.assertIn('✗ calculater {"a":1} invalid: no such tool\n', done.stderr)

    def test_detach_prints_the_id(self):
        self.serve((202, job("queued")))
        done = self.check(self.ctl("run", "--detach", "-q", "x"), 0, ID + "\n")
        self.assertEqual(done.stderr, "")
        self.assertEqual(self.peer.requests[0]["headers"]["accept"], "application/json")
        self.assertEqual(json.loads(self.ctl("run", "--detach", "--json", "x").stdout)["id"], ID)

    def test_endings(self):
        self.serve(lambda request: story("failed"))
        self.check(self.ctl("run", "x"), 5, "", "The job failed: The job used all its 16 turns. (max_turns)")
        self.peer.server.script = lambda request: story("cancelled")
        self.check(self.ctl("run", "x"), 5, "", "The job was cancelled.")
        self.peer.server.script = lambda request: story("failed")
        self.check(self.ctl("run", "--json", "x"), 5)
        self.peer.server.script = lambda request: story()[:3] + [{"type": "input.required", "job_id": ID, "sequence_number": 4}]
        self.check(self.ctl("run", "x"), 7, "", "needs input")

    def test_refusals(self):
        error = {"error": {"message": "tool 'a' is not registered", "type": "invalid_request_error", "param": "tools[0]", "code": "tool_not_found"}}
        for status, code in ((400, 1), (401, 4), (403, 4), (404, 1), (422, 1), (429, 1), (500, 1), (503, 1)):
            with self.subTest(status=status):
                self.serve((status, error))
                self.check(self.ctl("run", "x"), code, "", "tool 'a' is not registered (tool_not_found)")
                self.check(self.ctl("run", "--detach", "x"), code, "", "tool 'a' is not registered (tool_not_found)")
                self.peer.close()
        self.serve((500, b"oops"))
        self.check(self.ctl("run", "x"), 1, "", "status 500 and no explanation")

    def test_timeout_leaves_the_job_alone(self):
        def script(request):
            yield from story()[:4]
            time.sleep(30)
        self.serve(script)
        start = time.monotonic()
        self.check(self.ctl("run", "--timeout", "500ms", "x"), 6, "", f"job {ID} goes on")
        self.assertLess(time.monotonic() - start, 5)
        self.assertEqual(len(self.peer.requests), 1)


class Reconnect(Case):
    def test_a_broken_stream_goes_on_behind_the_last_event(self):
        def script(request):
            if request["method"] == "POST":
                yield from story()[:6]
                raise Broken
            last = int(request["headers"]["last-event-id"])
            yield from (e for e in story() if e.get("sequence_number", 99) > last)
        self.serve(script)
        done = self.check(self.ctl("run", "x"), 0, "It is 397.8.\n", "the connection broke; trying again")
        self.assertEqual(done.stderr.count("Multiply."), 1)
        self.assertEqual(done.stderr.count("→ calculator"), 1)
        self.assertEqual(self.peer.requests[1]["path"], f"/v1/jobs/{ID}/events")
        self.assertEqual(self.peer.requests[1]["headers"]["last-event-id"], "4")

    def test_a_slow_reader_connects_again(self):
        def script(request):
            if request["method"] == "POST":
                yield from story()[:3]
                yield b'event: error\ndata: {"code": "slow_consumer"}\n\n'
                return
            yield from story()[3:]
        self.serve(script)
        self.check(self.ctl("run", "x"), 0, "It is 397.8.\n")
        self.assertEqual(self.peer.requests[1]["headers"]["last-event-id"], "3")

    def test_a_submission_that_breaks_is_repeated_with_its_key(self):
        def script(request):
            if len(self.peer.requests) == 1:
                raise Broken
            yield from story()
        self.serve(script)
        self.check(self.ctl("run", "x"), 0, "It is 397.8.\n")
        keys = [r["headers"]["idempotency-key"] for r in self.peer.requests]
        self.assertEqual((len(keys), keys[0]), (2, keys[1]))

    def test_a_key_that_was_used_shows_its_job(self):
        def script(request):
            if request["method"] == "POST":
                return (200, job("completed"))
            return story()
        self.serve(script)
        self.check(self.ctl("run", "--idempotency-key", "k", "x"), 0, "It is 397.8.\n")
        self.assertNotIn("last-event-id", self.peer.requests[-1]["headers"])

    def test_a_restart_of_the_daemon(self):
        state = {"down": 2}

        def script(request):
            if request["method"] == "POST":
                return story()[:7]
            if state["down"] > 0:
                state["down"] -= 1
                return (503, {"error": {"message": "shutting down", "code": "shutting_down"}})
            return [{"type": "job.resumed", "job_id": ID, "attempt": 2, "sequence_number": 6}] + story()[8:]
        self.serve(script)
        done = self.check(self.ctl("run", "x"), 0, "It is 397.8.\n", "the daemon was restarted; the job goes on")
        self.assertEqual(done.stderr.count("trying again"), 1)

    def test_a_job_that_is_gone(self):
        def script(request):
            if request["method"] == "POST":
                return story()[:5]
            return (404, {"error": {"message": "no such job", "code": "job_not_found"}})
        self.serve(script)
        self.check(self.ctl("run", "x"), 1, "", "no such job (job_not_found)")


class Interrupt(Case):
    def start(self, *words):
        return subprocess.Popen([CTL, *words, "--socket", self.peer.host], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=environment())

    def script(self, end):
        self.cancelled = False

        def answer(request):
            if request["path"].endswith("/cancel"):
                self.cancelled = True
                return (200, job("working"))
            return self.follow(request, end)
        return answer

    def follow(self, request, end):
        if request["method"] == "POST":
            yield from story()[:3]
        while not (self.cancelled and end):
            time.sleep(0.02)
            yield b": ka\n\n"
        yield story(end)[-1]

    def test_the_first_cancels_and_waits(self):
        self.serve(self.script("cancelled"))
        ctl = self.start("run", "x")
        self.peer.wait_for(lambda r: r["method"] == "POST")
        time.sleep(0.3)
        ctl.send_signal(signal.SIGINT)
        out, err = ctl.communicate(timeout=10)
        self.assertEqual((ctl.returncode, out), (130, ""))
        self.assertIn("cancelling; Ctrl-C again leaves", err)
        self.assertIn("The job was cancelled.", err)
        self.assertTrue(self.cancelled)

    def test_a_job_that_completes_nevertheless(self):
        self.serve(self.script("completed"))
        ctl = self.start("run", "x")
        self.peer.wait_for(lambda r: r["method"] == "POST")
        time.sleep(0.3)
        ctl.send_signal(signal.SIGINT)
        out, _ = ctl.communicate(timeout=10)
        self.assertEqual((ctl.returncode, out), (0, "It is 397.8.\n"))

    def test_the_second_leaves(self):
        self.serve(self.script(None))
        ctl = self.start("run", "x")
        self.peer.wait_for(lambda r: r["method"] == "POST")
        time.sleep(0.3)
        ctl.send_signal(signal.SIGINT)
        self.peer.wait_for(lambda r: r["path"].endswith("/events"))
        time.sleep(0.1)
        ctl.send_signal(signal.SIGINT)
        ctl.communicate(timeout=5)
        self.assertEqual(ctl.returncode, 130)


class Terminal(Case):
    def on_terminal(self, *words, env=None):
        """Standard output and error on one pseudo terminal; what it saw."""
        master, slave = pty.openpty()
        ctl = subprocess.Popen([CTL, *words, "--socket", self.peer.host], stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
                               env=env or environment())
        os.close(slave)
        seen = b""
        while select.select([master], [], [], 10)[0]:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            if not piece:
                break
            seen += piece
        os.close(master)
        self.assertEqual(ctl.wait(10), 0, seen)
        return seen.decode().replace("\r\n", "\n")

    def test_text_is_shown_as_it_comes_and_once(self):
        self.serve(lambda request: story())
        seen = self.on_terminal("run", "x", env=environment(NO_COLOR="1"))
        self.assertEqual(seen, f"{ID}\nPLAN\n  Multiply.\n  Then answer.\n"
                         '→ calculator {"expression":"2340*0.17"}\n← calculator 397.8  (1.2 ms)\nIt is 397.8.\n'
                         "2 turns, 1 calls, 172 tokens read, 143 written\n")

    def test_deltas_that_were_lost_are_made_good(self):
        self.serve(lambda request: [e for e in story() if e.get("delta") not in ("\nMulti", "It is ")])
        seen = self.on_terminal("run", "x", env=environment(NO_COLOR="1"))
        self.assertIn("PLAN\n  Multiply.\n  Then answer.\n→", seen)
        self.assertIn("\n397.8.\nIt is 397.8.\n2 turns", seen)

    def test_colour_where_it_is_wanted(self):
        self.serve(lambda request: story())
        self.assertIn("\x1b[2m", self.on_terminal("run", "x"))
        for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            self.assertNotIn("\x1b", self.on_terminal("run", "x", env=environment(**env)))
        self.assertNotIn("\x1b", self.on_terminal("run", "x", "--color", "never"))
        self.assertIn("\x1b[2m", self.on_terminal("run", "x", "--color", "always", env=environment(NO_COLOR="1")))
        self.assertNotIn("\x1b", self.ctl("run", "x").stderr)
        self.assertIn("\x1b", self.ctl("run", "x", env=environment(CLICOLOR_FORCE="1")).stderr)

    def test_nobody_else_moves_the_cursor(self):
        events = story()
        events[12]["text"] = events[13]["job"]["result"]["text"] = "a\x1b[2Jb\u009bc\x07"
        events[8]["output"] = "\x1b]0;title\x07"
        self.serve(lambda request: [e for e in events if "delta" not in e["type"]])
        seen = self.on_terminal("run", "x", env=environment(NO_COLOR="1"))
        self.assertIn("a\\x1b[2Jb\\xc2\\x9bc\\x07\n", seen)
        self.assertIn("\\x1b]0;title\\x07", seen)
        self.assertNotIn("\x1b", seen)
        self.assertEqual(self.ctl("run", "-q", "x").stdout, "a\x1b[2Jb\u009bc\x07\n")  # a file gets the bytes


class Jobs(Case):
    def many(self, n):
        jobs = [job("completed", f"job_01JD8Z0M9V3N8K6T2QX4B7{i:04d}", title=f"number {i}") for i in range(n)]

        def script(request):
            query = dict(p.split("=") for p in request["path"].partition("?")[2].split("&") if p)
            start = [j["id"] for j in jobs].index(query["after"]) + 1 if "after" in query else 0
            page = jobs[start:start + int(query["limit"])]
            return (200, {"object": "list", "data": page, "first_id": page[0]["id"] if page else None,
                          "last_id": page[-1]["id"] if page else None, "has_more": start + len(page) < len(jobs)})
        return script

    def test_a_table(self):
        self.serve(self.many(2))
        done = self.check(self.ctl("jobs"), 0)
        self.assertEqual(done.stdout.splitlines()[0],
                         "job_01JD8Z0M9V3N8K6T2QX4B70000  completed  2026-11-23 05:00:00     2.5s  number 0")
        self.assertEqual(self.peer.requests[0]["path"], "/v1/jobs?limit=20")
        self.ctl("jobs", "--status", "in put", "-n", "3")
        self.assertEqual(self.peer.requests[1]["path"], "/v1/jobs?limit=3&status=in%20put")

    def test_pages_become_one_list(self):
        self.serve(self.many(250))
        done = self.check(self.ctl("jobs", "--json", "-n", "230"), 0)
        page = json.loads(done.stdout)
        self.assertEqual([j["title"] for j in page["data"]], [f"number {i}" for i in range(230)])
        self.assertEqual((page["object"], page["first_id"], page["last_id"], page["has_more"]),
                         ("list", page["data"][0]["id"], page["data"][-1]["id"], True))
        self.assertEqual(len(self.check(self.ctl("jobs", "-n", "1000"), 0).stdout.splitlines()), 250)

    def test_no_jobs(self):
        self.serve(self.many(0))
        self.check(self.ctl("jobs"), 0, "", "There are no jobs.")
        self.assertEqual(json.loads(self.ctl("jobs", "--json").stdout)["data"], [])

    def test_any_unique_part_of_an_id(self):
        lists = self.many(150)
        self.serve(lambda request: lists(request) if "?" in request["path"] else (200, job(job_id=request["path"].split("/")[3])))
        done = self.check(self.ctl("show", "b70142"), 0)  # on the second page, in any case
        self.assertIn("id        job_01JD8Z0M9V3N8K6T2QX4B70142\n", done.stdout)
        self.check(self.ctl("show", "0142x"), 1, "", "No job has '0142x' in its id")
        self.check(self.ctl("show", "B7014"), 2, "", "'B7014' is a part of 10 ids: ")
        self.check(self.ctl("show", ""), 2, "", "The id is empty.")

    def test_show(self):
        self.serve((200, job()))
        done = self.check(self.ctl("show", ID), 0)
        self.assertIn("status    completed\n", done.stdout)
        self.assertIn("tokens    812 in (640 of them cached), 143 out (60 of them reasoning)\n", done.stdout)
        self.assertTrue(done.stdout.endswith("\n\nIt is 397.8.\n"))
        self.assertEqual(self.peer.requests[0]["path"], f"/v1/jobs/{ID}")
        self.assertEqual(json.loads(self.ctl("show", ID, "--json").stdout), job())
        self.peer.server.script = lambda request: (200, job("failed"))
        self.assertIn("error     max_turns\n          The job used all its 16 turns.\n", self.ctl("show", ID).stdout)

    def test_cancel(self):
        self.serve((200, job("cancelled")))
        self.check(self.ctl("cancel", ID), 0, "", f"{ID}: cancelled")
        self.assertEqual((self.peer.requests[0]["method"], self.peer.requests[0]["path"]), ("POST", f"/v1/jobs/{ID}/cancel"))
        self.check(self.ctl("cancel", ID, ID, "--json"), 0)
        self.peer.server.script = lambda request: (404, {"error": {"message": "no such job", "code": "job_not_found"}})
        self.check(self.ctl("cancel", ID), 1, "", "no such job (job_not_found)")


TRACE = {
    "object": "trace", "job": job(),
    "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How much?\nQuick."}],
    "turns": [
        {"turn": 0, "finish_reason": "stop", "started_at": "", "finished_at": "",
         "usage": {"input_tokens": 400, "cached_tokens": 0, "output_tokens": 60},
         "timings": {"queue_ms": 0.1, "prefill_ms": 120.4, "first_token_ms": 130, "decode_ms": 88.2},
         "parts": [
             {"position": 0, "type": "reasoning", "section": "PLAN", "text": "Multiply.\nThen answer.", "tokens": 9, "call": None},
             {"position": 1, "type": "rehearsed_call", "section": None, "text": "{}", "tokens": None, "call": None},
             {"position": 2, "type": "tool_call", "section": None, "text": "", "tokens": None,
              "call": {"call_id": "call_0", "name": "calculator", "arguments": {"expression": "2340*0.17"}, "status": "ok",
                       "is_error": False, "output": "397.8", "truncated": False, "attempt": 1, "started_at": "", "finished_at": "",
                       "duration_ms": 1.25, "pid": 4242, "exit_code": None, "signal": None, "cpu_ms": 0.3, "max_rss_kib": 2048}},
             {"position": 3, "type": "tool_call", "section": None, "text": "", "tokens": None,
              "call": {"call_id": "call_1", "name": "fetch", "arguments": "{oops", "status": "crashed",
                       "is_error": True, "output": "the plugin ended", "truncated": True, "attempt": 2, "started_at": "",
                       "finished_at": "", "duration_ms": 20, "pid": 4243, "exit_code": None, "signal": 11, "cpu_ms": None,
                       "max_rss_kib": None}}]},
        {"turn": 1, "finish_reason": None, "started_at": "", "finished_at": None, "usage": None, "timings": None,
         "parts": [{"position": 0, "type": "text", "section": None, "text": "It is 397.8.", "tokens": 7, "call": None}]}]}
TREE = f"""{ID}  completed  2 turns, 1 calls, 812 tokens in (640 cached), 143 out
├─ system
│  Be brief.
├─ user
│  How much?
│  Quick.
├─ turn 0  stop  400 tokens in (0 cached), 60 out  read 120 ms, wrote 88 ms
│  ├─ PLAN  9 tokens
│  │  Multiply.
│  │  Then answer.
│  ├─ call it only thought of
│  │  {{}}
│  ├─ call calculator {{"expression":"2340*0.17"}}
│  │  397.8
│  │  ok  1.25 ms  pid 4242  0.3 ms cpu  2.0 MiB
│  └─ call fetch {{oops
│     the plugin ended
│     crashed  20.00 ms  pid 4243  attempt 2  signal 11  cut
└─ turn 1  not finished
   └─ text  7 tokens
      It is 397.8.
"""


class Trace(Case):
    def test_the_title_stands_in_for_the_input(self):
        self.serve((200, {**TRACE, "input": []}))
        self.assertEqual(self.ctl("trace", ID).stdout.splitlines()[1:3], ["How much?", TREE.splitlines()[6]])

    def test_the_tree(self):
        self.serve((200, TRACE))
        self.check(self.ctl("trace", ID), 0, TREE)
        self.assertEqual(self.peer.requests[0]["path"], f"/v1/jobs/{ID}/trace?format=tree")
        self.assertEqual(json.loads(self.ctl("trace", ID, "--json").stdout), TRACE)

    def test_without_reasoning(self):
        self.serve((200, TRACE))
        done = self.check(self.ctl("trace", ID, "--no-reasoning"), 0)
        self.assertNotIn("Multiply", done.stdout)
        self.assertIn("├─ call calculator", done.stdout)


TOOL = {"name": "date_add", "object": "tool", "description": "Adds days to a date.", "parameters": {"type": "object", "properties": {}},
        "plugin": "clock", "plugin_version": "1.0", "read_only": False, "idempotent": True, "timeout_ms": 5000, "confinement": "rlimits fds"}


class Tools(Case):
    def test_list_and_one(self):
        self.serve(lambda r: (200, TOOL if r["path"].endswith("date_add") else {"object": "list", "data": [TOOL, {**TOOL, "name": "now"}]}))
        self.check(self.ctl("tools"), 0, "date_add  Adds days to a date.\nnow       Adds days to a date.\n")
        done = self.check(self.ctl("tools", "date_add"), 0)
        self.assertIn("repeatable   yes: once is as good as twice\n", done.stdout)
        self.assertIn('"type":\t"object"', done.stdout)
        self.assertEqual(json.loads(self.ctl("tools", "date_add", "--json").stdout), TOOL)
        self.ctl("tools", "a/b c")
        self.assertEqual(self.peer.requests[-1]["path"], "/v1/tools/a%2Fb%20c")

    def test_call(self):
        result = {"object": "tool_result", "name": "date_add", "status": "ok", "is_error": False, "output": "2026-04-15", "is_json": False,
                  "duration_ms": 0.5, "pid": 77, "exit_code": None, "signal": None}
        self.serve(lambda r: (200, result))
        arguments = '{"days": 1.50, "date": "2026-03-01"}'
        self.check(self.ctl("call", "date_add", arguments), 0, "2026-04-15\n", "0.50 ms in process 77")
        self.assertEqual(self.peer.requests[0]["body"], b'{"arguments": ' + arguments.encode() + b"}")  # numbers as they were typed
        self.ctl("call", "date_add")
        self.assertEqual(self.peer.requests[1]["json"], {"arguments": {}})
        self.ctl("call", "date_add", "-", given='{"a": 1}')
        self.assertEqual(self.peer.requests[2]["json"], {"arguments": {"a": 1}})
        self.assertEqual(json.loads(self.ctl("call", "date_add", "--json").stdout), result)
        result.update(is_error=True, status="error", output="no such date")
        self.check(self.ctl("call", "date_add"), 1, "", "date_add: error: no such date")
        self.check(self.ctl("call", "date_add", "--json"), 1)
        n = len(self.peer.requests)
        self.check(self.ctl("call", "date_add", "{oops"), 2, "", "The arguments are not JSON")
        self.check(self.ctl("call", "date_add", "[1]"), 2, "", "must be a JSON object")
        self.assertEqual(len(self.peer.requests), n)  # nothing was sent

    def test_status(self):
        health = {"status": "ok", "version": "0.1.0", "uptime_s": 12, "model": "hermes-tiny", "jobs": {"queued": 1, "working": 2},
                  "tools": 17, "connections": 1}
        self.serve(lambda r: (200 if health["status"] == "ok" else 503, health))
        self.check(self.ctl("status"), 0, f"ok  hermesd 0.1.0 at unix://{self.peer.path}, up 12 s\nmodel  hermes-tiny\n"
                   "jobs   2 working, 1 waiting\ntools  17\n")
        self.assertEqual(json.loads(self.ctl("status", "--json").stdout), health)
        health["status"] = "stopping"
        self.assertTrue(self.check(self.ctl("status"), 1).stdout.startswith("stopping"))


class Reaching(Case):
    def test_where_the_daemon_is(self):
        self.serve((200, {"object": "list", "data": []}))
        path = self.peer.path
        for env in ({"HERMESD_HOST": f"unix://{path}"}, {"HERMESD_SOCKET": path}, {"HERMESD_HOST": path, "HERMESD_SOCKET": "/nowhere"}):
            done = subprocess.run([CTL, "jobs"], env=environment(**env), capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, (env, done.stderr))
        done = subprocess.run([CTL, "jobs", "--socket", path], env=environment(HERMESD_HOST="/nowhere"), capture_output=True)
        self.assertEqual(done.returncode, 0)

    def test_the_runtime_folder(self):
        self.serve((200, {"object": "list", "data": []}))
        folder = os.path.join(self.peer.folder.name, "hermesd")
        os.mkdir(folder)
        os.symlink(self.peer.path, os.path.join(folder, "api.sock"))
        done = subprocess.run([CTL, "jobs"], env=environment(XDG_RUNTIME_DIR=self.peer.folder.name), capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_over_tcp_with_a_token(self):
        self.serve((200, {"object": "list", "data": []}), tcp=True)
        self.check(self.ctl("jobs", env=environment(HERMESD_TOKEN="secret", http_proxy="http://127.0.0.1:1")), 0)
        self.assertEqual(self.peer.requests[0]["headers"]["authorization"], "Bearer secret")

    def test_nobody_is_there(self):
        for words in (["jobs"], ["run", "x"], ["run", "--detach", "x"], ["status"], ["call", "a"]):
            done = subprocess.run([CTL, *words, "--socket", "/tmp/hermesctl-nobody"], capture_output=True, text=True,
                                  stdin=subprocess.DEVNULL, env=environment())
            self.check(done, 3, "", "Cannot reach hermesd at unix:///tmp/hermesctl-nobody: No such file or directory. Start it with")
        self.serve((200, {}))
        self.peer.server.shutdown()
        self.peer.server.server_close()
        self.check(self.ctl("jobs"), 3, "", "Connection refused")

    def test_a_socket_of_somebody_else(self):
        self.serve((200, {}))
        os.chmod(self.peer.folder.name, 0o755)
        os.chmod(self.peer.path, 0o600)
        nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        if not nobody:
            os.chmod(self.peer.path, 0)
        done = subprocess.run([CTL, "jobs", "--socket", self.peer.path], capture_output=True, text=True, env=environment(), **nobody)
        self.check(done, 4, "", "Permission denied")

    def test_paths_that_cannot_be(self):
        for path, text in (("/" + "a" * 200, "too long: at most 107 bytes"), ("ftp://x", "is neither unix:///path nor"), ("", "is empty")):
            done = subprocess.run([CTL, "jobs", "--socket", path], capture_output=True, text=True, env=environment())
            self.check(done, 2, "", text)

    def test_answers_that_make_no_sense(self):
        self.serve((200, b"<html>"))
        self.check(self.ctl("jobs"), 1, "", "not JSON")
        self.peer.server.script = lambda r: (200, {"data": 7})
        self.check(self.ctl("jobs"), 0, "")


class Words(Case):
    def plain(self, *words):
        return subprocess.run([CTL, *words], capture_output=True, text=True, env=environment(), stdin=subprocess.DEVNULL)

    def test_usage(self):
        for words, text in ((["frob"], "There is no command 'frob'"), (["jobs", "--frob"], "There is no option --frob"),
                            (["jobs", "x"], "usage: hermesctl jobs"), (["show"], "usage: hermesctl show ID"),
                            (["run", "x", "--seed"], "wants a value"), (["run", "x", "--seed", "-1"], "--seed wants a whole number"),
                            (["run", "x", "--temperature", "3"], "--temperature wants"), (["run", "x", "--timeout", "5x"], "--timeout wants"),
                            (["jobs", "--seed", "1"], "hermesctl jobs does not take --seed"), (["jobs", "--color", "x"], "--color wants"),
                            (["run", "-t", "a", "--no-tools", "x"], "contradict"), (["help", "frob"], "no help on 'frob'")):
            with self.subTest(words=words):
                self.check(self.plain(*words), 2, "", text)
        self.check(self.plain(), 2, "", "usage: hermesctl COMMAND")

    def test_help(self):
        for words in (["help"], ["--help"], ["help", "run"], ["run", "--help"], ["help", "exit-codes"], ["help", "environment"],
                      ["help", "output"], ["--version"]):
            done = self.check(self.plain(*words), 0)
            self.assertEqual(done.stderr, "")
            self.assertTrue(done.stdout)
        codes = self.plain("help", "exit-codes").stdout
        self.assertEqual([line.split()[0] for line in codes.splitlines()], ["0", "1", "2", "3", "4", "5", "6", "7", "130", "141"])

    def test_a_reader_that_leaves(self):
        big = [job(job_id=f"job_{i:026d}", title="x" * 180) for i in range(100)]
        self.serve((200, {"object": "list", "data": big, "has_more": False}))
        for words in (["jobs", "-n", "100", "--json"], ["run", "--json", "x"]):
            self.peer.server.script = (lambda r: (200, {"object": "list", "data": big, "has_more": False})) if words[0] == "jobs" else (lambda r: story())
            read, write = os.pipe()
            os.close(read)
            ctl = subprocess.Popen([CTL, *words, "--socket", self.peer.host], stdin=subprocess.DEVNULL, stdout=write,
                                   stderr=subprocess.PIPE, env=environment())
            os.close(write)
            _, err = ctl.communicate(timeout=10)
            self.assertEqual((ctl.returncode, err), (141, b""), words)


if __name__ == "__main__":
    if not os.access(CTL, os.X_OK):
        print(f"{CTL} is not built")
        sys.exit(1)
    unittest.main()
