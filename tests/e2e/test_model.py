"""The default model through the whole path: real tokens, real tools."""
import datetime
import os
import subprocess
import sys

import harness

MODEL = os.path.join(os.environ.get("HERMESD_SOURCE_DIR", "."), "models", "hermes-tiny.gguf")


class Model(harness.Case):
    flags = ("--model", MODEL)
    plugins = (harness.PLUGINS,)

    def test_a_calculation(self):
        job = self.api.run("How much is 17 % of 2,340?", wait=120)
        self.assertEqual(job["status"], "completed", job)
        self.assertIn("397.8", job["result"]["text"])
        self.assertEqual(job["tool_calls"], 1)

    def test_a_call_is_taken_out_of_the_grammar(self):
        job = self.api.run("How much is 12 times 9?", wait=120, tools=["calculator"], max_identical_calls=1)
        self.assertEqual(job["status"], "completed", job)
        told = [d for _, name, d in self.api.events(job["id"]) if name == "tool_call.forbidden"]
        self.assertEqual([(d["turn"], d["name"], d["arguments"], d["removed"]) for d in told],
                         [(1, "calculator", {"expression": "12 * 9"}, "arguments")])

    def test_forced_tokens_are_counted(self):
        for constrained in (True, False):
            job = self.api.run("How much is 12 times 9?", wait=120, tools=["calculator"], constrained=constrained)
            usage = [turn["usage"] for turn in self.api.trace(job["id"])["turns"]]
            self.assertEqual([d["usage"]["forced_tokens"] for _, name, d in self.api.events(job["id"]) if name == "turn.completed"], [u["forced_tokens"] for u in usage])
            self.assertEqual(usage[0]["forced_tokens"] > 0, constrained, usage)  # a call
            self.assertLess(usage[0]["forced_tokens"], usage[0]["output_tokens"])
            self.assertEqual(usage[-1]["forced_tokens"], 0)  # free text
            shown = subprocess.run([os.path.join(harness.BIN, "hermesctl"), "--socket", self.room.socket, "trace", job["id"]], capture_output=True, text=True, timeout=30).stdout
            self.assertEqual(f" out ({usage[0]['forced_tokens']} forced)" in shown, constrained, shown)

    def written(self, text, **members):
        """(guessed tokens, true ones, text) of a job's turns."""
        job = self.api.run(text, wait=120, **members)
        self.assertEqual(job["status"], "completed", job)
        usage = [turn["usage"] for turn in self.api.trace(job["id"])["turns"]]
        return sum(u["drafted_tokens"] for u in usage), sum(u["accepted_tokens"] for u in usage), job["result"]["text"]

    def test_what_stands_in_the_prompt_is_guessed(self):
        """How many tokens are guessed depends on what a row more costs here and now; of several jobs that copy a file, some guess."""
        guessed = true = 0
        for n in range(20):
            with open(os.path.join(self.room.workspace, "note.txt"), "w") as file:
                file.write(f"The blue heron stands in the shallow water of the river Ossel and waits for fish number {n}.\n")
            drafted, accepted, text = self.written("Read note.txt and tell me what it says.", tools=["read_file"])
            self.assertEqual(self.written("Read note.txt and tell me what it says.", tools=["read_file"], speculation=False), (0, 0, text))
            self.assertLessEqual(accepted, drafted)
            guessed, true = guessed + drafted, true + accepted
            if n >= 2 and true > 0:
                break
        self.assertGreater(guessed, 0)
        self.assertGreater(true, 0)

    def test_a_chain(self):
        before = datetime.datetime.now(datetime.timezone.utc).date()
        job = self.api.run("What date is it in 45 days?", wait=120)
        after = datetime.datetime.now(datetime.timezone.utc).date()
        self.assertEqual(job["status"], "completed", job)
        right = [(day + datetime.timedelta(days=45)).isoformat() for day in (before, after)]
        self.assertTrue(any(day in job["result"]["text"] for day in right), job["result"]["text"])
        self.assertEqual(job["tool_calls"], 2)

    def test_a_job_goes_on_after_a_kill(self):
        job = self.api.submit("How much is 12 times 9?", tools=["calculator"])
        with self.api.stream("GET", f"/v1/jobs/{job['id']}/events", timeout=120) as stream:
            for _, event, _ in stream:
                if event == "tool_call.started":
                    break
        self.room.kill()
        type(self).api = self.room.start(*self.flags, plugins=self.plugins)
        job = self.api.wait(job["id"], 120)
        self.assertEqual(job["status"], "completed", job)
        self.assertIn("108", job["result"]["text"])


if __name__ == "__main__":
    if not os.path.exists(MODEL):
        print(f"skipped: {MODEL} is not there")
        sys.exit(77)
    harness.main()
