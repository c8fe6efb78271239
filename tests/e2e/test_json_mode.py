"""Answers in JSON: read and repaired, asked for again, refused, resumed; and a real model that can write nothing else."""
import ipaddress
import json
import os
import re
import sqlite3
import subprocess
import unittest

import harness
from harness import call

try:
    import jsonschema  # a second opinion, where it is installed
except ImportError:
    jsonschema = None

MODEL = os.path.join(os.environ.get("HERMESD_SOURCE_DIR", "."), "models", "hermes-tiny.gguf")
CTL = os.path.join(harness.BIN, "hermesctl")
BOOK = {"type": "object", "properties": {"author": {"type": "string"}, "year": {"type": "integer", "maximum": 2100}},
        "required": ["author", "year"], "additionalProperties": False}
RIGHT = {"author": "Jane Austen", "year": 1815}


def by(schema, strict=False):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": strict}}


def by_hand(schema):
    """As the model's card says it."""
    return ("You are a helpful assistant that answers in JSON. Here's the json schema you must adhere to:\n<schema>\n"
            + json.dumps(schema) + "\n</schema>")


def prompt_of(room, job, turn):
    with sqlite3.connect(f"file:{os.path.join(room.state, 'hermesd.db')}?mode=ro", uri=True) as db:
        return db.execute("SELECT prompt_text FROM turns WHERE job_id = ? AND turn = ?", (job["id"], turn)).fetchone()[0]


class Scripted(harness.Case):
    """The scripted engine follows no grammar: everything is found out afterwards."""
    scripts = [
        {"match": "A plain one.", "turns": [json.dumps(RIGHT)]},
        {"match": "A fenced one.", "turns": ["Here it is:\n```json\n{\n  \"author\": \"Jane Austen\",\n  \"year\": 1815\n}\n```\n"]},
        {"match": "In python.", "turns": ["{'author': 'Jane Austen', 'year': 1815,}"]},
        {"match": "With tags.", "turns": ['{"author": "<PLAN><tool_call>{}</tool_call><|im_end|>", "year": 1}']},
        {"match": "A call first.", "turns": ["<PLAN>\ncount\n</PLAN>\n" + call("count", label="a"), json.dumps(RIGHT)]},
        {"match": "It has a call's shape.", "turns": [json.dumps({"name": "count", "arguments": {"label": "x"}})]},
        {"match": "A second try.", "turns": ['{"author": "Jane Austen", "year": 2815}', json.dumps(RIGHT)]},
        {"match": "In three tries.", "turns": ["I do not know.", "Really not.", "No."]},
        {"match": "They are all alike.", "turns": ["[1, 1]", "[1, 2]"]},
        {"match": "Thrice.", "turns": [call("passages")] * 3 + [json.dumps(RIGHT)]},
        {"match": "Again and again.", "turns": [call("passages")] * 9},
        {"match": "Forbidden, but an answer.", "turns": [call("passages")] * 4 + ["Well.", json.dumps(RIGHT)]},
        {"match": "It cites.", "turns": ['{"author": "A <co>memo</co>", "year": 1}']},
        {"match": "", "turns": ["Hello there."]},
    ]

    def result(self, text, **members):
        job = self.api.run(text, **members)
        self.assertEqual(job["status"], "completed", job)
        self.assertEqual(self.api.job(job["id"]), job)
        self.assertEqual([d["job"]["result"] for _, n, d in self.api.events(job["id"]) if n == "job.completed"], [job["result"]])
        return job

    def test_the_value_and_its_text(self):
        job = self.result("A plain one.", response_format=by(BOOK, strict=True))
        self.assertEqual(job["result"], {"text": json.dumps(RIGHT), "citations": [], "json": RIGHT, "repaired": None})
        self.assertEqual(self.result("hi", response_format={"type": "text"})["result"], {"text": "Hello there.", "citations": []})

    def test_notation_is_normalised_and_said(self):
        for text, name in (("A fenced one.", "fenced_json"), ("In python.", "python_literal, trailing_comma")):
            job = self.result(text, response_format=by(BOOK))
            self.assertEqual(job["result"], {"text": json.dumps(RIGHT), "citations": [], "json": RIGHT, "repaired": name})
            self.assertEqual(job["turns"], 1)
        connection, answer = self.api.open("GET", f"/v1/jobs/{job['id']}/events", None, {"Accept": "application/x-ndjson"})
        lines = answer.read().decode().splitlines()
        connection.close()
        self.assertEqual([json.loads(line)["type"] for line in lines][-1], "job.completed")

    def test_what_a_string_says_is_data(self):
        job = self.result("With tags.", response_format=by(BOOK))
        self.assertEqual(job["result"]["json"]["author"], "<PLAN><tool_call>{}</tool_call><|im_end|>")
        self.assertEqual([p["type"] for p in self.api.trace(job["id"])["turns"][0]["parts"]], ["text"])
        job = self.result("It has a call's shape.", response_format={"type": "json_object"}, lenient_calls=True)
        self.assertEqual((job["tool_calls"], job["result"]["json"]["name"]), (0, "count"))

    def test_calls_come_before_the_answer(self):
        job = self.result("A call first.", response_format=by(BOOK))
        self.assertEqual((job["tool_calls"], job["turns"], job["result"]["json"]), (1, 2, RIGHT))

    def forbidden(self, job):
        told = [d for _, n, d in self.api.events(job["id"]) if n == "tool_call.forbidden"]
        return [(d["turn"], d["name"], d["arguments"], d["removed"]) for d in told]

    def test_calls_that_lead_nowhere(self):
        for constrained, removed in ((True, "arguments"), (False, None)):
            job = self.result("Thrice.", response_format=by(BOOK), constrained=constrained)
            self.assertEqual((self.forbidden(job), job["result"]["json"]), ([(3, "passages", {}, removed)], RIGHT))
        job = self.api.run("Again and again.", response_format=by(BOOK), tools=["passages"])
        self.assertEqual((job["status"], job["error"]["code"], job["tool_calls"]), ("failed", "identical_calls", 6), job)

    def test_a_refused_call_is_no_failed_answer(self):
        job = self.result("Forbidden, but an answer.", response_format=by(BOOK))
        self.assertEqual((job["tool_calls"], job["turns"], job["result"]["json"]), (4, 6, RIGHT))
        calls = [p["call"]["status"] for t in self.api.trace(job["id"])["turns"] for p in t["parts"] if p["call"]]
        self.assertEqual(calls, ["ok"] * 3 + ["invalid"])

    def test_citations_are_places_in_the_text(self):
        job = self.result("It cites.", response_format=by(BOOK), documents=[{"id": "memo", "text": "A."}])
        (one,) = job["result"]["citations"]
        self.assertEqual(job["result"]["text"].encode()[one["start"]:one["end"]], b"<co>memo</co>")
        self.assertTrue(one["resolved"])

    def test_a_misfit_is_told_and_written_again(self):
        job = self.result("A second try.", response_format=by(BOOK))
        self.assertEqual((job["turns"], job["result"]["json"], job["result"]["repaired"]), (2, RIGHT, None))
        self.assertIn("<|im_start|>user\nThe answer does not fit its JSON schema: answer.year must be at most 2100, not 2815. "
                      "Answer again, with the JSON and nothing else.<|im_end|>", prompt_of(self.room, job, 1))

    def test_after_three_tries_the_job_fails(self):
        job = self.api.run("In three tries.", response_format=by(BOOK))
        self.assertEqual((job["status"], job["error"]["code"], job["turns"], job["result"]), ("failed", "invalid_answer", 3, None))
        self.assertIn("not valid JSON", job["error"]["message"])

    def test_what_a_grammar_cannot_say_is_checked(self):
        schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
        job = self.result("They are all alike.", response_format=by(schema))
        self.assertEqual((job["turns"], job["result"]["json"]), (2, [1, 2]))
        error = self.refused(400, "schema_unsupported", self.api.submit, "x", response_format=by(schema, strict=True)).error
        self.assertEqual(error["param"], "response_format.json_schema.schema")
        self.assertIn("uniqueItems", error["message"])

    def test_the_prompt(self):
        said = by_hand(BOOK)
        self.assertEqual(prompt_of(self.room, self.api.run("A plain one.", response_format=by(BOOK), tools=[]), 0),
                         f"<|im_start|>system\n{said}<|im_end|>\n<|im_start|>user\nA plain one.<|im_end|>\n<|im_start|>assistant\n")
        text = prompt_of(self.room, self.api.run("A plain one.", response_format=by(BOOK), tools=["count"], system="Be brief."), 0)
        self.assertIn(f"</tool_call>\n\n{said}\n\nBe brief.<|im_end|>\n", text)
        text = prompt_of(self.room, self.api.run("A plain one.", response_format={"type": "json_object"}, tools=[]), 0)
        self.assertTrue(text.startswith("<|im_start|>system\nYou are a helpful assistant that answers in JSON.<|im_end|>\n"), text)
        plain = [prompt_of(self.room, self.api.run("hi", **more), 0) for more in ({}, {"response_format": {"type": "text"}})]
        self.assertEqual(plain[0], plain[1])
        self.assertNotIn("JSON.", plain[0])

    def test_the_prompt_of_json_mode_by_hand(self):
        for members in ({"system": by_hand(BOOK)}, {"messages": by_hand(BOOK)}):
            text = "A fenced one."
            if "messages" in members:
                text = [{"role": "system", "content": members.pop("messages")}, {"role": "user", "content": text}]
            job = self.result(text, tools=[], **members)
            self.assertEqual((job["result"]["json"], job["result"]["repaired"]), (RIGHT, "fenced_json"))
            self.assertEqual(prompt_of(self.room, job, 0),
                             f"<|im_start|>system\n{by_hand(BOOK)}<|im_end|>\n<|im_start|>user\nA fenced one.<|im_end|>\n<|im_start|>assistant\n")
        self.assertEqual(self.result("A second try.", system=by_hand(BOOK))["turns"], 2)
        job = self.result("A fenced one.", system=by_hand(BOOK), response_format={"type": "text"})
        self.assertNotIn("json", job["result"])
        error = self.refused(400, "schema_unsupported", self.api.submit, "x", system=by_hand({"type": "objekt"})).error
        self.assertEqual(error["param"], "system")

    def test_bad_formats_are_refused_and_nothing_is_accepted(self):
        deep = {}
        for _ in range(70):
            deep = {"items": deep}
        before = self.accepted()
        for format, code, param, said in (
                ("json", "invalid_value", "response_format", "'type'"),
                ({"type": "yaml"}, "invalid_value", "response_format.type", "json_schema"),
                ({"type": "json_schema"}, "invalid_value", "response_format.json_schema", "'schema'"),
                ({"type": "json_schema", "json_schema": {"name": "x"}}, "invalid_value", "response_format.json_schema.schema", "JSON Schema"),
                (by({"properties": {"a": {"$ref": "#/nowhere"}}}), "schema_unsupported", "response_format.json_schema.schema", "at /properties/a: keyword '$ref'"),
                (by({"properties": {"a": {"minimun": 1}}}), "schema_unsupported", "response_format.json_schema.schema", "at /properties/a: keyword 'minimun'"),
                (by({"type": "string", "minLength": 2, "maxLength": 1}), "schema_unsupported", "response_format.json_schema.schema", "grammar"),
                (by({"description": "x" * 32768}), "schema_unsupported", "response_format.json_schema.schema", "32768"),
                ({"type": "json_object", "schema": {"type": "object", "pattern": "("}}, "schema_unsupported", "response_format.schema", "keyword 'pattern'"),
                (by(deep), "invalid_json", None, "")):
            error = self.refused(400, code, self.api.submit, "x", response_format=format).error
            self.assertEqual((error["type"], error["param"]), ("invalid_request_error", param), error)
            self.assertIn(said, error["message"])
        self.assertEqual(self.accepted(), before)

    def accepted(self):
        connection, answer = self.api.open("GET", "/metrics")
        text = answer.read().decode()
        connection.close()
        return int(re.search(r"^hermesd_jobs_accepted_total (\d+)$", text, re.M)[1])

    def test_hermesctl(self):
        path = os.path.join(self.room.path, "book.json")
        with open(path, "w") as file:
            json.dump(BOOK, file, indent=2)

        def ctl(*words):
            return subprocess.run([CTL, "--socket", self.room.socket, "run", *words], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)

        for text in ("A plain one.", "A fenced one.", "A second try."):
            done = ctl("--schema", path, text)
            self.assertEqual((done.returncode, done.stdout), (0, json.dumps(RIGHT) + "\n"), done.stderr)
        done = ctl("--json-object", "A plain one.")
        self.assertEqual((done.returncode, json.loads(done.stdout)), (0, RIGHT))
        done = ctl("--schema", path, "In three tries.")
        self.assertEqual((done.returncode, done.stdout), (5, ""))
        self.assertIn("invalid_answer", done.stderr)
        with open(path, "w") as file:
            json.dump({"properties": {"a": {"$ref": "#/nowhere"}}}, file)
        done = ctl("--schema", path, "A plain one.")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("/properties/a", done.stderr)


class Restarted(unittest.TestCase):
    """The format is part of the request that is on disk."""

    def setUp(self):
        self.room = harness.Room([
            {"match": "A misfit.", "turns": ['{"year": 1}', "{\n" + json.dumps(RIGHT)[1:] + " " * 300], "delay_ms": 5},
            {"match": "Thrice, and a nap.", "turns": [call("passages")] * 3 + [call("nap", ms=1000), call("passages"), json.dumps(RIGHT)]},
            {"match": "Take a nap.", "turns": [call("nap", ms=1000), "```\n" + json.dumps(RIGHT) + "\n```"]},
        ])
        self.addCleanup(self.room.close)
        self.api = self.room.start()

    def test_what_was_forbidden_still_is(self):
        job = self.killed_at("Thrice, and a nap.", "tool_call.started", 3, response_format=by(BOOK))
        self.assertEqual((job["status"], job["result"]["json"], job["tool_calls"]), ("completed", RIGHT, 5), job)
        told = self.api.events(job["id"])
        self.assertEqual([d["turn"] for _, n, d in told if n == "tool_call.forbidden"], [3])
        self.assertEqual([d["status"] for _, n, d in told if n == "tool_call.completed"], ["ok"] * 4 + ["invalid"])

    def killed_at(self, text, event, turn, **members):
        id = self.api.submit(text, **members)["id"]
        with self.api.stream("GET", f"/v1/jobs/{id}/events") as stream:
            for _, name, data in stream:
                if name == event and data.get("turn", turn) == turn:
                    break
        self.room.kill()
        self.api = self.room.start()
        return self.api.wait(id)

    def test_between_two_tries(self):
        job = self.killed_at("A misfit.", "message.delta", 1, response_format=by(BOOK))
        self.assertEqual((job["status"], job["turns"]), ("completed", 2), job)
        self.assertEqual(job["result"], {"text": json.dumps(RIGHT), "citations": [], "json": RIGHT, "repaired": None})
        self.assertEqual([d["attempt"] for _, n, d in self.api.events(job["id"]) if n == "job.resumed"], [2])

    def test_while_a_call_runs(self):
        job = self.killed_at("Take a nap.", "tool_call.started", 0, response_format={"type": "json_object"})
        self.assertEqual(job["result"], {"text": json.dumps(RIGHT), "citations": [], "json": RIGHT, "repaired": "fenced_json"})
        self.room.stop()
        self.api = self.room.start()
        self.assertEqual(self.api.job(job["id"]), job)


SCHEMAS = [
    ({"type": "object", "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 20}, "age": {"type": "integer", "minimum": 18, "maximum": 99},
                                       "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3}},
      "required": ["name", "age", "tags"], "additionalProperties": False},
     lambda v: set(v) == {"name", "age", "tags"} and 1 <= len(v["name"]) <= 20 and type(v["age"]) is int and 18 <= v["age"] <= 99
     and 1 <= len(v["tags"]) <= 3 and set(v["tags"]) <= {"a", "b"}),
    ({"type": "array", "items": {"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "null"}]}, "minItems": 2, "maxItems": 4},
     lambda v: 2 <= len(v) <= 4 and all(x is None or ipaddress.IPv4Address(x) for x in v)),
    ({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {"v": {"type": "boolean"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}},
                                                 "required": ["v"], "additionalProperties": False}}},
     lambda v: type(v["v"]) is bool and set(v) <= {"v", "kids"}),
    ({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}, lambda v: re.fullmatch("[A-Z]{2}-[0-9]{3}", v)),
    ({"type": "number", "minimum": -1, "exclusiveMaximum": 0.5}, lambda v: -1 <= v < 0.5),
]


class Model(harness.Case):
    """The default model was never taught any of this: the grammar holds it."""
    flags = ("--model", MODEL)
    plugins = (harness.PLUGINS, harness.PROBE)

    def judge(self, job, schema, fits):
        value = job["result"]["json"]
        self.assertEqual(json.loads(job["result"]["text"]), value)
        self.assertIsNone(job["result"]["repaired"])
        self.assertTrue(fits(value), (schema, value))
        if jsonschema is not None:
            jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)

    def test_every_answer_fits_its_schema(self):
        for schema, fits in SCHEMAS:
            for temperature, seed in ((0, 1), (1.5, 1), (2, 2), (2, 3)):
                job = self.api.run("How much is 12 times 9?", wait=100, response_format=by(schema, strict=True), tools=[],
                                   temperature=temperature, seed=seed, max_turn_tokens=200)
                with self.subTest(schema=schema, temperature=temperature, seed=seed):
                    self.assertEqual((job["status"], job["turns"]), ("completed", 1), job)
                    self.judge(job, schema, fits)

    def test_so_does_one_that_the_system_text_asks_for(self):
        for schema, fits in SCHEMAS:
            job = self.api.run("How much is 12 times 9?", wait=100, system=by_hand(schema), tools=[], temperature=1.5, seed=1, max_turn_tokens=200)
            with self.subTest(schema=schema):
                self.assertEqual((job["status"], job["turns"]), ("completed", 1), job)
                self.judge(job, schema, fits)

    def test_any_object_within_few_tokens(self):
        for tokens in (3, 20, 100):
            job = self.api.run("Who are you?", wait=100, response_format={"type": "json_object"}, tools=[], max_turn_tokens=tokens, temperature=1, seed=tokens)
            self.assertEqual(job["status"], "completed", job)
            self.assertIsInstance(job["result"]["json"], dict)

    def test_with_tools_it_calls_or_answers(self):
        schema, fits = {"type": "object", "properties": {"answer": {"type": "string", "maxLength": 40}}, "required": ["answer"],
                        "additionalProperties": False}, lambda v: set(v) == {"answer"} and len(v["answer"]) <= 40
        answered, called = 0, 0
        for seed in range(1, 9):
            job = self.api.run("How much is 12 times 9?", wait=100, response_format=by(schema), tools=["calculator"], temperature=1.5 + seed % 2 / 2, seed=seed,
                               max_turns=4, max_turn_tokens=80)
            called += job["tool_calls"]
            if job["status"] == "completed":
                answered += 1
                self.judge(job, schema, fits)
            else:
                self.assertIn(job["error"]["code"], ("max_turns", "identical_calls", "turn_too_long"), job)
            for turn in self.api.trace(job["id"])["turns"]:
                kinds = [p["type"] for p in turn["parts"] if p["type"] != "reasoning"]
                self.assertIn(set(kinds), ({"text"}, {"tool_call"}, set()), turn)
                self.assertTrue(all(p["call"]["status"] in ("ok", "error") for p in turn["parts"] if p["call"]), turn)
        self.assertGreater(answered, 0)
        self.assertGreater(called, 0)

    def test_a_forbidden_call_cannot_be_written(self):
        """A tool with two calls in all: after them only the answer is left; with another tool beside it, that one's calls, too."""
        schema, fits = {"type": "object", "properties": {"day": {"type": "string", "maxLength": 30}}, "required": ["day"], "additionalProperties": False}, lambda v: set(v) == {"day"}
        forbidden, answered, all_gone = 0, 0, 0
        for seed in range(1, 13):
            tools = ["pick"] if seed % 2 else ["pick", "calculator"]
            job = self.api.run("Pick left or right.", wait=25, response_format=by(schema), tools=tools, temperature=1.2, seed=seed,
                               max_turns=8, max_turn_tokens=80, max_identical_calls=1, max_idle_calls=50)
            with self.subTest(seed=seed):
                gone, again = [], []
                for _, name, data in self.api.events(job["id"]):
                    said = json.dumps([data.get("name"), data.get("arguments")])
                    if name == "tool_call.forbidden":
                        self.assertEqual(data["removed"], "arguments")
                        gone.append(said)
                    elif name == "tool_call.completed":
                        self.assertIn(data["status"], ("ok", "error"), data)
                        again += [said] if said in gone else []
                self.assertEqual(again, [])
                forbidden += len(gone)
                all_gone += sum("pick" in said for said in gone) == 2
                if job["status"] == "completed":
                    answered += 1
                    self.judge(job, schema, fits)
                else:
                    self.assertIn(job["error"]["code"], ("max_turns", "turn_too_long"), job)
        self.assertGreater(forbidden, 0)
        self.assertGreater(answered, 0)
        self.assertGreater(all_gone, 0)

    def test_a_section_that_the_prompt_opened(self):
        schema, fits = SCHEMAS[0]
        job = self.api.run("Who are you?", wait=100, response_format=by(schema), tools=[], open_section="think", max_turn_tokens=150, temperature=1, seed=5)
        self.assertEqual(job["status"], "completed", job)
        self.judge(job, schema, fits)
        self.assertEqual([p["type"] for p in self.api.trace(job["id"])["turns"][0]["parts"]][-1], "text")


if __name__ == "__main__":
    harness.main()
