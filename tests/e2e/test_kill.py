"""kill -9 at any moment, again and again: no accepted job is lost, all end, and no tool runs twice that must not."""
import collections
import http.client
import random
import re
import time
import unittest

import harness
from harness import call

ROUNDS = 30
CALLS = re.compile(r"^hermesd_tool_calls_total\{.*\} (\d+)$", re.M)
UNFINISHED = re.compile(r"^hermesd_jobs\{.*\} (\d+)$", re.M)
SCRIPTS = [
    {"match": "Run the chain", "delay_ms": 1, "turns": [
        "<SCRATCHPAD>\nOne.\n</SCRATCHPAD>\n" + call("count", label="a"),
        "Two at once.\n" + call("count_again", label="b") + "\n" + call("count", label="c"),
        call("count_again", label="d") + "\n" + call("nap", ms=20),
        "All is counted.",
    ]},
    {"match": "", "turns": ["Hello there."]},
]


class Kill(unittest.TestCase):
    def setUp(self):
        self.room = harness.Room(SCRIPTS)
        self.addCleanup(self.room.close)

    def test_thirty_kills(self):
        seed = random.randrange(1 << 30)
        dice = random.Random(seed)
        accepted = []
        with self.subTest(seed=seed):
            for n in range(ROUNDS):
                api = self.room.start()
                self.live(api, accepted, n, dice)
                self.room.kill()
            api = self.room.start()
            given_up = [id for id in accepted if not self.ended_well(api, id)]
            self.assertGreater(len(accepted), ROUNDS // 2)
            self.assertLess(len(given_up), len(accepted) // 4)
            jobs = self.all_jobs(api)
            self.assertLessEqual(set(accepted), set(jobs))
            resumed = 0
            for id in jobs:
                api.wait(id)
                resumed += self.check_events(api, id)
            self.assertGreater(resumed, ROUNDS // 2)
            self.check_counts(api, jobs)

    def ended_well(self, api, id):
        """True when it completed. Else it was given up, and three starts in a row had got it nowhere."""
        job = api.wait(id, 60)
        if job["status"] == "completed":
            return True
        self.assertEqual(job["error"]["code"], "poisoned", job)
        names = [name for _, name, _ in api.events(id) if name in ("job.started", "job.resumed", "turn.completed", "tool_call.completed")]
        last = len(names) - 1 - names[::-1].index("job.resumed")  # calls left open are settled after it
        progress = sum(name.endswith("completed") for name in names[:last])
        starts = last + 1 - progress
        self.assertGreater(starts - progress, 3, names)
        return False

    def live(self, api, accepted, n, dice):
        """One life of the daemon. Its length is counted in calls, not in time: a slow machine gets as far as a fast one."""
        calls = dice.choice((0, dice.randrange(30)))
        try:
            for i in range(3):
                accepted.append(api.ask("POST", "/v1/jobs", {"input": f"Run the chain {n} {i}"})["id"])
                time.sleep(dice.uniform(0, 0.02))
            end = time.monotonic() + 60
            while not self.got_to(api, calls):
                self.assertLess(time.monotonic(), end, f"{calls} calls were not made:\n" + self.room.read_log())
                time.sleep(0.005)
            time.sleep(dice.uniform(0, 0.05))
        except (OSError, http.client.HTTPException):
            raise AssertionError("the daemon ended by itself:\n" + self.room.read_log())

    def got_to(self, api, calls):
        """Whether this daemon made so many calls, or has no more to make."""
        connection, answer = api.open("GET", "/metrics")
        figures = answer.read().decode()
        connection.close()
        made, unfinished = (sum(map(int, name.findall(figures))) for name in (CALLS, UNFINISHED))
        return made >= calls or unfinished == 0

    def all_jobs(self, api):
        found, after = [], ""
        while True:
            page = api.ask("GET", f"/v1/jobs?limit=100{after}")
            found += [j["id"] for j in page["data"]]
            if not page["has_more"]:
                return found
            after = f"&after={page['last_id']}"

    def check_events(self, api, id):
        """How often it was resumed."""
        events = api.events(id)
        self.assertEqual([number for number, _, _ in events], list(range(1, len(events) + 1)))
        ends = [name for _, name, _ in events if name in ("job.completed", "job.failed", "job.cancelled")]
        self.assertEqual(len(ends), 1)
        self.assertEqual(events[-1][1], ends[0])
        completed = collections.Counter(d["call_id"] for _, n, d in events if n == "tool_call.completed")
        self.assertLessEqual(set(completed.values()), {1}, completed)
        return sum(name == "job.resumed" for _, name, _ in events)

    def check_counts(self, api, jobs):
        runs = collections.Counter(self.room.lines("count.log"))
        self.assertEqual([key for key, n in runs.items() if n > 1], [], "ran twice")
        again = collections.Counter(self.room.lines("again.log"))
        for id in jobs:
            calls = [p["call"] for t in api.trace(id)["turns"] for p in t["parts"] if p["call"]]
            for one in calls:
                key = f"{id}/{one['call_id'][5:]}"
                if one["name"] == "count":
                    self.assertIn(one["status"], ("ok", "unknown"))
                    self.assertEqual(one["attempt"], 1)
                    if one["status"] == "ok":
                        self.assertEqual(runs[key], 1, key)
                if one["name"] == "count_again":
                    self.assertIn(one["status"], ("ok", "unavailable", "cancelled"))
                    self.assertLessEqual(again[key], one["attempt"])
                    self.assertTrue(one["status"] != "ok" or again[key] >= 1, key)


if __name__ == "__main__":
    harness.main()
