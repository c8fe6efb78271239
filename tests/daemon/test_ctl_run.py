#!/usr/bin/env python3
"""hermesctl run: what it sends, what goes where, broken connections, Ctrl-C, terminals."""
import json
import os
import pty
import select
import signal
import subprocess
import tempfile
import threading
import time

import ctl_case
from ctl_case import CTL, Case, environment
from ctl_peer import ID, Broken, job, story


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
                            "--temperature", "0.5", "--seed", "7", "--priority", "-3", "--idempotency-key", "k"), 0)
        request = self.peer.requests[0]
        self.assertEqual(request["json"], {"input": "x", "system": "Be brief.", "model": "tiny", "tools": ["a", "b", "c_*"],
                                           "max_turns": 3, "temperature": 0.5, "priority": -3, "seed": 7})
        self.assertEqual(request["headers"]["idempotency-key"], "k")
        self.check(self.ctl("run", "--no-tools", "--", "-x"), 0)
        self.assertEqual(self.peer.requests[1]["json"], {"input": "-x", "tools": []})

    def test_the_answer_may_be_json(self):
        self.serve(lambda request: story())
        with tempfile.TemporaryDirectory() as folder:
            path, bad, large = (os.path.join(folder, name) for name in ("schema.json", "bad.json", "large.json"))
            for name, text in ((path, '{"type": "object",\n "maximum": 1.50}\n'), (bad, "{"), (large, "[" + " " * (257 * 1024) + "]")):
                with open(name, "w") as file:
                    file.write(text)
            self.check(self.ctl("run", "--schema", path, "x"), 0)
            self.assertEqual(self.peer.requests[-1]["json"], {"input": "x", "response_format": {
                "type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object", "maximum": 1.5}}}})
            self.check(self.ctl("run", "--json-object", "x"), 0)
            self.assertEqual(self.peer.requests[-1]["json"], {"input": "x", "response_format": {"type": "json_object"}})
            asked = len(self.peer.requests)
            self.check(self.ctl("run", "--schema", bad, "x"), 2, "", "is not JSON")
            self.check(self.ctl("run", "--schema", large, "x"), 2, "", "is larger than 256 KiB")
            self.check(self.ctl("run", "--schema", os.path.join(folder, "none"), "x"), 2, "", "cannot be read")
            self.check(self.ctl("run", "--schema", path, "--json-object", "x"), 2, "", "contradict")
            self.check(self.ctl("jobs", "--json-object"), 2, "", "does not take --json-object")
            self.assertEqual(len(self.peer.requests), asked)

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

    def test_citations_stand_behind_the_answer(self):
        events = story()
        events[-1]["job"]["result"]["citations"] = [
            {"id": "notes#1", "start": 0, "end": 9, "resolved": True, "tool_call_id": "call_0"},
            {"id": "memo", "start": 0, "end": 9, "resolved": True, "tool_call_id": None},
            {"id": "made up", "start": 0, "end": 9, "resolved": False, "tool_call_id": None}]
        self.serve(lambda request: events)
        done = self.check(self.ctl("run", "x"), 0, "It is 397.8.\n")
        self.assertIn("\ncites notes#1  call_0\ncites memo  given\n", done.stderr)
        self.assertIn("\ncites made up  no such passage\n", done.stderr)
        self.assertNotIn("cites", self.ctl("run", "--quiet", "x").stderr)

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

    def test_a_daemon_that_breaks_every_submission(self):
        def script(request):
            raise Broken
            yield
        self.serve(script)
        self.check(self.ctl("run", "--timeout", "2s", "x"), 6, "", "hermesd did not say whether it took the job")
        self.assertLess(len(self.peer.requests), 8)  # not hammered

    def test_a_daemon_that_goes_away_before_the_first_event(self):
        def script(request):
            os.rename(self.peer.path, self.peer.path + ".away")
            threading.Timer(0.5, os.rename, (self.peer.path + ".away", self.peer.path)).start()
            self.peer.server.script = lambda request: story()
            raise Broken
            yield
        self.serve(script)
        self.check(self.ctl("run", "x"), 0, "It is 397.8.\n", "trying again")

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
        events[13]["job"]["result"]["citations"] = [{"id": "d\x1b[2Je", "resolved": False}]
        self.serve(lambda request: [e for e in events if "delta" not in e["type"]])
        seen = self.on_terminal("run", "x", env=environment(NO_COLOR="1"))
        self.assertIn("a\\x1b[2Jb\\xc2\\x9bc\\x07\n", seen)
        self.assertIn("\\x1b]0;title\\x07", seen)
        self.assertIn("cites d\\x1b[2Je  no such passage\n", seen)
        self.assertNotIn("\x1b", seen)
        self.assertEqual(self.ctl("run", "-q", "x").stdout, "a\x1b[2Jb\u009bc\x07\n")  # a file gets the bytes


if __name__ == "__main__":
    ctl_case.main()
