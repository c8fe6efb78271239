"""Cancelling a job in each of its states; it ends as cancelled, quickly, and only once."""
import random
import time

import harness
from harness import call


class Cancel(harness.Case):
    scripts = [
        {"match": "Be a talker.", "turns": ["again and again "], "repeat": True, "delay_ms": 1},
        {"match": "Take a nap.", "turns": [call("nap", ms=60000), "Rested."]},
        {"match": "Take it slowly.", "turns": [call("nap", ms=1) + "\n" + call("nap", ms=60000), "Rested."], "delay_ms": 1},
        {"match": "Do both.", "turns": [call("nap", ms=60000) + "\n" + "word " * 2000, "Rested."], "delay_ms": 2},
        {"match": "", "turns": ["Hello there."]},
    ]
    flags = ("--max-jobs", "2")

    def until(self, id, name):
        with self.api.stream("GET", f"/v1/jobs/{id}/events") as stream:
            for _, event, _ in stream:
                if event == name:
                    return

    def check(self, id, calls=()):
        begin = time.monotonic()
        job = self.api.cancel(id)
        self.assertLess(time.monotonic() - begin, 2)
        self.assertEqual((job["status"], job["result"], job["error"]), ("cancelled", None, None))
        self.assertEqual(self.api.cancel(id), job)
        events = self.api.events(id)
        self.assertEqual([n for _, n, _ in events].count("job.cancelled"), 1)
        self.assertEqual(events[-1][1], "job.cancelled")
        self.assertEqual([d["status"] for _, n, d in events if n == "tool_call.completed"], list(calls))

    def test_while_it_generates(self):
        job = self.api.submit("Be a talker.")
        self.until(job["id"], "message.delta")
        self.check(job["id"])

    def test_while_a_tool_runs(self):
        job = self.api.submit("Take a nap.")
        self.until(job["id"], "tool_call.started")
        self.check(job["id"], ["cancelled"])

    def test_while_both_run(self):
        job = self.api.submit("Do both.")
        self.until(job["id"], "tool_call.started")
        self.check(job["id"], ["cancelled"])

    def test_while_it_is_queued(self):
        running = [self.api.submit("Be a talker.")["id"] for _ in range(2)]
        job = self.api.submit("Good day")
        self.assertEqual(self.api.job(job["id"])["status"], "queued")
        self.check(job["id"])
        for id in running:
            self.api.cancel(id)

    def test_at_once(self):
        for _ in range(20):
            job = self.api.submit("Take a nap.")
            self.assertEqual(self.api.cancel(job["id"])["status"], "cancelled")

    def test_at_any_moment(self):
        dice = random.Random(4)
        for _ in range(40):
            job = self.api.submit("Take it slowly.", tools=["nap"])
            time.sleep(dice.uniform(0, 0.12))
            self.assertEqual(self.api.cancel(job["id"])["status"], "cancelled")

    def test_after_its_end(self):
        job = self.api.run("Good day")
        self.assertEqual(self.api.cancel(job["id"]), job)

    def test_it_survives_a_restart(self):
        room = harness.Room(self.scripts)
        self.addCleanup(room.close)
        api = room.start()
        job = api.submit("Take a nap.")
        with api.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            for _, event, _ in stream:
                if event == "tool_call.started":
                    break
        connection, _ = None, None
        connection = harness.Connection(room.socket)
        connection.request("POST", f"/v1/jobs/{job['id']}/cancel", None, {"Content-Type": "application/json"})
        time.sleep(0.004)
        room.kill()
        connection.close()
        api = room.start()
        if api.job(job["id"])["status"] == "working" and not self.was_cancelled(api, job["id"]):
            api.cancel(job["id"])  # the kill was faster than the commit
        self.assertEqual(api.wait(job["id"])["status"], "cancelled")

    def was_cancelled(self, api, id):
        time.sleep(0.3)
        return api.job(id)["status"] == "cancelled"


if __name__ == "__main__":
    harness.main()
