"""How a model's text is read: calls in other notations, reasoning as rows, citations."""
import os
import sqlite3

import harness
from harness import call

TRAILING = '<tool_call>{"name": "count", "arguments": {"label": "a",}}</tool_call>'
BARE = '{"name": "count", "arguments": {"label": "b"}}'


class Reading(harness.Case):
    scripts = [
        {"match": "trailing comma", "turns": [TRAILING, "Counted."]},
        {"match": "bare call", "turns": [BARE, "Counted."]},
        {"match": "two plans", "turns": [
            "<PLAN>\nfirst\n</PLAN>\n" + call("count", label="c"),
            "<SCRATCHPAD>it went well</SCRATCHPAD>" + call("count", label="d"),
            "<PLAN>\nsecond\n</PLAN>\n" + call("count", label="e") + call("count", label="f"),
            "<think>" + call("count", label="g") + "</think>All.",
        ]},
        {"match": "cut plan", "turns": ["<PLAN>never closed", "Done."]},
        {"match": "Please cite", "turns": [call("passages"), "One.<co>p#1</co> Memo.<co>memo</co> \u00e9<co>p#9</co>"]},
        {"match": "own tags", "turns": ["<analysis>I look. <b>x</b></analysis>" + call("count", label="j"), "<analysis>So</analysis>Counted."]},
        {"match": "opened", "turns": ["I think.</think>Answer."]},
        {"match": "only talks", "turns": ["I will use the `count` tool.", "Now I will use the `count` tool."]},
        {"match": "talks, then acts", "turns": ["I will use the `count` tool.", call("count", label="i"), "Counted."]},
        {"match": "says nothing", "turns": [call("count", label="h"), " ", "At last."]},
    ]

    def rows(self, sql, *values):
        with sqlite3.connect(f"file:{os.path.join(self.room.state, 'hermesd.db')}?mode=ro", uri=True) as db:
            return db.execute(sql, values).fetchall()

    def calls(self, job):
        return [p["call"] for t in self.api.trace(job["id"])["turns"] for p in t["parts"] if p["call"]]

    def test_a_repaired_call_runs_and_says_so(self):
        job = self.api.run("A trailing comma.")
        self.assertEqual(job["result"]["text"], "Counted.")
        (one,) = self.calls(job)
        self.assertEqual((one["status"], one["arguments"], one["repaired"]), ("ok", {"label": "a"}, "trailing_comma"))
        events = [d for _, n, d in self.api.events(job["id"]) if n.startswith("tool_call.")]
        self.assertEqual([d["repaired"] for d in events], ["trailing_comma"] * 2)
        self.assertEqual(self.rows("SELECT repaired, raw_text FROM tool_calls WHERE job_id = ?", job["id"]),
                         [("trailing_comma", '{"name": "count", "arguments": {"label": "a",}}')])

    def test_a_strict_job_refuses_it(self):
        job = self.api.run("A trailing comma.", strict=True)
        (one,) = self.calls(job)
        self.assertEqual((one["status"], one["repaired"]), ("invalid", "trailing_comma"))
        self.assertIn("takes only calls that are written exactly", one["output"])
        self.assertEqual(one["attempt"], 0)

    def test_other_notations_run_where_the_job_says_so(self):
        job = self.api.run("A bare call.")
        self.assertEqual((job["result"]["text"], job["tool_calls"]), (BARE, 0))
        job = self.api.run("A bare call.", lenient_calls=True)
        self.assertEqual((job["result"]["text"], job["tool_calls"]), ("Counted.", 1))
        self.assertEqual(self.calls(job)[0]["repaired"], "bare_call")

    def test_which_plan_led_to_which_call(self):
        job = self.api.run("Make two plans.")
        self.assertEqual(job["result"]["text"], "All.")
        found = self.rows("SELECT call, section, text, section_turn FROM plan_calls WHERE job_id = ? ORDER BY call, section", job["id"])
        first, second, pad = ("PLAN", "first", 0), ("PLAN", "second", 2), ("SCRATCHPAD", "it went well", 1)
        self.assertEqual(found, [(0, *first), (1, *first), (1, *pad), (2, *second), (2, *pad), (3, *second), (3, *pad)])
        self.assertEqual(self.rows("SELECT turn, section, name, call FROM rehearsals WHERE job_id = ?", job["id"]), [(3, "think", "count", None)])
        self.assertNotIn("g", "".join(c["arguments"]["label"] for c in self.calls(job)))
        for turn in self.api.trace(job["id"])["turns"]:
            end = 0
            for part in turn["parts"]:
                if part["type"] in ("reasoning", "text"):
                    self.assertGreaterEqual(part["token_from"], end)
                    self.assertGreater(part["tokens"], 0)
                    self.assertGreaterEqual(part["duration_ms"], 0)
                    end = part["token_from"] + part["tokens"]
            self.assertLessEqual(end, turn["usage"]["output_tokens"])

    def test_a_section_that_was_never_closed_is_truncated(self):
        job = self.api.run("A cut plan.")
        self.assertEqual(job["error"]["code"], "empty_answer")
        self.assertEqual(self.rows("SELECT section, text, truncated FROM reasoning WHERE job_id = ?", job["id"]), [("PLAN", "never closed", 1)])

    def test_citations_are_resolved_or_flagged(self):
        job = self.api.run("Please cite.", documents=[{"id": "memo", "text": "Buy milk."}])
        text = job["result"]["text"].encode()
        cited = job["result"]["citations"]
        self.assertEqual([(c["id"], c["resolved"], c["tool_call_id"]) for c in cited],
                         [("p#1", True, "call_0"), ("memo", True, None), ("p#9", False, None)])
        for one in cited:
            self.assertEqual(text[one["start"]:one["end"]], f"<co>{one['id']}</co>".encode())
        self.assertEqual(self.api.job(job["id"]), job)
        self.assertEqual([d["job"]["result"] for _, n, d in self.api.events(job["id"]) if n == "job.completed"], [job["result"]])
        self.assertEqual(self.rows("SELECT position, passage, resolved, call FROM citations WHERE job_id = ? ORDER BY 1", job["id"]),
                         [(0, "p#1", 1, 0), (1, "memo", 1, None), (2, "p#9", 0, None)])
        (prompt,) = self.rows("SELECT prompt_text FROM turns WHERE job_id = ? AND turn = 0", job["id"])[0]
        self.assertIn('Please cite.\n\nDocuments:\n{"passages": [{"id": "memo", "text": "Buy milk."}]}<|im_end|>', prompt)
        self.api.ask("DELETE", f"/v1/jobs/{job['id']}")
        self.assertEqual(self.rows("SELECT count(*) FROM citations WHERE job_id = ?", job["id"]), [(0,)])

    def test_a_section_opened_by_the_prompt(self):
        job = self.api.run("It is opened.", open_section="think")
        self.assertEqual(job["result"]["text"], "Answer.")
        self.assertEqual(self.rows("SELECT section, text, truncated FROM reasoning WHERE job_id = ?", job["id"]), [("think", "I think.", 0)])
        self.refused(400, "invalid_value", self.api.submit, "x", open_section="thoughts")

    def test_sections_that_a_job_names_itself(self):
        sql = "SELECT turn, section, text FROM reasoning WHERE job_id = ? ORDER BY turn"
        job = self.api.run("It has its own tags.", reasoning_tags=["analysis"])
        self.assertEqual(job["result"]["text"], "Counted.")
        self.assertEqual(self.rows(sql, job["id"]), [(0, "analysis", "I look. <b>x</b>"), (1, "analysis", "So")])
        self.assertEqual(self.rows("SELECT section, text FROM plan_calls WHERE job_id = ?", job["id"]), [("analysis", "I look. <b>x</b>")])
        job = self.api.run("It has its own tags.")
        self.assertEqual(job["result"]["text"], "<analysis>So</analysis>Counted.")
        self.assertEqual(self.rows(sql, job["id"]), [])
        self.refused(400, "invalid_value", self.api.submit, "x", reasoning_tags=["tool_call"])

    def test_a_call_that_is_only_announced_is_marked(self):
        job = self.api.run("He only talks.")
        self.assertEqual((job["result"], job["turns"]), ({"text": "Now I will use the `count` tool.", "citations": [], "narrated": True}, 2))
        self.assertEqual(self.api.job(job["id"]), job)
        self.assertEqual(self.rows("SELECT result_narrated FROM jobs WHERE id = ?", job["id"]), [(1,)])
        job = self.api.run("He talks, then acts.")
        self.assertEqual((job["result"]["text"], job["turns"]), ("Counted.", 3))
        self.assertNotIn("narrated", job["result"])

    def test_an_empty_turn_behind_a_result_is_asked_again_once(self):
        job = self.api.run("He says nothing.")
        self.assertEqual((job["result"]["text"], job["turns"]), ("At last.", 3))
        (prompt,) = self.rows("SELECT prompt_text FROM turns WHERE job_id = ? AND turn = 2", job["id"])[0]
        self.assertIn("Your turn was empty.", prompt)

    def test_wrong_documents_are_refused(self):
        for documents in ("x", [3], [{"id": "a"}], [{"id": "", "text": "x"}], [{"id": "a" * 257, "text": "x"}],
                          [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]):
            self.refused(400, "invalid_value", self.api.submit, "x", documents=documents)
        for name in ("strict", "lenient_calls"):
            self.refused(400, "invalid_value", self.api.submit, "x", **{name: "yes"})


if __name__ == "__main__":
    harness.main()
