"""What is done at once: a call runs while the model still writes, and the next prompt is computed while slower calls still run. Tools wait for
files that the test makes when it has seen what it wants to see, so that nothing here depends on time but how long a failure takes."""
import os
import sqlite3
import time

import harness
from harness import call

DEFAULT = os.path.join(os.environ.get("HERMESD_SOURCE_DIR", "."), "models", "hermes-tiny.gguf")
CHUNK = 3
BEGIN = "<|im_end|>\n<|im_start|>tool\n<tool_response>\n"
BETWEEN = "\n</tool_response>\n<tool_response>\n"


class Case(harness.Case):
    def release(self, file):
        open(os.path.join(self.room.workspace, file), "w").close()

    def computed(self):
        connection, answer = self.api.open("GET", "/metrics")
        lines = answer.read().decode().splitlines()
        connection.close()
        return next(int(line.split()[1]) for line in lines if line.startswith("hermesd_engine_computed_tokens_total "))

    def until(self, wanted, what):
        end = time.monotonic() + 60
        while not wanted():
            self.assertLess(time.monotonic(), end, f"waited for {what}; {self.computed()} tokens are computed")
            time.sleep(0.005)

    def until_event(self, stream, name, call_id=None):
        for _, event, data in stream:
            if event == name and data.get("call_id") == call_id:
                return data
        self.fail(f"the stream ended without {name} {call_id}: {event} {data}")

    def status(self, id):
        return [part["call"]["status"] for turn in self.api.trace(id)["turns"] for part in turn["parts"] if part["call"]]


def length(text):
    return -(-len(text.encode()) // CHUNK)


def body(name, content):
    return '{"name": "%s", "content": %s}' % (name, content)


class Scripted(Case):
    """Text and sizes are known to the token: one for each three bytes."""
    scripts = [
        {"match": "For ever.", "turns": [call("await", file="never-ending") + "\nand on and on and on"], "repeat": True, "delay_ms": 1},
        {"match": "In order.", "turns": [call("await", file="one") + "\n" + call("await", file="two") + "\n" + call("count", label="x"), "Done."]},
        {"match": "One by one.", "turns": [call("await", file="three") + "\n" + call("count", label="y") + "\nand on it goes", "Done."]},
        {"match": "Killed.", "turns": [call("count", label="z") + "\n" + call("count_again", label="z") + "\n" + call("await", file="four"), "Done."]},
    ]

    def test_a_call_runs_while_the_model_writes(self):
        """The turn never ends by itself. The call of its beginning is released when the model has written more, and comes to its end."""
        with self.api.stream("POST", "/v1/jobs", {"input": "For ever.", "max_calls_per_turn": 1}) as stream:
            id = self.until_event(stream, "tool_call.started", "call_0")["job_id"]
            self.until_event(stream, "message.delta")
            self.release("never-ending")
            self.until_event(stream, "tool_call.completed", "call_0")
            with sqlite3.connect(f"file:{self.room.state}/hermesd.db?mode=ro", uri=True) as journal:
                row = journal.execute("SELECT c.state, t.finished_at FROM tool_calls c JOIN turns t USING (job_id, turn) WHERE job_id = ? AND call = 0", (id,)).fetchone()
            self.assertEqual(row, ("ok", None))
            self.api.cancel(id)
            self.until_event(stream, "job.cancelled")

    def test_results_are_computed_in_call_order(self):
        with self.api.stream("POST", "/v1/jobs", {"input": "In order."}) as stream:
            usage = self.until_event(stream, "turn.completed")["usage"]
            told = self.computed()  # everything of other jobs, and of this one what is known
            id = self.api.ask("GET", "/v1/jobs?status=working")["data"][0]["id"]
            self.until(lambda: self.status(id) == ["started", "started", "ok"], "the third call")
            self.assertEqual(self.computed(), told)  # the third result waits behind the first two
            self.release("one")
            known = length(body("await", '{"there": true}')) + length(BETWEEN)
            self.until(lambda: self.computed() == told + known, "the first result")
            self.assertEqual(self.status(id), ["ok", "started", "ok"])
            self.release("two")
            self.until_event(stream, "job.completed")
        turns = [turn["usage"] for turn in self.api.trace(id)["turns"]]
        self.assertEqual(turns[0], {**usage, "reasoning_tokens": 0})
        prompt = BEGIN, body("await", '{"there": true}'), BETWEEN, body("await", '{"there": true}'), BETWEEN, body("count", '{"counted": true}'), \
            "\n</tool_response>\n<|im_end|>\n<|im_start|>assistant\n"
        self.assertEqual(turns[1]["input_tokens"], usage["input_tokens"] + usage["output_tokens"] + sum(map(length, prompt)))
        with sqlite3.connect(f"file:{self.room.state}/hermesd.db?mode=ro", uri=True) as journal:
            text, = journal.execute("SELECT prompt_text FROM turns WHERE job_id = ? AND turn = 1", (id,)).fetchone()
        self.assertEqual(text, "".join(prompt))

    def test_one_thing_after_the_other(self):
        self.release("three")
        job = self.api.run("One by one.", overlap=False)
        self.assertEqual(job["status"], "completed", job)
        names = [(name, data.get("call_id")) for _, name, data in self.api.events(job["id"]) if name.startswith("tool_call.") or name == "turn.completed"]
        self.assertEqual(names[:5], [("turn.completed", None), ("tool_call.started", "call_0"), ("tool_call.completed", "call_0"),
                                     ("tool_call.started", "call_1"), ("tool_call.completed", "call_1")])

    def test_killed_in_between(self):
        """What was on the timeline and nowhere else is put there again."""
        room = harness.Room(self.scripts)
        try:
            api = room.start()
            id = api.submit("Killed.")["id"]
            self.until(lambda: [p["call"]["status"] for t in api.trace(id)["turns"] for p in t["parts"]] == ["ok", "ok", "started"], "two results")
            room.kill()
            api = room.start()
            open(os.path.join(room.workspace, "four"), "w").close()
            job = api.wait(id)
            self.assertEqual((job["status"], job["result"]), ("completed", {"text": "Done.", "citations": []}))
            turns = [turn["usage"] for turn in api.trace(id)["turns"]]
            prompt = BEGIN, body("count", '{"counted": true}'), BETWEEN, body("count_again", '{"counted": true}'), BETWEEN, body("await", '{"there": true}'), \
                "\n</tool_response>\n<|im_end|>\n<|im_start|>assistant\n"
            self.assertEqual(turns[1]["input_tokens"] - turns[0]["input_tokens"] - turns[0]["output_tokens"], sum(map(length, prompt)))
            self.assertEqual(room.lines("count.log"), [f"{id}/0"])
        finally:
            self.assertEqual(room.close(), 0, room.path)


class Model(Case):
    """The same with a model that computes: the default one, which is asked for two calls at once."""
    flags = ("--model", DEFAULT, "--threads", "1")

    def ask(self, one, two, **members):
        return self.api.stream("POST", "/v1/jobs", {"input": f"Use await on {one} and use await on {two}.", "tools": ["await"], "max_turn_tokens": 150,
                                                    **members}, timeout=120)

    def turns(self, id):
        return [turn["usage"] for turn in self.api.trace(id)["turns"]]

    def test_results_are_computed_while_calls_run(self):
        before = self.computed()
        with self.ask("paris.txt", "rome.txt") as stream:
            done = self.until_event(stream, "turn.completed")
            usage, id = done["usage"], done["job_id"]
            self.assertEqual(self.status(id), ["started", "started"], self.api.trace(id))
            written = before + usage["input_tokens"] - usage["cached_tokens"] + usage["output_tokens"]
            self.until(lambda: self.computed() > written, "the beginning of the next prompt")
            self.release("paris.txt")
            self.until_event(stream, "tool_call.completed", "call_0")
            self.until(lambda: self.computed() > written + 16, "the first result")
            seen = self.computed() - written
            self.assertEqual(self.status(id), ["ok", "started"])
            self.release("rome.txt")
            self.until_event(stream, "turn.completed")  # whatever it says
        ahead = self.turns(id)[1]["ahead_tokens"]
        self.assertGreaterEqual(ahead, seen)
        # The other way round only the beginning can be computed ahead; one after the other nothing can.
        with self.ask("vienna.txt", "oslo.txt") as stream:
            self.until_event(stream, "turn.completed")
            self.release("oslo.txt")
            self.until_event(stream, "tool_call.completed", "call_1")
            self.release("vienna.txt")
            id = self.until_event(stream, "turn.completed")["job_id"]
        self.assertLess(self.turns(id)[1]["ahead_tokens"], 16)
        with self.ask("paris.txt", "rome.txt", overlap=False) as stream:
            self.until_event(stream, "turn.completed")
            id = self.until_event(stream, "turn.completed")["job_id"]
        self.assertEqual(self.status(id), ["ok", "ok"])
        self.assertEqual(self.turns(id)[1]["ahead_tokens"], 0)


if __name__ == "__main__":
    harness.main()
