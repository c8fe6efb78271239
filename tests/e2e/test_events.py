"""Event streams: order, numbers, replay, several watchers, both forms."""
import json
import threading
import time

import harness
from harness import call

TURNS = ["<PLAN>\nCount.\n</PLAN>\nI will count.\n" + call("count", label="a") + "\n" + call("nap", ms=150), "All is counted."]


class Events(harness.Case):
    scripts = [
        {"match": "Please count.", "turns": TURNS, "delay_ms": 1},
        {"match": "Show the overlap.", "turns": [call("count", label="o") + "\n" + "and on it goes " * 20, "Done."], "delay_ms": 4},
        {"match": "", "turns": ["Hello there."]},
    ]

    def test_all_events_in_order(self):
        with self.api.stream("POST", "/v1/jobs", {"input": "Please count."}) as stream:
            events = list(stream)
        durable = [(number, name) for number, name, _ in events if number is not None]
        self.assertEqual([number for number, _ in durable], list(range(1, len(durable) + 1)))
        names = [name for _, name in durable]
        self.assertEqual(names[:3], ["job.queued", "job.started", "turn.started"])
        self.assertEqual(names[-1], "job.completed")
        self.assertEqual([n for n in names if n.startswith(("reasoning", "message"))], ["reasoning.done", "message.done", "message.done"])
        self.assertEqual(names.count("tool_call.started"), 2)
        self.assertEqual(names.count("tool_call.completed"), 2)
        self.assertLess(names.index("tool_call.started"), names.index("tool_call.completed"))
        for number, name, data in events:
            self.assertEqual(data["type"], name)
            self.assertEqual(data.get("sequence_number"), number)
        deltas = "".join(d["delta"] for _, n, d in events if n == "message.delta" and d["turn"] == 1)
        self.assertEqual(deltas, "All is counted.")
        progress = [d for _, n, d in events if n == "tool_call.progress"]
        self.assertEqual([(d["fraction"], d["message"]) for d in progress], [(0.5, "half asleep")])
        final = events[-1][2]["job"]
        self.assertEqual(final["last_seq"], durable[-1][0])
        self.assertEqual(final["result"], {"text": "All is counted.", "citations": []})

    def test_replay_is_what_was_sent(self):
        with self.api.stream("POST", "/v1/jobs", {"input": "Please count."}) as stream:
            events = [e for e in stream if e[0] is not None]
        id = events[0][2]["job_id"]
        self.assertEqual(self.api.events(id), events)
        for after in range(len(events) + 3):
            self.assertEqual(self.api.events(id, Last_Event_ID=str(after)), events[after:], after)
        with self.api.stream("GET", f"/v1/jobs/{id}/events?starting_after=3", Accept="application/x-ndjson") as _:
            pass
        connection, answer = self.api.open("GET", f"/v1/jobs/{id}/events?starting_after=3", None, {"Accept": "application/x-ndjson"})
        self.assertEqual(answer.headers["content-type"], "application/x-ndjson")
        self.assertEqual([json.loads(line) for line in answer], [d for _, _, d in events[3:]])
        connection.close()

    def test_a_watcher_that_comes_back_misses_nothing(self):
        job = self.api.submit("Please count.")
        seen, last = [], 0
        while not seen or seen[-1][1] != "job.completed":
            with self.api.stream("GET", f"/v1/jobs/{job['id']}/events", None, Last_Event_ID=str(last)) as stream:
                for number, name, data in stream:
                    if number is not None:
                        seen.append((number, name, data))
                        last = number
                        break
        self.assertEqual(seen, self.api.events(job["id"]))

    def test_many_watchers_see_the_same(self):
        job = self.api.submit("Please count.")
        results = {}

        def watch(n):
            time.sleep(n * 0.02)
            results[n] = [e for e in harness.Api(self.room.socket).events(job["id"]) if e[0] is not None]

        threads = [threading.Thread(target=watch, args=(n,)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for n in range(12):
            self.assertEqual(results[n], results[0])
        self.assertEqual(results[0][-1][1], "job.completed")

    def test_too_many_watchers_are_refused(self):
        job = self.api.submit("Please count.")
        open_streams = []
        try:
            refused = None
            for _ in range(40):
                connection, answer = self.api.open("GET", f"/v1/jobs/{job['id']}/events")
                open_streams.append(connection)
                if answer.status == 429:
                    refused = json.loads(answer.read())["error"]["code"]
                    break
                answer.fp.readline()
            self.assertEqual(refused, "quota_exceeded")
        finally:
            for connection in open_streams:
                connection.close()
        self.api.wait(job["id"])

    def test_closing_a_stream_does_not_end_the_job(self):
        with self.api.stream("POST", "/v1/jobs", {"input": "Please count."}) as stream:
            id = next(iter(stream))[2]["job_id"]
        self.assertEqual(self.api.wait(id)["status"], "completed")

    def test_a_call_runs_while_the_model_still_writes(self):
        with self.api.stream("POST", "/v1/jobs", {"input": "Show the overlap."}) as stream:
            names = [(n, d["turn"]) for _, n, d in stream if n in ("tool_call.completed", "turn.completed")]
        self.assertEqual(names[:2], [("tool_call.completed", 0), ("turn.completed", 0)])

    def test_wrong_positions_are_refused(self):
        job = self.api.run("Good day")
        self.refused(400, "invalid_value", self.api.ask, "GET", f"/v1/jobs/{job['id']}/events?starting_after=x")
        self.refused(400, "invalid_value", self.api.ask, "GET", f"/v1/jobs/{job['id']}/events", Last_Event_ID="-1")
        self.refused(404, "job_not_found", self.api.ask, "GET", "/v1/jobs/job_none/events")


if __name__ == "__main__":
    harness.main()
