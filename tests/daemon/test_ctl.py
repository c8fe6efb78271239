#!/usr/bin/env python3
"""hermesctl against a scripted peer: jobs, show, trace, cancel, tools, call, status, help, and how the daemon is reached."""
import json
import os
import subprocess

import ctl_case
from ctl_case import CTL, Case, environment
from ctl_peer import ID, job, story


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
        cited = {"text": "It is.", "citations": [{"id": "a", "start": 0, "end": 9, "resolved": True, "tool_call_id": "call_3"}]}
        self.peer.server.script = lambda request: (200, job(result=cited))
        self.assertTrue(self.ctl("show", ID).stdout.endswith("\n\nIt is.\ncites a  call_3\n"))
        cited["narrated"] = True
        self.assertTrue(self.ctl("show", ID).stdout.endswith("\ncites a  call_3\nThe answer announces a call that was not made.\n"))
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
         "usage": {"input_tokens": 400, "cached_tokens": 0, "output_tokens": 60, "forced_tokens": 21},
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
├─ turn 0  stop  400 tokens in (0 cached), 60 out (21 forced)  read 120 ms, wrote 88 ms
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
                            (["run", "x", "--seed"], "wants a value"), (["run", "x", "--seed", "-1"], "--seed wants a whole number"), (["run", "x", "--priority", "11"], "--priority wants a whole number from -10 to 10"),
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
    ctl_case.main()
