"""hermesctl and hermesd together: what README says, with the real binaries."""
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time

import harness
from harness import call

CTL = os.path.join(harness.BIN, "hermesctl")
PLUGINS = tuple(os.path.join(harness.PLUGINS, f"{name}.so") for name in ("calculator", "files", "hello"))
PRICE = [
    "<PLAN>\nRead the price, then multiply.\n</PLAN>\n" + call("read_file", path="price.txt"),
    "Now the product.\n" + call("calculator", expression="2340 * 0.17"),
    "17 % of 2,340 is 397.8.",
]
SCRIPTS = [
    {"match": "the price", "turns": PRICE},
    {"match": "wrong", "turns": [call("calculator", expression="1/"), "That was no expression."]},
    {"match": "for ever", "turns": ["again and again "], "repeat": True, "delay_ms": 20},
    {"match": "slowly", "turns": ["one two three four five six seven eight nine ten"], "delay_ms": 60},
    {"match": "", "turns": ["Hello there."]},
]


def ctl(room, *words, stdin=subprocess.DEVNULL, **how):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HERMESD_")}
    return subprocess.run([CTL, "--socket", room.socket, *words], stdin=stdin, capture_output=True, text=True, timeout=30, env=kept, **how)


class Ctl(harness.Case):
    scripts = SCRIPTS
    plugins = PLUGINS

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with open(os.path.join(cls.room.workspace, "price.txt"), "w") as file:
            file.write("2340\n")

    def ok(self, *words):
        done = ctl(self.room, *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def test_a_run_and_its_trace(self):
        done = self.ok("run", "-t", "calculator,read_file", "Take 17 % of the price.")
        self.assertEqual(done.stdout, "17 % of 2,340 is 397.8.\n")
        self.assertRegex(done.stderr, r"""^job_[0-9A-Z]{26}
PLAN
  Read the price, then multiply.
→ read_file \{"path":"price.txt"\}
← read_file .*2340.*  \([0-9.]+ ms\)
Now the product.
→ calculator \{"expression":"2340 \* 0.17"\}
← calculator .*397.8.*  \([0-9.]+ ms\)
3 turns, 2 calls, \d+ tokens read, \d+ written
$""")
        job = done.stderr.split("\n")[0]
        tree = self.ok("trace", job[-8:]).stdout
        for text in (f"{job}  completed", "Take 17 % of the price.", "├─ turn 0  stop", "PLAN", "Read the price, then multiply.",
                     'call read_file {"path":"price.txt"}', 'call calculator {"expression":"2340 * 0.17"}', "└─ turn 2  stop"):
            self.assertIn(text, tree)
        self.assertRegex(tree, r"ok  [0-9.]+ ms  pid \d+")
        self.assertIn(job, self.ok("jobs").stdout)
        self.assertTrue(self.ok("show", job).stdout.endswith("\n17 % of 2,340 is 397.8.\n"))
        self.assertEqual(json.loads(self.ok("show", job, "--json").stdout), self.api.job(job))

    def test_the_view_of_the_database(self):
        job = json.loads(self.ok("run", "--json", "Take 17 % of the price.").stdout.splitlines()[-1])["job"]["id"]
        db = sqlite3.connect(f"file:{self.room.state}/hermesd.db?mode=ro", uri=True)
        rows = db.execute("SELECT turn, kind, name, text, ms FROM trace WHERE job_id = ?", (job,)).fetchall()
        db.close()
        self.assertEqual([(turn, kind, name) for turn, kind, name, _, _ in rows], [
            (0, "user", None), (0, "turn", "stop"), (0, "reasoning", "PLAN"), (0, "call", "read_file"), (0, "result", "read_file"),
            (1, "turn", "stop"), (1, "text", None), (1, "call", "calculator"), (1, "result", "calculator"),
            (2, "turn", "stop"), (2, "text", None)])
        self.assertEqual(rows[0][3], "Take 17 % of the price.")
        self.assertTrue(all((ms is not None) == (kind in ("turn", "result", "reasoning", "text")) for _, kind, _, _, ms in rows))

    def test_a_call_that_fails_in_a_job(self):
        done = self.ok("run", "Do it wrong.")
        self.assertEqual(done.stdout, "That was no expression.\n")
        self.assertRegex(done.stderr, r"✗ calculator error: .*  \([0-9.]+ ms\)\n")

    def test_json_is_what_the_api_streams(self):
        events = [json.loads(line) for line in self.ok("run", "--json", "Good day").stdout.splitlines()]
        kept = [e for e in events if "sequence_number" in e]
        self.assertEqual(kept, [data for _, _, data in self.api.events(kept[0]["job_id"])])

    def test_detach_cancel_and_timeout(self):
        job = self.ok("run", "--detach", "Talk for ever.").stdout.strip()
        for _ in range(200):
            if self.api.job(job)["status"] == "working":
                break
            time.sleep(0.05)
        self.assertIn(job, ctl(self.room, "jobs", "--status", "working").stdout)
        done = ctl(self.room, "cancel", job)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.api.wait(job)["status"], "cancelled")
        done = ctl(self.room, "run", "--timeout", "2s", "Talk for ever.")
        self.assertEqual(done.returncode, 6, done.stderr)
        job = done.stderr.split("\n")[0]
        self.assertIn(f"job {job} goes on", done.stderr)
        self.assertIn(self.api.job(job)["status"], ("queued", "working"))
        self.api.cancel(job)
        self.api.wait(job)

    def test_ctrl_c_cancels_the_job(self):
        run = subprocess.Popen([CTL, "--socket", self.room.socket, "run", "Talk for ever."], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        job = run.stderr.readline().strip()
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=10)
        self.assertEqual(run.returncode, 130, err)
        self.assertIn("The job was cancelled.", err)
        self.assertEqual(self.api.job(job)["status"], "cancelled")

    def test_the_same_key_is_the_same_job(self):
        first = self.ok("run", "--idempotency-key", "k1", "Good day")
        again = self.ok("run", "--idempotency-key", "k1", "Good day")
        self.assertEqual((first.stdout, first.stderr.split("\n")[0]), (again.stdout, again.stderr.split("\n")[0]))
        done = ctl(self.room, "run", "--idempotency-key", "k1", "Another day")
        self.assertEqual(done.returncode, 1)
        self.assertIn("(idempotency_key_reused)", done.stderr)

    def test_tools(self):
        self.assertRegex(self.ok("tools").stdout, r"(?m)^calculator +\S")
        self.assertIn('"expression"', self.ok("tools", "calculator").stdout)
        self.assertIn("Ada", self.ok("call", "hello", '{"name": "Ada"}').stdout)
        for words, text in ((["call", "hello", '{"nam": 1}'], "(invalid_arguments)"), (["call", "helo", "{}"], "did you mean 'hello'?"),
                            (["run", "-t", "helo", "x"], "did you mean 'hello'?"), (["call", "calculator", '{"expression": "1/0"}'], "calculator: error:")):
            done = ctl(self.room, *words)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(text, done.stderr)

    def test_status(self):
        self.assertRegex(self.ok("status").stdout, rf"^ok  hermesd \S+ at unix://{self.room.socket}, up \d+ s\nmodel  ")


class Restart(harness.unittest.TestCase):
    def test_a_run_outlives_its_daemon(self):
        room = harness.Room(SCRIPTS)
        try:
            room.start(plugins=PLUGINS)
            runs = {}
            thread = threading.Thread(target=lambda: runs.update(done=ctl(room, "run", "Speak slowly.")))
            thread.start()
            while not room.api.ask("GET", "/v1/jobs?status=working")["data"]:
                time.sleep(0.01)
            time.sleep(0.2)
            room.kill()
            time.sleep(0.3)
            room.start(plugins=PLUGINS)
            thread.join(30)
            done = runs["done"]
            self.assertEqual((done.returncode, done.stdout), (0, "one two three four five six seven eight nine ten\n"), done.stderr)
            self.assertIn("the connection broke; trying again\n", done.stderr)
            self.assertIn("the daemon was restarted; the job goes on\n", done.stderr)
        finally:
            self.assertEqual(room.close(), 0)


if __name__ == "__main__":
    harness.main()
