"""A disk that takes no more: new jobs are refused, running ones stop, and go on by themselves when there is room."""
import resource
import time

import harness
from harness import call

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


class Disk(harness.Case):
    scripts = [
        {"match": "Take a nap.", "turns": [call("nap", ms=700), "Rested."]},
        {"match": "Count and nap.", "turns": [call("count", label="a") + "\n" + call("nap", ms=700), "Done."]},
        {"match": "", "turns": ["Hello there."]},
    ]

    def limit(self, values):
        resource.prlimit(self.room.daemon.pid, resource.RLIMIT_FSIZE, values)

    def setUp(self):
        self.addCleanup(self.limit, UNLIMITED)

    def begin(self, text):
        job = self.api.submit(text, tools=["nap", "count"])
        with self.api.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
            for _, event, data in stream:
                if event == "tool_call.started" and data["name"] == "nap":
                    return job["id"]

    def test_new_jobs_are_refused_and_running_ones_go_on_later(self):
        ids = [self.begin("Take a nap."), self.begin("Count and nap.")]
        self.limit((4096, resource.RLIM_INFINITY))
        refused = self.refused(503, "disk_full", self.api.submit, "Good day")
        self.assertEqual(refused.headers["retry-after"], "1")
        time.sleep(1.2)  # the naps end, and their results cannot be kept
        self.assertEqual(self.api.ask("GET", "/health")["status"], "ok")
        for id in ids:
            self.assertEqual(self.api.job(id)["status"], "working")
        self.limit(UNLIMITED)
        self.assertEqual(self.api.wait(ids[0])["result"], {"text": "Rested.", "citations": []})
        self.assertEqual(self.api.wait(ids[1])["result"], {"text": "Done.", "citations": []})
        self.assertEqual(self.room.lines("count.log"), [f"{ids[1]}/0"])
        self.assertEqual(self.api.run("Good day")["status"], "completed")
        for id in ids:
            numbers = [n for n, _, _ in self.api.events(id)]
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)))


if __name__ == "__main__":
    harness.main()
