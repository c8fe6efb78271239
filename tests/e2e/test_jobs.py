"""Jobs from submission to end: answers, errors, lists, keys, traces, quotas."""
import threading
import time

import harness
from harness import call

CHAIN = [
    "<SCRATCHPAD>\nFirst count, then again.\n</SCRATCHPAD>\n" + call("count", label="a"),
    "Now the other.\n" + call("count_again", label="b") + "\n" + call("count", label="c"),
    "Counted three times.",
]


class Jobs(harness.Case):
    scripts = [
        {"match": "Do the chain.", "turns": CHAIN},
        {"match": "wrong name", "turns": [call("cuont", label="a"), "No such tool."]},
        {"match": "wrong arguments", "turns": [call("count", lable="a"), "It wants a label."]},
        {"match": "A long text.", "turns": [call("long_text"), "Long."]},
        {"match": "again and again", "turns": [call("count", label="x")] * 9},
        {"match": "Be broken.", "turns": ["half an ans"], "fail": "the device was lost"},
        {"match": "no turns", "turns": [call("count", label="n")]},
        {"match": "Be a talker.", "turns": ["again and again "], "repeat": True, "delay_ms": 1},
        {"match": "Be very slow.", "turns": ["one two three four five six seven eight nine ten"], "delay_ms": 200},
        {"match": "Be slow.", "turns": ["one two three four five six seven eight nine ten"], "delay_ms": 20},
        {"match": "", "turns": ["Hello there."]},
    ]
    flags = ("--max-jobs", "2", "--max-queued", "3", "--max-user-jobs", "6")

    def test_a_job_without_tools_answers(self):
        job = self.api.run("Good day", tools=[], metadata={"k": "v"}, title="A title")
        self.assertEqual(self.api.status, 200)
        self.assertEqual(job["result"], {"text": "Hello there.", "citations": []})
        self.assertEqual((job["status"], job["error"], job["title"], job["metadata"]), ("completed", None, "A title", {"k": "v"}))
        self.assertEqual(job["turns"], 1)
        self.assertGreater(job["usage"]["output_tokens"], 0)
        self.assertEqual(self.api.job(job["id"]), job)

    def test_submitting_answers_202_with_location(self):
        job = self.api.submit("Good day")
        self.assertEqual(self.api.status, 202)
        self.assertEqual(self.api.headers["location"], f"/v1/jobs/{job['id']}")
        self.assertRegex(job["id"], r"^job_[0-9A-HJKMNP-TV-Z]{26}$")
        self.assertEqual(self.api.wait(job["id"])["status"], "completed")

    def test_a_chain_of_calls_and_its_trace(self):
        job = self.api.run("Do the chain.")
        self.assertEqual(job["result"], {"text": "Counted three times.", "citations": []})
        self.assertEqual((job["turns"], job["tool_calls"]), (3, 3))
        self.assertGreater(job["usage"]["reasoning_tokens"], 0)
        keys = [f"{job['id']}/{n}" for n in range(3)]
        self.assertEqual([k for k in self.room.lines("count.log") if k in keys], [keys[0], keys[2]])
        self.assertEqual([k for k in self.room.lines("again.log") if k in keys], [keys[1]])
        trace = self.api.trace(job["id"])
        self.assertEqual(trace["job"], job)
        self.assertEqual(trace["input"], [{"role": "user", "content": "Do the chain."}])
        self.assertEqual([[p["type"] for p in t["parts"]] for t in trace["turns"]], [["reasoning", "tool_call"], ["text", "tool_call", "tool_call"], ["text"]])
        first = trace["turns"][0]["parts"][1]["call"]
        self.assertEqual((first["name"], first["arguments"], first["status"], first["output"]), ("count", {"label": "a"}, "ok", '{"counted": true}'))
        self.assertGreater(first["pid"], 0)
        self.assertGreater(first["duration_ms"], 0)
        self.assertEqual(trace["turns"][0]["parts"][0]["section"], "SCRATCHPAD")

    def test_wrong_calls_come_back_to_the_model(self):
        for text, status in (("wrong name", "invalid"), ("wrong arguments", "invalid")):
            job = self.api.run(f"A {text} please.")
            self.assertEqual(job["status"], "completed", job)
            completed = [d for _, n, d in self.api.events(job["id"]) if n == "tool_call.completed"]
            self.assertEqual([(d["status"], d["is_error"]) for d in completed], [(status, True)])
            self.assertFalse([k for k in self.room.lines("count.log") if k.startswith(job["id"])])

    def test_a_long_result_is_cut_for_events_and_whole_in_the_trace(self):
        job = self.api.run("A long text.")
        shown = [d for _, n, d in self.api.events(job["id"]) if n == "tool_call.completed"][0]
        self.assertTrue(shown["truncated"])
        self.assertLessEqual(len(shown["output"].encode()), 32768)
        whole = self.api.trace(job["id"])["turns"][0]["parts"][0]["call"]["output"]
        self.assertEqual(whole.count("\n"), 1000)
        self.assertTrue(whole.startswith(shown["output"]))

    def test_limits_end_a_job_by_name(self):
        for members, code in (({"max_turns": 2}, "max_turns"), ({"max_identical_calls": 2}, "identical_calls"), ({"max_tool_calls": 1}, "max_tool_calls")):
            job = self.api.run("Count again and again.", **members)
            self.assertEqual((job["status"], job["error"]["code"]), ("failed", code), job)
        job = self.api.run("Be a talker.", max_turn_tokens=20)
        self.assertEqual(job["error"]["code"], "turn_too_long", job)
        job = self.api.run("Be a talker.", max_output_tokens=20)
        self.assertEqual(job["error"]["code"], "max_output_tokens", job)

    def test_a_deadline_ends_a_job(self):
        job = self.api.run("Be a talker.", deadline_ms=150)
        self.assertEqual((job["status"], job["error"]["code"]), ("failed", "deadline_exceeded"))
        self.assertIsNotNone(job["deadline_at"])

    def test_an_engine_that_fails_fails_the_job_alone(self):
        job = self.api.run("Be broken.")
        self.assertEqual((job["status"], job["error"]["code"]), ("failed", "engine_failed"))
        self.assertIn("the device was lost", job["error"]["message"])
        job = self.api.run("There are no turns left.")
        self.assertEqual(job["error"]["code"], "engine_failed")
        self.assertEqual(self.api.run("Good day")["status"], "completed")

    def test_a_prompt_above_the_context_is_refused_with_numbers(self):
        job = self.api.run("x" * 4000000)
        self.assertEqual((job["status"], job["error"]["code"]), ("failed", "context_length_exceeded"), job["error"])
        self.assertRegex(job["error"]["message"], r"\d{4,}")

    def test_requests_that_are_wrong_name_the_member(self):
        table = [
            ({}, "input"), ({"input": ""}, "input"), ({"input": 3}, "input"), ({"input": []}, "input"), ({"input": [{"role": "user"}]}, "input[0]"),
            ({"input": [{"role": "assistant", "content": "a"}]}, "input[0]"), ({"input": [{"role": "king", "content": "a"}]}, "input[0]"),
            ({"input": "a", "system": 4}, "system"), ({"input": "a", "max_turns": 0}, "max_turns"), ({"input": "a", "max_turns": 1.5}, "max_turns"),
            ({"input": "a", "max_turns": "3"}, "max_turns"), ({"input": "a", "temperature": 2.1}, "temperature"), ({"input": "a", "temperature": -1}, "temperature"),
            ({"input": "a", "seed": -1}, "seed"), ({"input": "a", "deadline_ms": 0}, "deadline_ms"), ({"input": "a", "tools": "count"}, "tools"),
            ({"input": "a", "tools": [1]}, "tools[0]"), ({"input": "a", "tool_choice": "must"}, "tool_choice"), ({"input": "a", "profile": "x"}, "profile"),
            ({"input": "a", "title": "t" * 201}, "title"), ({"input": "a", "metadata": {"a": 1}}, "metadata"),
            ({"input": "a", "metadata": {str(i): "" for i in range(17)}}, "metadata"), ({"input": "a", "top_p": float("1e308")}, "top_p"),
        ]
        for body, param in table:
            refused = self.refused(400, "invalid_value", self.api.ask, "POST", "/v1/jobs", body)
            self.assertEqual(refused.error["param"], param)
        for body in ("", "{", "[]", "null", '{"input": "a", "input": "b"}', '{"input": "a\x01"}', b'{"input": "\xff"}', '{"input": "a"} x', "[" * 100 + "]" * 100,
                     '{"input": NaN}'):
            self.refused(400, "invalid_json", self.api.ask, "POST", "/v1/jobs", body)

    def test_unknown_members_are_ignored(self):
        self.assertEqual(self.api.run("Good day", future=True, approval="never")["status"], "completed")

    def test_an_unknown_tool_or_model_is_refused_with_the_nearest(self):
        refused = self.refused(400, "tool_not_found", self.api.submit, "x", tools=["count", "cuont"])
        self.assertEqual(refused.error["param"], "tools[1]")
        self.assertIn("did you mean 'count'?", refused.error["message"])
        self.refused(400, "tool_not_found", self.api.submit, "x", tools=["z*"])
        self.refused(400, "model_not_found", self.api.submit, "x", model="gpt")
        self.assertEqual(self.api.run("Good day", model="scripted", tools=["count*", "*ap"])["status"], "completed")

    def test_messages_and_a_system_text(self):
        job = self.api.run([{"role": "system", "content": "S"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "slow?"}])
        self.assertEqual(job["status"], "completed")
        self.assertEqual(job["title"], "slow?")
        self.assertEqual([m["role"] for m in self.api.trace(job["id"])["input"]], ["system", "user", "user"])

    def test_an_idempotency_key_gives_the_first_job(self):
        headers = {"Idempotency_Key": "k1"}
        first = self.api.ask("POST", "/v1/jobs", {"input": "Good day"}, **headers)
        self.assertEqual(self.api.status, 202)
        second = self.api.ask("POST", "/v1/jobs", {"input": "Good day"}, **headers)
        self.assertEqual((self.api.status, second["id"]), (200, first["id"]))
        self.refused(422, "idempotency_key_reused", self.api.ask, "POST", "/v1/jobs", {"input": "Good night"}, **headers)
        with self.api.stream("POST", "/v1/jobs", {"input": "Good day"}, **headers) as stream:
            self.assertEqual({d["job_id"] for _, _, d in stream}, {first["id"]})

    def test_a_wait_that_is_too_short_gives_202(self):
        job = self.api.run("Be very slow.", wait=0)
        self.assertEqual(self.api.status, 202)
        self.assertIn(self.api.job(job["id"])["status"], ("queued", "working"))
        self.assertEqual(self.api.wait(job["id"])["status"], "completed")

    def test_lists_page_by_cursor(self):
        ids = [self.api.run(f"Good day {i}")["id"] for i in range(5)]
        page = self.api.ask("GET", "/v1/jobs?limit=2")
        self.assertEqual([j["id"] for j in page["data"]], [ids[4], ids[3]])
        self.assertTrue(page["has_more"])
        page = self.api.ask("GET", f"/v1/jobs?limit=3&after={page['last_id']}&status=completed")
        self.assertEqual([j["id"] for j in page["data"]], [ids[2], ids[1], ids[0]])
        page = self.api.ask("GET", f"/v1/jobs?order=asc&after={ids[3]}")
        self.assertEqual([j["id"] for j in page["data"]], [ids[4]])
        self.assertFalse(page["has_more"])
        self.assertEqual([j["id"] for j in self.api.ask("GET", f"/v1/jobs?match={ids[2][-12:]}")["data"]], [ids[2]])
        self.assertEqual(self.api.ask("GET", "/v1/jobs?status=input_required")["data"], [])
        for query in ("limit=0", "limit=101", "limit=x", "order=up", "status=lost", "after=job_none"):
            self.refused(400, "invalid_value", self.api.ask, "GET", f"/v1/jobs?{query}")

    def test_deleting(self):
        job = self.api.run("Good day")
        self.api.ask("DELETE", f"/v1/jobs/{job['id']}")
        self.assertEqual(self.api.status, 204)
        for method, route in (("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/trace"), ("POST", "/cancel")):
            self.refused(404, "job_not_found", self.api.ask, method, f"/v1/jobs/{job['id']}{route}")
        self.refused(404, "job_not_found", self.api.ask, "GET", "/v1/jobs/" + "x" * 200)
        live = self.api.submit("Be a talker.")
        self.refused(409, "job_not_terminal", self.api.ask, "DELETE", f"/v1/jobs/{live['id']}")
        self.api.cancel(live["id"])

    def test_full_queues_are_an_answer(self):
        live = []
        refused = None
        try:
            for _ in range(8):
                live.append(self.api.submit("Be a talker.")["id"])
        except harness.Refused as caught:
            refused = caught
        self.assertEqual((refused.status, refused.code), (429, "queue_full"))
        self.assertEqual(refused.headers["retry-after"], "1")
        self.assertEqual(len(live), 5)
        states = [self.api.job(id)["status"] for id in live]
        self.assertEqual(states.count("working"), 2)
        self.assertEqual(states.count("queued"), 3)
        for id in live[::-1]:
            self.assertEqual(self.api.cancel(id)["status"], "cancelled")

    def test_the_highest_priority_begins_first(self):
        room = harness.Room(self.scripts)
        self.addCleanup(room.close)
        api = room.start("--max-jobs", "1")
        first = api.submit("Be a talker.")["id"]
        ids = [api.submit("Be slow.", priority=priority)["id"] for priority in (-1, 0, 3, 0)]
        self.assertEqual([api.job(id)["status"] for id in ids], ["queued"] * 4)
        api.cancel(first)
        begun = [api.wait(id)["started_at"] for id in ids]
        self.assertEqual(sorted(range(4), key=lambda i: begun[i]), [2, 1, 3, 0])

    def test_lower_priorities_begin_in_time(self):
        """While jobs of a higher priority wait, one beginning in eight is of whoever has waited longest behind them."""
        room = harness.Room([{"match": "Be brief.", "turns": ["Yes, yes."], "delay_ms": 5}] + self.scripts)
        self.addCleanup(room.close)
        api = room.start("--max-jobs", "1")
        first = api.submit("Be a talker.")["id"]
        priorities = [0] * 2 + [-5, 2, -5] + [2] * 20
        ids = [api.submit("Be brief.", priority=priority)["id"] for priority in priorities]
        api.cancel(first)
        begun = [api.wait(id)["started_at"] for id in ids]
        order = sorted(range(len(ids)), key=begun.__getitem__)
        high = [i for i, priority in enumerate(priorities) if priority == 2]
        want = high[:7] + [0] + high[7:14] + [1] + high[14:21] + [2, 4]
        self.assertEqual(order, want)

    def test_requests_have_a_ceiling_together(self):
        room = harness.Room([{"match": "", "turns": ["again and again "], "repeat": True, "delay_ms": 1000}])
        self.addCleanup(room.close)
        api = room.start("--max-jobs", "1")
        ids = [api.submit("Be a talker.")["id"]]  # for an hour: no limit of it is near while the others are sent
        with self.assertRaises(harness.Refused) as refused:
            for _ in range(12):
                ids.append(api.submit("x" * ((8 << 20) - 1000))["id"])
        self.assertEqual((refused.exception.status, refused.exception.code), (429, "queue_full"))
        self.assertIn("bytes of requests", refused.exception.error["message"])
        self.assertEqual(len(ids), 1 + 8)
        self.assertEqual([api.job(id)["status"] for id in ids], ["working"] + ["queued"] * 8)
        for id in ids[:0:-1] + ids[:1]:  # the one that works last, or others would begin
            api.cancel(id)  # a slow disk may have to write megabytes first
            self.assertEqual(api.wait(id)["status"], "cancelled")

    def test_many_clients_at_once(self):
        done = []

        def work(n):
            api = harness.Api(self.room.socket)
            for i in range(5):
                while True:
                    try:
                        done.append(api.run(f"Good day {n} {i}")["status"])
                        break
                    except harness.Refused as refused:
                        if refused.status != 429:
                            raise
                        time.sleep(0.02)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(done, ["completed"] * 40)

    def test_the_figures_count(self):
        connection, answer = self.api.open("GET", "/metrics")
        before = answer.read().decode()
        connection.close()
        self.api.run("Do the chain.")
        connection, answer = self.api.open("GET", "/metrics")
        after = answer.read().decode()
        connection.close()

        def value(text, name):
            return int([line for line in text.splitlines() if line.startswith(name + " ")][0].split()[-1])

        for name, more in (('hermesd_jobs_total{status="completed"}', 1), ("hermesd_jobs_accepted_total", 1), ('hermesd_tool_calls_total{outcome="ok"}', 3)):
            self.assertEqual(value(after, name) - value(before, name), more, name)
        self.assertEqual(answer.headers["content-type"], "text/plain; version=0.0.4")


if __name__ == "__main__":
    harness.main()
