"""Calls that lead nowhere: forbidden, refused, and the end of a job by name; also over a kill."""
import os
import subprocess
import unittest

import harness
from harness import call

PASSAGES = call("passages")
SCRIPTS = [
    {"match": "Thrice.", "turns": [PASSAGES, PASSAGES, PASSAGES, "That is all."]},
    {"match": "Again and again.", "turns": [PASSAGES] * 9},
    {"match": "In turns.", "turns": [call("count_again", label="a"), call("count_again", label="b")] * 9},
    {"match": "Three in a circle.", "turns": [call("count_again", label=x) for x in "abc"] * 9},
    {"match": "Look everywhere.", "turns": [call("look_up", label=str(i)) for i in range(30)]},
    {"match": "All wrong.", "turns": [call("count", wrong=i) for i in range(30)]},
    {"match": "Write it all.", "turns": [call("count_again", label=str(i)) for i in range(12)] + ["Written."]},
    {"match": "Is it done?", "turns": [call("is_done")] * 12 + ["Not yet."]},
    {"match": "Twice, a nap, once more.", "turns": [PASSAGES, PASSAGES, call("nap", ms=700), PASSAGES, "That is all."]},
    {"match": "Thrice, a nap, and on.", "turns": [PASSAGES, PASSAGES, PASSAGES, call("nap", ms=700)] + [PASSAGES] * 5},
    {"match": "A circle with a nap.", "turns": [call("count_again", label="a"), call("nap", ms=700)] * 3},
    {"match": "", "turns": ["Hello there."]},
]


class Base(unittest.TestCase):
    def events(self, id, name):
        return [d for _, n, d in self.api.events(id) if n == name]

    def statuses(self, id):
        return [d["status"] for d in self.events(id, "tool_call.completed")]

    def ended(self, job, code):
        self.assertEqual((job["status"], (job["error"] or {}).get("code")), ("failed", code), job)
        return job["error"]["message"]


class Loop(harness.Case, Base):
    scripts = SCRIPTS

    def test_a_call_is_forbidden_after_three_equal_results(self):
        # "removed" is what the job's grammar lacks; the scripted engine writes what it likes
        for constrained, removed in ((True, "arguments"), (False, None)):
            job = self.api.run("Thrice.", constrained=constrained)
            self.assertEqual(job["result"]["text"], "That is all.", job)
            told = self.events(job["id"], "tool_call.forbidden")
            self.assertEqual([(d["turn"], d["name"], d["arguments"], d["same_results"], d["removed"]) for d in told],
                             [(3, "passages", {}, 3, removed)])
        turns = self.api.trace(job["id"])["turns"]
        self.assertEqual([t["sampling"]["forbidden"] for t in turns], [[], [], [], [{"name": "passages", "arguments": {}}]])
        self.assertEqual(turns[0]["sampling"]["temperature"], 0)

    def test_people_see_it(self):
        def ctl(*words):
            done = subprocess.run([os.path.join(harness.BIN, "hermesctl"), "--socket", self.room.socket, *words],
                                  capture_output=True, text=True, timeout=30)
            return done.stdout + done.stderr
        shown = ctl("run", "Thrice.")
        self.assertIn("no more passages {}  (the same result 3 times)", shown)
        job = self.api.ask("GET", "/v1/jobs?limit=1")["data"][0]["id"]
        self.assertIn("no more passages {}", ctl("trace", job))
        self.assertIn("asking again is no loop", ctl("tools", "is_done"))

    def test_it_is_refused_twice_and_then_ends_the_job(self):
        job = self.api.run("Again and again.")
        self.assertIn("more than 3 times", self.ended(job, "identical_calls"))
        self.assertEqual(self.statuses(job["id"]), ["ok"] * 3 + ["invalid"] * 3)
        refused = self.events(job["id"], "tool_call.completed")[3]
        self.assertIn("Not run: this call gave the same result 3 times already", refused["output"])
        self.assertEqual(len(self.events(job["id"], "tool_call.started")), 3)
        job = self.api.run("Again and again.", max_identical_calls=1)
        self.ended(job, "identical_calls")
        self.assertEqual(self.statuses(job["id"]), ["ok"] + ["invalid"] * 3)

    def test_cycles(self):
        job = self.api.run("In turns.")
        self.assertEqual(self.ended(job, "loop_detected"),
                         "The last 6 calls repeat with a period of 2 and give the same results: count_again, count_again.")
        self.assertEqual(job["tool_calls"], 6)
        job = self.api.run("Three in a circle.", max_cycle_repeats=2)
        self.assertIn("period of 3", self.ended(job, "loop_detected"))
        self.assertEqual(job["tool_calls"], 6)
        job = self.api.run("Three in a circle.", max_cycle_repeats=1000, max_identical_calls=1000, max_idle_calls=10000)
        self.ended(job, "max_turns")

    def test_nothing_new(self):
        job = self.api.run("Look everywhere.")
        self.assertIn("last 8 calls", self.ended(job, "no_progress"))
        self.assertEqual(job["tool_calls"], 9)
        job = self.api.run("All wrong.", max_idle_calls=4)
        self.ended(job, "no_progress")
        self.assertEqual(self.statuses(job["id"]), ["invalid"] * 4)
        # the same result of a tool that may have written something is no sign of it
        self.assertEqual(self.api.run("Write it all.")["result"]["text"], "Written.")

    def test_a_poller_may_ask_as_often_as_turns_and_calls_allow(self):
        self.assertTrue(self.api.ask("GET", "/v1/tools/is_done")["poller"])
        self.assertFalse(self.api.ask("GET", "/v1/tools/passages")["poller"])
        job = self.api.run("Is it done?", max_identical_calls=1, max_cycle_repeats=2, max_idle_calls=1)
        self.assertEqual(job["result"]["text"], "Not yet.", job)
        self.assertEqual(self.events(job["id"], "tool_call.forbidden"), [])
        self.ended(self.api.run("Is it done?", max_tool_calls=5), "max_tool_calls")


class AfterAKill(Base):
    def setUp(self):
        self.room = harness.Room(SCRIPTS)
        self.addCleanup(self.room.close)
        self.api = self.room.start()

    def killed_in_the_nap(self, text, naps=1, **members):
        id = self.api.submit(text, **members)["id"]
        with self.api.stream("GET", f"/v1/jobs/{id}/events") as stream:
            for _, name, data in stream:
                naps -= name == "tool_call.started" and data["name"] == "nap"
                if naps == 0:
                    break
        self.room.kill()
        self.api = self.room.start()
        return self.api.wait(id)

    def test_what_was_counted_still_counts(self):
        job = self.killed_in_the_nap("Twice, a nap, once more.")
        self.assertEqual(job["result"]["text"], "That is all.", job)
        self.assertEqual([d["turn"] for d in self.events(job["id"], "tool_call.forbidden")], [4])

    def test_what_was_forbidden_still_is(self):
        job = self.killed_in_the_nap("Thrice, a nap, and on.")
        self.ended(job, "identical_calls")
        self.assertEqual(self.statuses(job["id"]), ["ok"] * 4 + ["invalid"] * 3)
        self.assertEqual([d["turn"] for d in self.events(job["id"], "tool_call.forbidden")], [3])

    def test_half_a_cycle_is_remembered(self):
        job = self.killed_in_the_nap("A circle with a nap.", 3)
        self.ended(job, "loop_detected")
        self.assertEqual(job["tool_calls"], 6)


del Base

if __name__ == "__main__":
    harness.main()
