"""A daemon in a folder of its own, and a client that speaks plain HTTP over its socket."""
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.environ.get("HERMESD_BINARY_DIR", "build/dev")
BIN = os.path.join(BUILD, "bin")
HERMESD = os.path.join(BIN, "hermesd")
PROBE = os.path.join(BUILD, "tests", "e2e", "plugins", "probe.so")
PLUGINS = os.path.join(BUILD, "plugins")


def call(name, **arguments):
    """A call as the model writes it."""
    return "<tool_call>\n" + json.dumps({"name": name, "arguments": arguments}) + "\n</tool_call>"


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Refused(Exception):
    def __init__(self, status, body, headers):
        self.status, self.headers = status, headers
        self.error = body["error"]
        self.code = self.error["code"]
        super().__init__(f"{status} {self.code}: {self.error['message']}")


class Api:
    def __init__(self, path):
        self.path = path

    def open(self, method, route, body=None, headers=None, timeout=30):
        connection = Connection(self.path, timeout)
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        headers = {**({"Content-Type": "application/json"} if data is not None or method == "POST" else {}), **(headers or {})}
        try:
            connection.request(method, route, data, headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def ask(self, method, route, body=None, **headers):
        connection, answer = self.open(method, route, body, {k.replace("_", "-"): v for k, v in headers.items()})
        text = answer.read()
        connection.close()
        data = json.loads(text) if text else None
        if answer.status >= 400:
            raise Refused(answer.status, data, answer.headers)
        self.status, self.headers = answer.status, answer.headers
        return data

    def submit(self, text, **members):
        return self.ask("POST", "/v1/jobs", {"input": text, **members})

    def run(self, text, wait=20, **members):
        return self.ask("POST", "/v1/jobs", {"input": text, **members}, Prefer=f"wait={wait}")

    def job(self, id):
        return self.ask("GET", f"/v1/jobs/{id}")

    def cancel(self, id):
        return self.ask("POST", f"/v1/jobs/{id}/cancel")

    def trace(self, id):
        return self.ask("GET", f"/v1/jobs/{id}/trace?format=tree")

    def events(self, id, **headers):
        """(id or None, event, data) for each event until the stream ends."""
        with self.stream("GET", f"/v1/jobs/{id}/events", None, **headers) as stream:
            return list(stream)

    @contextlib.contextmanager
    def stream(self, method, route, body=None, timeout=30, **headers):
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        headers.setdefault("Accept", "text/event-stream")
        connection, answer = self.open(method, route, body, headers, timeout)
        try:
            if answer.status >= 400:
                raise Refused(answer.status, json.loads(answer.read()), answer.headers)
            yield read_events(answer)
        finally:
            answer.close()
            connection.close()

    def wait(self, id, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            job = self.job(id)
            if job["status"] in ("completed", "failed", "cancelled"):
                return job
            time.sleep(0.01)
        raise AssertionError(f"{id} did not end within {seconds} s: {job}")


def read_events(answer):
    number, name, data = None, None, None
    for line in answer:
        line = line.decode().rstrip("\n")
        if line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            data = json.loads(line[6:])
        elif line == "" and data is not None:
            yield number, name, data
            number, name, data = None, None, None


class Room:
    """A folder with a workspace, a script for the scripted engine and, while one runs, a daemon."""

    def __init__(self, scripts, delay_ms=0, chunk=3):
        self.path = tempfile.mkdtemp(prefix="hermesd-e2e-")
        self.workspace = os.path.join(self.path, "workspace")
        self.state = os.path.join(self.path, "state")
        self.socket = os.path.join(self.path, "api.sock")
        self.script = os.path.join(self.path, "script.json")
        self.log = os.path.join(self.path, "log")
        os.mkdir(self.workspace)
        with open(self.script, "w") as file:
            json.dump({"scripts": scripts, "delay_ms": delay_ms, "chunk": chunk}, file)
        self.daemon = None
        self.api = Api(self.socket)

    def command(self, *flags, plugins=(PROBE,)):
        command = [HERMESD, "--socket", self.socket, "--state", self.state, "--workspace", self.workspace]
        if "--model" not in flags:
            command += ["--scripted", self.script]
        for plugin in plugins:
            command += ["--plugins", plugin]
        return command + ["--shutdown-grace-ms", "3000"] + list(flags)

    def environment(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HERMESD_")}
        return {**kept, "XDG_CONFIG_HOME": self.path, "HOME": self.path}

    def start(self, *flags, plugins=(PROBE,), seconds=20):
        with open(self.log, "a") as log:
            self.daemon = subprocess.Popen(self.command(*flags, plugins=plugins), stderr=log, stdout=log, env=self.environment())
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.api.ask("GET", "/health")
                return self.api
            except OSError:
                if self.daemon.poll() is not None:
                    break
                time.sleep(0.005)
        raise AssertionError("hermesd did not start:\n" + self.read_log())

    def once(self, *flags, plugins=(PROBE,), environment=None):
        """Runs a daemon that is expected to end by itself: (exit code, what it said)."""
        done = subprocess.run(self.command(*flags, plugins=plugins), capture_output=True, text=True, timeout=20,
                              env={**self.environment(), **(environment or {})})
        return done.returncode, done.stdout + done.stderr

    def stop(self, number=signal.SIGTERM, seconds=20):
        self.daemon.send_signal(number)
        code = self.daemon.wait(seconds)
        self.daemon = None
        return code

    def kill(self):
        self.daemon.kill()
        self.daemon.wait()
        self.daemon = None

    def lines(self, name):
        try:
            with open(os.path.join(self.workspace, name)) as file:
                return file.read().split()
        except FileNotFoundError:
            return []

    def metrics(self):
        connection, answer = self.api.open("GET", "/metrics")
        text = answer.read().decode()
        connection.close()
        return text

    def read_log(self):
        with open(self.log) as file:
            return file.read()

    def close(self):
        """The exit code of a daemon that was still there, also of one that died before it was asked to stop."""
        code = 0
        if self.daemon is not None:
            code = self.daemon.poll()
            code = self.stop() if code is None else code or 1
        shutil.rmtree(self.path, ignore_errors=True)
        return code


class Case(unittest.TestCase):
    """Tests that share one daemon per class."""
    scripts = [{"match": "", "turns": ["Hello there."]}]
    delay_ms = 0
    flags = ()
    plugins = (PROBE,)

    @classmethod
    def setUpClass(cls):
        cls.room = Room(cls.scripts, cls.delay_ms)
        cls.api = cls.room.start(*cls.flags, plugins=cls.plugins)

    @classmethod
    def tearDownClass(cls):
        log = cls.room.read_log()
        code = cls.room.close()
        if code != 0:
            raise AssertionError(f"hermesd ended with {code}:\n{log}")

    def refused(self, status, code, function, *args, **kwargs):
        with self.assertRaises(Refused) as caught:
            function(*args, **kwargs)
        self.assertEqual((caught.exception.status, caught.exception.code), (status, code), caught.exception)
        return caught.exception


def expect_built():
    for path in (HERMESD, os.path.join(BIN, "hermes-worker"), PROBE):
        if not os.path.exists(path):
            sys.exit(f"error: {path} is not built; cmake --build its folder, configured with the tests")


def main():
    expect_built()
    unittest.main()
