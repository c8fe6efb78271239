"""Nothing is prefilled twice: a long loop of calls, a second job with the same tools, a restart."""
import contextlib
import os
import random
import re
import sqlite3
import subprocess
import sys
import time
import unittest

import calling_model
import harness

DEFAULT = os.path.join(os.environ.get("HERMESD_SOURCE_DIR", "."), "models", "hermes-tiny.gguf")
TOOLS = ["calculator", "date_add", "date_diff", "now", "weekday"]
TURNS = 20
ENDLESS = {"max_turns": TURNS, "max_tool_calls": 1000, "max_identical_calls": 1000, "max_cycle_repeats": 1000, "max_idle_calls": 1000,
           "max_turn_tokens": 300, "temperature": 0.8, "seed": 3, "tools": TOOLS}


KV_BYTES = 2 * 2 * 2 * 16 * 2  # of a token: keys and values of two layers with two heads of 16, in F16


def long_text(number, words=100):
    chosen = random.Random(number)
    return " ".join(str(chosen.randrange(1000)) for _ in range(words))


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

    def ended(self, text, **members):
        return self.api.wait(self.api.submit(text, **members)["id"], 120)

    def check_turns(self, usage):
        """Each turn after the first computes the tokens between it and the one before, and no other."""
        for before, after in zip(usage, usage[1:]):
            self.assertEqual(after["prefix_miss_tokens"], 0, usage)
            self.assertEqual(after["prefix_misses"], {})
            self.assertEqual(after["cached_tokens"], before["input_tokens"] + before["output_tokens"] - before["unread"], usage)
            self.assertGreater(after["input_tokens"], after["cached_tokens"])

    def test_a_loop_of_twenty_turns(self):
        job = self.ended("Go on for ever.", **{**ENDLESS, "seed": 8})  # one that calls each tool three times at least
        self.assertEqual((job["status"], job["error"]["code"]), ("failed", "max_turns"), job)
        usage = usages(self.api, job["id"])
        self.assertEqual(len(usage), TURNS)
        self.assertGreaterEqual(job["tool_calls"], TURNS)
        calls = [part["call"] for turn in self.api.trace(job["id"])["turns"] for part in turn["parts"] if part["call"]]
        self.assertEqual(sorted({call["name"] for call in calls}), TOOLS)
        self.assertEqual((usage[0]["prefix_miss_tokens"], usage[0]["cached_tokens"]), (0, 0))
        self.check_turns(usage)
        self.assertEqual(job["usage"]["prefix_miss_tokens"], 0)
        # Over all turns, every token of the timeline was computed once.
        computed = sum(u["input_tokens"] - u["cached_tokens"] + u["output_tokens"] - u["unread"] for u in usage[:-1])
        computed += usage[-1]["input_tokens"] - usage[-1]["cached_tokens"] + usage[-1]["output_tokens"]
        self.assertEqual(computed, usage[-1]["input_tokens"] + usage[-1]["output_tokens"])

    def test_little_memory(self):
        """Jobs that do not fit beside each other lose pages to each other, compute them again, and get on."""
        self.assertEqual(self.room.stop(), 0)
        self.room.start(*self.flags, "--context", "4096", "--kv-bytes", "1M", "--max-jobs", "4", plugins=(harness.PLUGINS,))
        ids = [self.api.submit(f"Go on, {n}.", **{**ENDLESS, "seed": n})["id"] for n in range(4)]
        jobs = [self.api.wait(id, 120) for id in ids]
        self.assertEqual([job["error"]["code"] for job in jobs], ["max_turns"] * 4)
        self.assertEqual([job["turns"] for job in jobs], [TURNS] * 4)
        turns = [usage for id in ids for usage in usages(self.api, id)]
        for usage in turns:
            self.assertLessEqual(set(usage["prefix_misses"]), {"evicted", "at_once"})
            self.assertEqual(usage["prefix_miss_tokens"], sum(usage["prefix_misses"].values()))
        again = sum(usage["prefix_misses"].get("evicted", 0) for usage in turns)
        self.assertGreater(again, 0)
        self.assertEqual(sum(usage["prefix_miss_tokens"] for usage in turns), sum(job["usage"]["prefix_miss_tokens"] for job in jobs))
        self.assertIn(f'hermesd_prefix_miss_tokens_total{{reason="evicted"}} {again}\n', self.room.metrics())

    def waiting(self, first, second, loser):
        """A job waits for each of the two tools, while a third one takes memory from one of them: from `loser`. The other one goes on first,
        else it might lose its memory to the one that wants its own back."""
        job, jobs = {**ENDLESS, "max_turns": 2, "max_calls_per_turn": 1}, {}
        for n, tool in enumerate([first, second]):
            jobs[tool] = self.api.submit("Wait.", **{**job, "tools": [tool]}, system=long_text(n))["id"]
            self.until_it_waits(jobs[tool])
        third = self.ended("Write.", **{**job, "max_turns": 1, "max_turn_tokens": 16, "tools": []}, system=long_text(2, 140))["usage"]
        turns = {}
        for tool in sorted(jobs, key=lambda tool: tool == loser):
            with self.released(tool):
                self.api.wait(jobs[tool], 120)
            turns[tool] = usages(self.api, jobs[tool])
        room = [-(-(u["input_tokens"] + u["output_tokens"] - u["cached_tokens"]) // 64) for u in [turns[first][0], turns[second][0], third]]
        # The third is the first for whom there is too little, and what one of them has is enough.
        self.assertTrue(sum(room[:2]) <= 24 < sum(room) <= 24 + min(room[:2]), room)
        return turns

    @contextlib.contextmanager
    def released(self, tool):
        go = os.path.join(self.room.workspace, tool)
        with open(go, "w"):
            pass
        yield
        os.unlink(go)

    def check_who_gave_way(self, turns, loser):
        for tool, (before, after) in turns.items():
            self.assertEqual(before["prefix_misses"], {})
            self.assertEqual(after["prefix_misses"].get("evicted", 0) > 0, tool == loser, turns)

    def start_small(self):
        self.assertEqual(self.room.stop(), 0)
        self.room.start(*self.flags, "--context", "1024", "--kv-bytes", str(24 * 64 * KV_BYTES), plugins=(harness.PROBE,))

    def test_who_waits_for_a_tool_keeps_its_memory(self):
        """Of two jobs that wait for tools, the one that is expected back later loses its memory to a third one, not the one that has been
        waiting longer."""
        self.teach(hold=[300], hold_too=[300])
        self.check_who_gave_way(self.waiting("hold", "hold_too", loser="hold_too"), "hold_too")

    def call_at_once(self, tool, times):
        with self.released(tool):
            for _ in range(times):
                job = self.ended("Wait.", **{**ENDLESS, "max_turns": 1, "max_calls_per_turn": 1, "tools": [tool]})
                self.assertEqual(job["tool_calls"], 1, job)

    def teach(self, **seconds):
        """A daemon that was started behind calls which took so long, as the journal has it."""
        self.start_small()
        for tool, each in seconds.items():
            self.call_at_once(tool, len(each))
        self.assertEqual(self.room.stop(), 0)
        with contextlib.closing(sqlite3.connect(os.path.join(self.room.state, "hermesd.db"))) as db:
            for tool, each in seconds.items():
                rows = [row for row, in db.execute("SELECT rowid FROM tool_calls WHERE name = ? AND duration_ms IS NOT NULL", (tool,))]
                self.assertEqual(len(rows), len(each))
                db.executemany("UPDATE tool_calls SET duration_ms = ? WHERE rowid = ?", [(1000 * s, row) for s, row in zip(each, rows)])
            db.commit()
        self.room.start(*self.flags, "--context", "1024", "--kv-bytes", str(24 * 64 * KV_BYTES), plugins=(harness.PROBE,))

    def test_what_calls_took_before_a_restart_is_expected_of_them(self):
        self.teach(hold=[600], hold_too=[300])
        self.check_who_gave_way(self.waiting("hold", "hold_too", loser="hold"), "hold")

    def test_what_a_call_takes_is_expected_of_the_next(self):
        """Of 19 calls the longest counts, of 20 the one before it: one call more, and less is expected of the next."""
        self.teach(hold=[600] + [100] * 18, hold_too=[300])
        self.call_at_once("hold", 1)
        self.check_who_gave_way(self.waiting("hold_too", "hold", loser="hold_too"), "hold_too")

    def until_it_waits(self, id):
        """Its call has begun, and the engine has computed all that there is of it: until then it gives no memory away."""
        end = time.monotonic() + 60
        while not self.turn_and_call(id):
            self.assertTrue(time.monotonic() < end and self.api.job(id)["status"] != "failed", self.api.job(id))
            time.sleep(0.01)
        computed = None
        while computed != (computed := self.computed_tokens()):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.2)

    def turn_and_call(self, id):
        """Whether its first turn has ended and the call of that one has begun."""
        turns = self.api.trace(id)["turns"]
        calls = [part["call"]["status"] for turn in turns for part in turn["parts"] if part["call"]]
        return calls == ["started"] and turns[0]["finish_reason"] is not None

    def computed_tokens(self):
        return re.search(r"^hermesd_engine_computed_tokens_total (\d+)$", self.room.metrics(), re.MULTILINE)[1]

    def start_again(self, *more):
        self.assertEqual(self.room.stop(), 0, self.room.read_log())
        self.room.start(*self.flags, *more, plugins=(harness.PLUGINS,))

    def first_turn(self, text):
        job = self.ended(text, **{**ENDLESS, "max_turns": 1})
        return usages(self.api, job["id"])[0]

    def fill(self):
        """Two jobs, and what they have in common on disk: its file, and how many tokens that is."""
        self.first_turn("The first question")
        common = self.first_turn("Another one")["cached_tokens"]
        self.assertGreater(common, 500)
        return os.path.join(self.room.state, "prefixes.kv"), common

    def test_a_restart_keeps_what_jobs_have_in_common(self):
        kept = os.path.join(self.room.state, "prefixes.kv")
        self.first_turn("The first question")
        self.start_again()
        self.assertFalse(os.path.exists(kept))  # it is one job's alone
        common = self.fill()[1]
        inode = None
        for _ in range(2):  # what nobody used is kept, too, and not written again
            self.start_again()
            self.assertIn("beginnings of prompts are there from before", self.room.read_log())
            self.assertIn(inode, (None, os.stat(kept).st_ino))
            inode = os.stat(kept).st_ino
        self.assertEqual(os.stat(kept).st_mode & 0o7777, 0o600)
        with open(f"/proc/{self.room.daemon.pid}/maps") as maps:
            self.assertIn(kept, maps.read())
        ids = [self.api.submit(f"Who else, {n}?", **{**ENDLESS, "max_turns": 1})["id"] for n in range(4)]
        for id in ids:  # all want it at once
            self.api.wait(id, 120)
            usage = usages(self.api, id)[0]
            self.assertGreaterEqual(usage["cached_tokens"], common)
            self.assertLessEqual(set(usage["prefix_misses"]), {"at_once"})  # of the words that these four begin with
        self.assertEqual(self.room.stop(), 0)
        os.unlink(kept)
        self.room.start(*self.flags, "--prefix-cache", "0", plugins=(harness.PLUGINS,))
        self.fill()
        self.start_again()
        self.assertFalse(os.path.exists(kept))

    def test_what_was_kept_is_damaged(self):
        """The daemon goes on, says so once, and computes what is not there any more."""
        kept, common = self.fill()
        self.start_again()
        with open(kept, "r+b") as file:
            data_at = int.from_bytes(file.read()[32:40], "little")
            self.flip(file, data_at + 64)
        sentence = "of the prefix cache '{}' is not used, nor what is behind it: it was {}"
        self.assertEqual(self.first_turn("Who else?")["cached_tokens"], 0)
        self.assertGreaterEqual(self.first_turn("And who else?")["cached_tokens"], common)
        self.assertEqual(self.room.read_log().count(sentence.format(kept, "altered")), 1)
        self.start_again()  # the file has it whole again
        os.truncate(kept, data_at)
        self.assertEqual(self.first_turn("And now?")["cached_tokens"], 0)
        self.assertIn(sentence.format(kept, "cut off while it was in use"), self.room.read_log())
        self.first_turn("And then?")
        self.start_again()
        self.assertGreaterEqual(self.first_turn("At last")["cached_tokens"], common)
        self.assertEqual(self.room.stop(), 0)
        with open(kept, "r+b") as file:
            self.flip(file, 200)
        self.room.start(*self.flags, plugins=(harness.PLUGINS,))
        self.assertIn("prefixes.kv' is ignored: it was altered", self.room.read_log())
        self.assertEqual(self.first_turn("Who else?")["cached_tokens"], 0)

    def flip(self, file, at):
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 4]))

    def test_what_was_kept_is_of_something_else(self):
        """Another model, or keys and values of another kind: the file is not used, and replaced in the end. Of another set of tools
        only what stands before the first difference is used."""
        common = self.fill()[1]
        job = self.ended("The first question", **{**ENDLESS, "max_turns": 1, "tools": TOOLS[1:]})
        before = usages(self.api, job["id"])[0]["cached_tokens"]
        self.assertLess(before, common)
        self.start_again()
        job = self.ended("Another one", **{**ENDLESS, "max_turns": 1, "tools": TOOLS[2:]})
        self.assertEqual(usages(self.api, job["id"])[0]["cached_tokens"], before)
        refused = "prefixes.kv' is ignored: it was made with another model or device"
        self.start_again("--kv", "q8")
        self.assertIn(refused, self.room.read_log())
        self.assertEqual(self.first_turn("Who else?")["cached_tokens"], 0)
        self.fill()
        self.start_again("--kv", "q8")
        self.assertNotIn(refused, self.room.read_log().rpartition("stopped")[2])
        self.assertGreaterEqual(self.first_turn("And who else?")["cached_tokens"], common)
        self.assertEqual(self.room.stop(), 0)
        os.utime(self.flags[1], (1, 1))  # another file of that name
        self.room.start(*self.flags, "--kv", "q8", plugins=(harness.PLUGINS,))
        self.assertIn(refused, self.room.read_log().rpartition("stopped")[2])
        self.assertEqual(self.first_turn("Who?")["cached_tokens"], 0)

    def test_a_second_job_prefills_its_own_words(self):
        first = self.ended("The first question", **{**ENDLESS, "max_turns": 1})
        second = self.ended("Another one", **{**ENDLESS, "max_turns": 2})
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
