"""The text the default model was trained on is what the daemon renders: the same dialogues through models/render.py and through
`hermesd render`, byte for byte and span for span. The seed differs from that of the golden data in tests/data."""
import json
import os
import subprocess
import sys
import unittest

SOURCE = os.environ.get("HERMESD_SOURCE_DIR", ".")
BINARY = os.path.join(os.environ.get("HERMESD_BINARY_DIR", "build/dev"), "bin", "hermesd")
sys.path.insert(0, os.path.join(SOURCE, "models"))
sys.dont_write_bytecode = True
import generate  # noqa: E402
from render import branch_spans, prefix_spans  # noqa: E402


def rendered(conversation, *flags):
    done = subprocess.run([BINARY, "render", *flags], input=json.dumps(conversation, ensure_ascii=False).encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f"hermesd render: exit code {done.returncode}: {done.stderr.decode()}")
    return done.stdout.decode()


def trust_of(spans):
    """The trust of every byte: how a text is cut into spans of equal trust does not matter."""
    return "".join("T" if trusted else "u" for trusted, text in spans for _ in text.encode())


class Render(unittest.TestCase):
    def test_both_ways(self):
        kinds = set()
        for level in (1, 2):
            for index in range(30):
                tools, system, tasks = generate.group("render", index, level, branches=1)
                messages = tasks[0].messages
                kinds.add(tasks[0].kind)
                conversation = {"system": system, "tools": tools, "messages": messages}
                marked = [(t, s, False) for t, s in prefix_spans(tools, system)] + branch_spans(messages)
                spans = [(t, s) for t, s, _ in marked]
                with self.subTest(level=level, index=index):
                    self.assertEqual(rendered(conversation).removeprefix("<|begin_of_text|>"), "".join(s for _, s in spans))
                    ours = [(s["trusted"], s["text"]) for s in json.loads(rendered(conversation, "--spans"))]
                    # the assistant's own words: the model's tokens in a job, a client's text here
                    own = "".join("T" if learned else "u" for _, s, learned in marked for _ in s.encode())
                    wrong = [i for i, (a, b, skip) in enumerate(zip(trust_of(ours), trust_of(spans), own)) if a != b and skip == "u"]
                    self.assertEqual(wrong, [], "bytes of another trust")
        self.assertGreater(len(kinds), 10, "the dialogues are too much alike to compare anything")

    def test_json_mode(self):
        schema = {"type": "object", "title": "a < b & c", "properties": {"name": {"type": "string", "maxLength": 20}, "größe": {"type": "number", "minimum": 0.5}},
                  "required": ["name"], "additionalProperties": False}
        formats = [None, {"type": "text"}, {"type": "json_object"}, {"type": "json_object", "schema": schema},
                   {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}]
        tools, _, tasks = generate.group("render", 3, 1, branches=1)
        seen = set()
        for format in formats:
            for system in ("", "Be <brief>."):
                for some in ([], tools):
                    conversation = {"system": system, "tools": some, "messages": tasks[0].messages[:1], "response_format": format}
                    spans = prefix_spans(some, system, format) + [(t, s) for t, s, _ in branch_spans(tasks[0].messages[:1])]
                    with self.subTest(format=format, system=system, tools=len(some)):
                        text = rendered(conversation)
                        self.assertEqual(text, "".join(s for _, s in spans))
                        ours = [(s["trusted"], s["text"]) for s in json.loads(rendered(conversation, "--spans"))]
                        self.assertEqual(trust_of(ours), trust_of(spans))
                        self.assertEqual("answers in JSON" in text, format is not None and format["type"] != "text")
                        seen.add(text)
        self.assertEqual(len(seen), 12)  # text twice, and a schema twice


if __name__ == "__main__":
    unittest.main(verbosity=2)
