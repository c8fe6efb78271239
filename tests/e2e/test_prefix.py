"""Nothing is prefilled twice: a long loop of calls, a second job with the same tools, a restart."""
import contextlib
import os
import sqlite3
import subprocess
import sys
import unittest

import calling_model
import harness

DEFAULT = os.path.join(os.environ.get("HERMESD_SOURCE_DIR", "."), "models", "hermes-tiny.gguf")
TOOLS = ["calculator", "date_add", "date_diff", "now", "weekday"]
TURNS = 20
ENDLESS = {"max_turns": TURNS, "max_tool_calls": 1000, "max_identical_calls": 1000, "max_cycle_repeats": 1000, "max_idle_calls": 1000,
           "max_turn_tokens": 300, "temperature": 0.8, "seed": 3, "tools": TOOLS}


def usages(api, id):
    """Of each turn; with `unread`: written, but not computed when the turn ended (the last token of one that was cut)."""
    return [{**data["usage"], "unread": data["finish_reason"] == "length"} for _, name, data in api.events(id) if name == "turn.completed"]


class Prefix(unittest.TestCase):
    flags = ()

    def setUp(self):
        self.room = harness.Room([])
        model = os.path.join(self.room.path, "calling.gguf")
        calling_model.write(model, DEFAULT)
        self.flags = ("--model", model, "--threads", "1")
        self.api = self.room.start(*self.flags, plugins=(harness.PLUGINS,))

    def tearDown(self):
        log = self.room.read_log()
        self.assertEqual(self.room.close(), 0, log)

    def check_turns(self, usage):
        """Each turn after the first computes the tokens between it and the one before, and no other."""
        for before, after in zip(usage, usage[1:]):
            self.assertEqual(after["prefix_miss_tokens"], 0, usage)
            self.assertEqual(after["prefix_misses"], {})
            self.assertEqual(after["cached_tokens"], before["input_tokens"] + before["output_tokens"] - before["unread"], usage)
            self.assertGreater(after["input_tokens"], after["cached_tokens"])

    def test_a_loop_of_twenty_turns(self):
        job = self.api.run("Go on for ever.", wait=60, **ENDLESS)
        self.assertEqual((job["status"], job["error"]["code"]), ("failed", "max_turns"), job)
        usage = usages(self.api, job["id"])
        self.assertEqual(len(usage), TURNS)
        self.assertGreaterEqual(job["tool_calls"], TURNS)
        calls = [part["call"] for turn in self.api.trace(job["id"])["turns"] for part in turn["parts"] if part["call"]]
        self.assertGreater(len({call["name"] for call in calls}), 2)
        self.assertEqual((usage[0]["prefix_miss_tokens"], usage[0]["cached_tokens"]), (0, 0))
        self.check_turns(usage)
        self.assertEqual(job["usage"]["prefix_miss_tokens"], 0)
        # Over all turns, every token of the timeline was computed once.
        computed = sum(u["input_tokens"] - u["cached_tokens"] + u["output_tokens"] - u["unread"] for u in usage[:-1])
        computed += usage[-1]["input_tokens"] - usage[-1]["cached_tokens"] + usage[-1]["output_tokens"]
        self.assertEqual(computed, usage[-1]["input_tokens"] + usage[-1]["output_tokens"])

    def test_a_second_job_prefills_its_own_words(self):
        first = self.api.run("The first question", wait=60, **{**ENDLESS, "max_turns": 1})
        second = self.api.run("Another one", wait=60, **{**ENDLESS, "max_turns": 2})
        one, two = usages(self.api, first["id"])[0], usages(self.api, second["id"])
        one_ids, two_ids = self.prompt_ids(first), self.prompt_ids(second)
        begin = one["input_tokens"] - len(one_ids)
        self.assertIn(begin, (0, 1))  # the token that begins every timeline
        common = begin + next(i for i, (a, b) in enumerate(zip(one_ids, two_ids)) if a != b)
        self.assertGreater(common, 500)
        self.assertEqual(two[0]["cached_tokens"], common)
        self.assertEqual((one["prefix_miss_tokens"], two[0]["prefix_miss_tokens"]), (0, 0))
        self.check_turns(two)

    def prompt_ids(self, job):
        """The first prompt of a job, span by span as the journal has it, as `hermesd tokenize` reads it."""
        with contextlib.closing(sqlite3.connect(os.path.join(self.room.state, "hermesd.db"))) as db:
            text, cuts = db.execute("SELECT prompt_text, prompt_cuts FROM turns WHERE job_id = ? AND turn = 0", (job["id"],)).fetchone()
        data, ids = text.encode(), []
        for cut in cuts.split():
            span, data = data[:int(cut[1:])], data[int(cut[1:]):]
            done = subprocess.run([harness.HERMESD, "tokenize", "--ids", *(["--template"] if cut[0] == "t" else []), "-m", self.flags[1]], input=span, capture_output=True, check=True)
            ids += done.stdout.replace(b",", b" ").split()
        return ids


if __name__ == "__main__":
    if not os.path.exists(DEFAULT):
        print(f"skipped: {DEFAULT} is not there")
        sys.exit(77)
    harness.main()
