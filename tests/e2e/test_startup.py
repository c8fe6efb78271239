"""Starting and stopping: what is refused, with which exit code and which words."""
import http.client
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import unittest

import harness
from harness import call

SCRIPTS = [
    {"match": "Take a nap.", "turns": [call("nap", ms=1500), "Rested."]},
    {"match": "Take a long nap.", "turns": [call("nap", ms=60000), "Rested."]},
    {"match": "", "turns": ["Hello."]},
]


class Startup(unittest.TestCase):
    def setUp(self):
        self.room = harness.Room([SCRIPTS[1], SCRIPTS[0], SCRIPTS[2]])
        self.addCleanup(self.room.close)

    def ends(self, code, words, *flags, **kwargs):
        got, said = self.room.once(*flags, **kwargs)
        self.assertEqual(got, code, said)
        self.assertIn(words, said)
        return said

    def test_a_second_daemon_on_the_same_state_is_refused(self):
        self.room.start()
        self.ends(74, "hermesd", "--socket", os.path.join(self.room.path, "other.sock"))
        self.assertEqual(self.room.api.ask("GET", "/health")["status"], "ok")

    def test_a_second_daemon_on_the_same_socket_is_refused(self):
        self.room.start()
        self.ends(74, "already in use", "--state", os.path.join(self.room.path, "other"))
        self.assertEqual(self.room.api.ask("GET", "/health")["status"], "ok")

    def test_a_socket_path_that_is_too_long(self):
        self.ends(78, "at most 107", "--socket", "/tmp/" + "x" * 120)

    def test_a_file_in_the_sockets_place_stays(self):
        with open(self.room.socket, "w") as file:
            file.write("mine")
        self.ends(74, "is not a socket")
        with open(self.room.socket) as file:
            self.assertEqual(file.read(), "mine")

    def test_a_stale_socket_is_taken_over(self):
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(self.room.socket)
        dead.close()
        self.room.start()
        self.assertEqual(os.stat(self.room.socket).st_mode & 0o777, 0o600)

    def test_wrong_flags(self):
        self.ends(64, "--bogus", "--bogus")
        self.ends(64, "a number from 1 to 256", "--max-jobs", "0")
        self.ends(64, "a number of bytes", "--kv-bytes", "lots")
        self.ends(64, "'extra' is not understood", "extra")

    def test_bad_settings_name_file_and_line(self):
        path = os.path.join(self.room.path, "bad.conf")
        for text, words in ((";c\n\nmax_jobs = none\n", f"{path}:3: max_jobs"), ("sokcet = /x\n", f"{path}:1: there is no setting 'sokcet'; did you mean 'socket'?"),
                            ("[nowhere]\na = b\n", f"{path}:2: there is no section [nowhere]"), ("max_jobs = 2\nmax_jobs = 3\n", f"{path}:2: 'max_jobs' is set twice"),
                            ("just words\n", f"{path}:1: ")):
            with open(path, "w") as file:
                file.write(text)
            self.ends(78, words, "--config", path)
        self.ends(78, "cannot read the config file", "--config", path + ".none")

    def test_the_strongest_origin_wins_and_is_shown(self):
        path = os.path.join(self.room.path, "my.conf")
        with open(path, "w") as file:
            file.write("max_jobs = 2\nmax_queued = 7\nthreads = 3\nkv_bytes = 3M\n[plugin.probe]\nspeed = 7\n")
        done = subprocess.run([harness.HERMESD, "check-config", "--scripted", self.room.script, "--threads", "1", "--config", path],
                              capture_output=True, text=True, env={**self.room.environment(), "HERMESD_MAX_JOBS": "5", "HERMESD_THREADS": "2"})
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = {line.split("=")[0].strip(): line.split("=", 1)[1].strip() for line in done.stdout.splitlines()}
        self.assertEqual(lines["max_jobs"], "5   # HERMESD_MAX_JOBS")
        self.assertEqual(lines["max_queued"], f"7   # {path}")
        self.assertEqual(lines["threads"], "1   # --threads")
        self.assertEqual(lines["kv_bytes"], f"3M   # {path}")
        self.assertEqual(lines["max_user_jobs"], "64   # default")
        self.assertEqual(lines["plugin.probe"], '{"speed":7}')

    def test_a_model_that_is_not_there_or_broken(self):
        self.ends(78, "cannot be read", "--model", os.path.join(self.room.path, "none.gguf"))
        broken = os.path.join(self.room.path, "broken.gguf")
        with open(broken, "wb") as file:
            file.write(b"GGUF\x03\x00\x00\x00" + b"\xff" * 40)
        self.ends(78, "broken.gguf", "--model", broken)

    def test_check_prints_tools_and_layers(self):
        code, said = self.room.once("--check")
        self.assertEqual(code, 0, said)
        self.assertRegex(said, r"count +probe +1\.0\.0 .*rlimits")

    def test_tcp_wants_a_token_file_that_is_private(self):
        self.ends(78, "http needs a token", "--http", "127.0.0.1:0")
        token = os.path.join(self.room.path, "token")
        with open(token, "w") as file:
            file.write("0123456789abcdef\n")
        os.chmod(token, 0o644)
        self.ends(74, "can be read by others", "--http", "127.0.0.1:0", "--http-token-file", token)
        os.chmod(token, 0o600)
        self.ends(78, "no loopback address", "--http", "192.0.2.1:0", "--http-token-file", token)
        self.room.start("--http", "127.0.0.1:0", "--http-token-file", token)
        port = int(self.room.read_log().split("http=127.0.0.1:")[1].split()[0])
        for header, status in ((b"", b"401"), (b"Authorization: Bearer 0123456789abcdef\r\n", b"200")):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n" + header + b"Connection: close\r\n\r\n")
                self.assertEqual(client.recv(100).split()[1], status)

    def test_sigterm_lets_a_job_finish(self):
        api = self.room.start()
        job = api.submit("Take a nap.")
        while not self.has_event(api, job["id"], "tool_call.started"):
            time.sleep(0.01)
        self.room.daemon.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        self.assertIsNone(self.room.daemon.poll())
        self.assertFalse(os.path.exists(self.room.socket))
        self.assertEqual(self.room.daemon.wait(10), 0)
        api = self.room.start()
        self.assertEqual(api.job(job["id"])["result"], {"text": "Rested.", "citations": []})

    def has_event(self, api, id, name):
        with api.stream("GET", f"/v1/jobs/{id}/events") as stream:
            for _, event, _ in stream:
                if event == name:
                    return True
        return False

    def test_a_grace_that_is_over_leaves_the_job_for_the_next_start(self):
        api = self.room.start("--shutdown-grace-ms", "200")
        job = api.submit("Take a long nap.", tools=["nap"])
        waiting = {}

        def wait():
            try:
                api.run("Take a long nap.", wait=30, tools=["nap"])
            except harness.Refused as refused:
                waiting["code"] = refused.code

        thread = threading.Thread(target=wait)
        thread.start()
        while not self.has_event(api, job["id"], "tool_call.started"):
            time.sleep(0.01)
        time.sleep(0.1)
        begin = time.monotonic()
        self.assertEqual(self.room.stop(), 0)
        self.assertLess(time.monotonic() - begin, 3)
        thread.join()
        self.assertEqual(waiting, {"code": "shutting_down"})
        api = self.room.start("--shutdown-grace-ms", "200")
        jobs = api.ask("GET", "/v1/jobs")["data"]
        self.assertEqual(len(jobs), 2)
        self.assertTrue({j["status"] for j in jobs} <= {"queued", "working"}, jobs)
        with api.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            for _, event, data in stream:
                if event == "tool_call.started" and data["attempt"] == 2:
                    break
        self.assertEqual(api.cancel(job["id"])["status"], "cancelled")

    def test_stopping_under_load_is_orderly(self):
        """Streams, waiting answers, direct calls and idle connections at the moment of the signal."""
        api = self.room.start("--shutdown-grace-ms", "0")
        jobs = [api.submit("Take a long nap.", tools=["nap"])["id"] for _ in range(4)]
        connections = []
        for id in jobs:
            connections.append(api.open("GET", f"/v1/jobs/{id}/events")[0])
        for method, route, body, headers in (("POST", "/v1/jobs", '{"input": "Take a long nap."}', {"Prefer": "wait=20"}),
                                             ("POST", "/v1/tools/nap/call", '{"arguments": {"ms": 20000}}', {})):
            connections.append(harness.Connection(self.room.socket))
            connections[-1].request(method, route, body, {"Content-Type": "application/json", **headers})
        connections.append(harness.Connection(self.room.socket))
        connections[-1].request("GET", "/health")
        connections[-1].getresponse().read()
        stop = threading.Event()

        def hammer():
            while not stop.is_set():
                try:
                    api.ask("GET", f"/v1/jobs/{jobs[0]}/trace")
                    api.submit("Hello.")
                except (OSError, harness.Refused, http.client.HTTPException):
                    pass

        threads = [threading.Thread(target=hammer) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        code = self.room.stop(seconds=10)
        stop.set()
        for thread in threads:
            thread.join()
        for connection in connections:
            connection.close()
        self.assertEqual(code, 0, self.room.read_log())

    def test_another_model_goes_on_with_the_text(self):
        api = self.room.start("--shutdown-grace-ms", "0")
        job = api.submit("Take a nap.", tools=["nap"])
        while not self.has_event(api, job["id"], "tool_call.started"):
            time.sleep(0.01)
        self.room.kill()
        database = sqlite3.connect(os.path.join(self.room.state, "hermesd.db"))
        database.execute("UPDATE jobs SET model = 'another'")
        database.execute("UPDATE turns SET output_tokens_blob = x'ffffff7f'")
        database.commit()
        database.close()
        api = self.room.start()
        job = api.wait(job["id"])
        # The scripted engine counts ids as its own turns, so it begins with its first turn again.
        self.assertEqual((job["status"], job["tool_calls"]), ("completed", 2), job)

    def test_a_second_signal_does_not_wait(self):
        api = self.room.start()
        job = api.submit("Take a long nap.")
        while not self.has_event(api, job["id"], "tool_call.started"):
            time.sleep(0.01)
        self.room.daemon.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        self.assertEqual(self.room.stop(signal.SIGINT, seconds=5), 0)

    def test_version_and_help(self):
        self.assertIn("hermesd ", self.room.once("--version")[1])
        said = self.room.once("--help")[1]
        self.assertIn("--shutdown-grace-ms MS", said)
        self.assertIn("check-config", said)
        for command in ("model", "model inspect", "model verify", "model logits", "model quantize", "bench", "tokenize", "render", "parse",
                        "schema", "schema check", "schema match"):
            for flag in ("--help", "-h"):
                ran = subprocess.run([harness.HERMESD, *command.split(), flag], stdin=subprocess.DEVNULL, capture_output=True, text=True)
                self.assertEqual((ran.returncode, ran.stderr), (0, ""), command)
                self.assertRegex(ran.stdout, "(?i)^usage: hermesd " + command.split()[0])
        wrong = subprocess.run([harness.HERMESD, "schema", "check"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual((wrong.returncode, wrong.stdout), (2, ""))


if __name__ == "__main__":
    harness.main()
