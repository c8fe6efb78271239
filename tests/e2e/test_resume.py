"""What a job does after kill -9 at a known moment."""
import time
import unittest

import harness
from harness import call

SCRIPTS = [
    {"match": "Take a nap.", "turns": [call("nap", ms=1000), "Rested."]},
    {"match": "Count slowly.", "turns": [call("count_slowly", ms=1000), "It may have been counted."]},
    {"match": "Go on and on.", "turns": ["First. " + call("count", label="a") + "\n" + "and on it goes " * 200, "Then counted."], "delay_ms": 5},
    {"match": "Think for long.", "turns": ["<PLAN>\nShort.\n</PLAN>\n" + "and on it goes " * 40 + call("count", label="b"), "Done."], "delay_ms": 3},
    {"match": "Be a talker.", "turns": ["again and again "], "repeat": True, "delay_ms": 5},
    {"match": "", "turns": ["Hello there."]},
]


class Resume(unittest.TestCase):
    def setUp(self):
        self.room = harness.Room(SCRIPTS)
        self.addCleanup(self.room.close)
        self.api = self.room.start()

    def killed_at(self, text, event, turn=0, **members):
        """Submits, waits for the event, kills, starts again; the job's id."""
        id = self.api.submit(text, **members)["id"]
        self.kill_at(id, event, turn)
        return id

    def kill_at(self, id, event, turn=0):
        with self.api.stream("GET", f"/v1/jobs/{id}/events") as stream:
            for _, name, data in stream:
                if name == event and data.get("turn", turn) == turn:
                    break
        self.room.kill()
        self.api = self.room.start()

    def named(self, id, name):
        return [d for _, n, d in self.api.events(id) if n == name]

    def test_a_call_that_may_be_repeated_is_repeated(self):
        id = self.killed_at("Take a nap.", "tool_call.started")
        self.assertEqual(self.api.wait(id)["result"], {"text": "Rested.", "citations": []})
        self.assertEqual([d["attempt"] for d in self.named(id, "tool_call.started")], [1, 2])
        self.assertEqual([d["attempt"] for d in self.named(id, "job.resumed")], [2])
        self.assertEqual([d["status"] for d in self.named(id, "tool_call.completed")], ["ok"])

    def test_a_call_that_must_not_be_repeated_is_unknown(self):
        id = self.api.submit("Count slowly.")["id"]
        while not self.room.lines("count.log"):
            time.sleep(0.005)
        self.room.kill()
        self.api = self.room.start()
        job = self.api.wait(id)
        self.assertEqual(job["result"], {"text": "It may have been counted.", "citations": []})
        self.assertEqual(self.room.lines("count.log"), [f"{id}/0"])
        done = self.named(id, "tool_call.completed")
        self.assertEqual([(d["status"], d["is_error"]) for d in done], [("unknown", True)])
        self.assertIn("not known", done[0]["output"])
        self.assertEqual(self.api.trace(id)["turns"][0]["parts"][0]["call"]["status"], "unknown")

    def test_a_turn_whose_call_ran_ends_where_it_was(self):
        id = self.killed_at("Go on and on.", "tool_call.completed")
        job = self.api.wait(id)
        self.assertEqual(job["result"], {"text": "Then counted.", "citations": []})
        self.assertEqual(self.room.lines("count.log"), [f"{id}/0"])
        turns = self.named(id, "turn.completed")
        self.assertEqual([d["finish_reason"] for d in turns], ["interrupted", "stop"])
        self.assertIsNone(turns[0]["timings"])
        self.assertEqual([d["turn"] for d in self.named(id, "turn.started")], [0, 1])
        self.assertEqual(job["turns"], 2)

    def test_a_turn_without_a_call_is_written_again(self):
        id = self.killed_at("Think for long.", "reasoning.done", tools=["count"])
        job = self.api.wait(id)
        self.assertEqual(job["result"], {"text": "Done.", "citations": []})
        self.assertEqual([d["turn"] for d in self.named(id, "turn.started")], [0, 0, 1])
        self.assertEqual(len(self.named(id, "reasoning.done")), 2)
        parts = self.api.trace(id)["turns"][0]["parts"]
        self.assertEqual([p["type"] for p in parts], ["reasoning", "text", "tool_call"])

    def test_a_job_that_was_between_turns_goes_on(self):
        id = self.killed_at("Think for long.", "turn.started", turn=1, tools=["count"])
        self.assertEqual(self.api.wait(id)["result"], {"text": "Done.", "citations": []})
        self.assertEqual(self.room.lines("count.log"), [f"{id}/0"])

    def test_a_deadline_runs_on_while_the_daemon_is_down(self):
        id = self.killed_at("Be a talker.", "message.delta", deadline_ms=500)
        job = self.api.wait(id)
        self.assertEqual((job["status"], job["error"]["code"]), ("failed", "deadline_exceeded"))
        self.assertEqual(len(self.named(id, "job.resumed")), 1)

    def test_a_job_that_gets_nowhere_in_three_starts_is_given_up(self):
        id = self.api.submit("Be a talker.", max_output_tokens=1000000, max_turn_tokens=100000)["id"]
        for _ in range(3):
            self.kill_at(id, "message.delta")
        job = self.api.wait(id)
        self.assertEqual((job["status"], job["error"]["code"]), ("failed", "poisoned"), job)

    def test_clean_stops_are_not_the_jobs_fault(self):
        self.room.stop()
        self.api = self.room.start("--shutdown-grace-ms", "0")
        id = self.api.submit("Be a talker.", max_output_tokens=1000000, max_turn_tokens=100000)["id"]
        for _ in range(5):
            with self.api.stream("GET", f"/v1/jobs/{id}/events") as stream:
                for _, name, _ in stream:
                    if name == "message.delta":
                        break
            self.assertEqual(self.room.stop(), 0)
            self.api = self.room.start("--shutdown-grace-ms", "0")
        with self.api.stream("GET", f"/v1/jobs/{id}/events") as stream:
            for _, name, _ in stream:
                if name == "message.delta":
                    break
        self.room.kill()  # the first crash after five clean stops
        self.api = self.room.start("--shutdown-grace-ms", "0")
        with self.api.stream("GET", f"/v1/jobs/{id}/events") as stream:
            names = []
            for _, name, _ in stream:
                names.append(name)
                if name in ("message.delta", "job.failed"):
                    break
        self.assertEqual(names[-1], "message.delta", self.api.job(id))
        self.assertEqual(self.api.cancel(id)["status"], "cancelled")


if __name__ == "__main__":
    harness.main()
