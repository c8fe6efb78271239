"""Schemas that take long to compile: the job waits, nothing else does; it can be cancelled, run out of time, survive a stop or a kill."""
import functools
import json
import select
import signal
import subprocess
import tempfile
import time
import unittest

import harness

SCRIPTS = [{"match": "A slow one.", "turns": ['{"a": 1}']}, {"match": "", "turns": ["Hello there."]}]
TAKES = 3  # seconds that all the schemas of a crowd take together, about
members = 400


def slow(n):
    """Many members, each a long automaton of its own. It is accepted; a few milliseconds would do for a schema of this size."""
    inner = {f"p{i}": {"type": "string", "format": "iri", "minLength": i % 50, "maxLength": 100 + i} for i in range(members)}
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": {"title": str(n), "type": "object", "properties": inner}}}


def seconds_of_one():
    """Of the quickest of three."""
    times = []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(slow(0)["json_schema"]["schema"], file)
        file.flush()
        for _ in range(3):
            begin = time.monotonic()
            done = subprocess.run([harness.HERMESD, "schema", "match", "--model", file.name], input="{}\n", text=True, capture_output=True)
            if '"match"' not in done.stdout:
                raise AssertionError(done.stdout[-500:] + done.stderr[-500:])
            times.append(time.monotonic() - begin)
    return min(times)


def setUpModule():
    """With sanitizers all takes many times as long: then a smaller schema will do."""
    global members
    members = 100
    members = max(60, min(400, int(100 * 0.4 / seconds_of_one())))


class TooLate(Exception):
    """The job had ended before the test could do to it what it wanted to."""


def in_time(test):
    """A busy machine may not let us come while the schema is being compiled; then once more, with another daemon."""

    @functools.wraps(test)
    def again(self):
        for _ in range(4):
            try:
                return test(self)
            except TooLate:
                self.room.close()
                self.setUp()
        return test(self)

    return again


class Room(unittest.TestCase):
    def setUp(self):
        self.room = harness.Room(SCRIPTS)
        self.addCleanup(self.room.close)
        self.api = self.room.start("--shutdown-grace-ms", "60000")

    def sent(self, n):
        """A submission that is not answered yet."""
        connection = harness.Connection(self.room.socket, 60)
        self.addCleanup(connection.close)
        connection.request("POST", "/v1/jobs", json.dumps({"input": "A slow one.", "response_format": slow(n)}), {"Content-Type": "application/json"})
        return connection

    def answered(self, connections):
        return len(select.select([c.sock for c in connections], [], [], 0)[0])

    def names(self, id):
        return [name for _, name, _ in self.api.events(id)]

    def not_too_late(self, job):
        if job["status"] == "completed":
            raise TooLate(job["id"])
        return job

    def names_so_far(self, id):
        names = []
        with self.api.stream("GET", f"/v1/jobs/{id}/events") as stream:
            for _, name, _ in stream:
                names.append(name)
                if name == "job.started":
                    return names

    def compiling(self, **members):
        """A job that was accepted just now and waits for what it begins with."""
        return self.api.submit("A slow one.", response_format=slow("one"), **members)["id"]


class Others(Room):
    def test_others_go_on(self):
        count = max(8, min(24, int(TAKES / seconds_of_one())))
        crowd = [self.sent(n) for n in range(count)]
        times, still = [], []
        while self.answered(crowd) < count // 2:
            begin = time.monotonic()
            self.assertEqual(self.api.ask("GET", "/health")["status"], "ok")
            self.assertEqual(self.api.run("Quick.")["result"]["text"], "Hello there.")
            times.append(time.monotonic() - begin)
            still.append(count - self.answered(crowd))
        print(f"{count} schemas; meanwhile {len(times)} jobs from start to end, the slowest {max(times) * 1000:.0f} ms")
        self.assertGreater(still[0], 0)  # the first of the others has ended before the last of the crowd was even accepted
        ids = [json.load(c.getresponse())["id"] for c in crowd]
        self.assertEqual([self.api.wait(id, 60)["status"] for id in ids], ["completed"] * count)

    def test_a_client_that_leaves_takes_nothing_with_it(self):
        self.sent(0).close()
        begin = time.monotonic()
        while not (jobs := self.api.ask("GET", "/v1/jobs")["data"]) and time.monotonic() < begin + 60:
            time.sleep(0.02)
        self.assertEqual(self.api.wait(jobs[0]["id"], 60)["status"], "completed")

    def test_a_key_is_kept_while_its_schema_is_compiled(self):
        body = json.dumps({"input": "A slow one.", "response_format": slow(0)})
        first, again = (self.api.ask("POST", "/v1/jobs", body, Idempotency_Key="k") for _ in range(2))
        self.assertEqual(first["id"], again["id"])


class Ends(Room):
    @in_time
    def test_cancelled(self):
        id = self.compiling()
        self.assertEqual(self.names_so_far(id), ["job.queued", "job.started"])
        self.assertEqual(self.not_too_late(self.api.job(id))["status"], "working")
        self.assertEqual(self.not_too_late(self.api.cancel(id))["status"], "cancelled")
        self.assertEqual(self.names(id), ["job.queued", "job.started", "job.cancelled"])
        self.assertEqual(self.api.run("Quick.")["status"], "completed")

    def test_out_of_time(self):
        id = self.compiling(deadline_ms=20)
        self.assertEqual(self.api.wait(id, 60)["error"]["code"], "deadline_exceeded")
        names = self.names(id)
        self.assertEqual((names[0], names[-1]), ("job.queued", "job.failed"))
        self.assertNotIn("turn.started", names)


class Stops(Room):
    def test_a_stop_waits_for_it(self):
        id = self.compiling()
        self.assertEqual(self.room.stop(seconds=120), 0)
        self.api = self.room.start()
        job = self.api.job(id)
        self.assertEqual((job["status"], job["turns"]), ("completed", 1))
        self.assertNotIn("job.resumed", self.names(id))

    def test_nobody_is_accepted_during_a_stop(self):
        crowd = [self.sent(n) for n in range(4)]
        self.api.ask("GET", "/health")
        self.room.daemon.send_signal(signal.SIGTERM)
        answers = [c.getresponse() for c in crowd]
        told = [(a.status, json.load(a).get("error", {}).get("code")) for a in answers]
        self.assertIn((503, "shutting_down"), told)
        self.assertLessEqual(set(told), {(503, "shutting_down"), (202, None)})
        self.assertEqual(self.room.daemon.wait(120), 0)
        self.room.daemon = None
        self.api = self.room.start()
        self.assertEqual(len(self.api.ask("GET", "/v1/jobs")["data"]), told.count((202, None)))

    def resumed(self, id):
        self.api = self.room.start()
        job = self.api.wait(id, 60)
        self.assertEqual((job["status"], job["turns"], job["result"]["text"]), ("completed", 1, '{"a": 1}'))
        names = self.names(id)
        if "job.resumed" not in names or names.count("turn.started") > 1:
            raise TooLate(id)
        self.assertEqual((names.count("job.resumed"), names.count("turn.started")), (1, 1))

    @in_time
    def test_a_stop_at_once(self):
        id = self.compiling()
        for _ in range(2):
            self.room.daemon.send_signal(signal.SIGTERM)
            time.sleep(0.02)
        self.assertEqual(self.room.daemon.wait(120), 0)
        self.room.daemon = None
        self.resumed(id)

    @in_time
    def test_a_kill(self):
        id = self.compiling()
        self.assertEqual(self.names_so_far(id), ["job.queued", "job.started"])
        self.room.kill()
        self.resumed(id)

    @in_time
    def test_cancelled_while_it_is_resumed(self):
        id = self.compiling()
        self.assertEqual(self.names_so_far(id), ["job.queued", "job.started"])
        self.room.kill()
        self.api = self.room.start()
        self.assertEqual(self.not_too_late(self.api.cancel(id))["status"], "cancelled")
        self.assertNotIn("turn.started", self.names(id))


del Room

if __name__ == "__main__":
    harness.main()
