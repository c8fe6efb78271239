"""A tool that crashes costs one call: its own job goes on, and so do the others."""
import os
import shutil
import signal
import threading
import time

import harness
from harness import call


class Plugins(harness.Case):
    scripts = [
        {"match": "Please crash.", "turns": [call("crash"), "It crashed."]},
        {"match": "Take a nap.", "turns": [call("nap", ms=700), "Rested."]},
        {"match": "Take a long nap.", "turns": [call("nap", ms=10000), "Rested."]},
        {"match": "Please count.", "turns": [call("count", label="a"), "Counted."]},
        {"match": "", "turns": ["Hello there."]},
    ]

    def test_a_crash_is_an_error_of_one_call(self):
        other = {}
        thread = threading.Thread(target=lambda: other.update(harness.Api(self.room.socket).run("Take a nap.")))
        thread.start()
        job = self.api.run("Please crash.")
        self.assertEqual(job["result"], {"text": "It crashed.", "citations": []})
        trace = self.api.trace(job["id"])
        crashed = trace["turns"][0]["parts"][0]["call"]
        self.assertEqual((crashed["status"], crashed["is_error"], crashed["signal"]), ("crashed", True, signal.SIGABRT))
        thread.join()
        self.assertEqual(other["result"], {"text": "Rested.", "citations": []})
        self.assertEqual(self.api.run("Please count.")["result"], {"text": "Counted.", "citations": []})

    def test_a_direct_call_that_crashes_is_answered(self):
        result = self.api.ask("POST", "/v1/tools/crash/call", {"arguments": {}})
        self.assertEqual((result["status"], result["is_error"], result["signal"]), ("crashed", True, signal.SIGABRT))

    def test_a_worker_killed_from_outside(self):
        job = self.api.submit("Take a long nap.")
        with self.api.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            for _, event, _ in stream:
                if event == "tool_call.started":
                    break
        while job["status"] in ("queued", "working"):  # at first the worker may not be there yet
            for child in self.children(self.room.daemon.pid):
                os.kill(child, signal.SIGKILL)
            time.sleep(0.05)
            job = self.api.job(job["id"])
        self.assertEqual(job["status"], "completed", job)
        self.assertEqual(self.api.trace(job["id"])["turns"][0]["parts"][0]["call"]["status"], "crashed")

    def children(self, pid):
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(n) for n in file.read().split()]

    def test_workers_end_with_the_daemon(self):
        room = harness.Room(self.scripts)
        self.addCleanup(room.close)
        api = room.start()
        api.submit("Take a nap.")
        children = self.children(room.daemon.pid)
        self.assertTrue(children)
        room.kill()
        for _ in range(200):
            alive = [p for p in children if os.path.exists(f"/proc/{p}/exe") and self.is_worker(p)]
            if not alive:
                break
            threading.Event().wait(0.02)
        self.assertEqual(alive, [])

    def is_worker(self, pid):
        try:
            return os.readlink(f"/proc/{pid}/exe").endswith("hermes-worker")
        except OSError:
            return False

    def test_a_plugin_that_is_no_plugin_is_left_out(self):
        room = harness.Room(self.scripts)
        self.addCleanup(room.close)
        bad = os.path.join(room.path, "bad.so")
        with open(bad, "w") as file:
            file.write("no library")
        loose = os.path.join(room.path, "loose.so")
        shutil.copy(harness.PROBE, loose)
        os.chmod(loose, 0o777)
        code, said = room.once("--check", plugins=(bad, loose, harness.PROBE))
        self.assertEqual(code, 1, said)
        self.assertRegex(said, r"nap +probe")
        api = room.start(plugins=(bad, loose, harness.PROBE))
        self.assertIn("bad.so", room.read_log())
        self.assertIn("loose.so", room.read_log())
        self.assertEqual(api.run("Please count.")["result"], {"text": "Counted.", "citations": []})


if __name__ == "__main__":
    harness.main()
