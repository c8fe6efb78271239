"""hermesd schema check: verdicts, refusals and exit codes, as the author of a plugin sees them."""
import json
import os
import subprocess
import tempfile
import unittest

BINARY = os.path.join(os.environ.get("HERMESD_BINARY_DIR", "build/dev"), "bin", "hermesd")

SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "minLength": 1}, "days": {"type": "integer", "maximum": 14}}, "required": ["city"],
          "additionalProperties": False}


def check(*args, stdin=""):
    done = subprocess.run([BINARY, "schema", *args], input=stdin.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Schema(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, name, value):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(value if isinstance(value, str) else json.dumps(value))
        return path

    def test_verdicts(self):
        schema, good, bad = self.file("s.json", SCHEMA), self.file("good.json", {"city": "Ulm"}), self.file("bad.json", {"city": "Ulm", "days": 15})
        broken = self.file("broken.json", "{\"city\": ")
        code, out, err = check("check", schema, good)
        self.assertEqual((code, out, err), (0, f"{schema}: supported\n{good}: valid\n", ""))
        code, out, err = check("check", "--tool", schema, good, bad, broken)
        lines = out.splitlines()
        self.assertEqual((code, err), (1, ""))
        self.assertEqual(lines[2], f"{bad}: invalid: arguments.days must be at most 14, not 15")
        self.assertTrue(lines[3].startswith(f"{broken}: not JSON: "), lines[3])

    def test_json(self):
        code, out, _ = check("check", "--json", "-", '{"city": "Ulm"}', "{}", stdin=json.dumps(SCHEMA))
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual(code, 1)
        self.assertEqual(lines[0], {"schema": "-", "verdict": "supported"})
        self.assertEqual(lines[1], {"instance": '{"city": "Ulm"}', "verdict": "valid"})
        self.assertEqual(lines[2], {"instance": "{}", "verdict": "invalid", "message": "arguments.city is missing; it must be a string"})

    def test_refused(self):
        code, out, _ = check("check", "--json", json.dumps({"properties": {"a": {"pattern": "(?=x)"}}}), "{}")
        self.assertEqual(code, 3)
        self.assertEqual(len(out.splitlines()), 1)
        line = json.loads(out)
        self.assertEqual((line["verdict"], line["keyword"]), ("refused", "pattern"))
        self.assertEqual(line["message"], "at /properties/a: keyword 'pattern' has '(?=x)': look-ahead is not supported at byte 2 of the pattern")

    def test_tool_wants_an_object(self):
        self.assertEqual(check("check", '{"type": "string"}')[0], 0)
        code, out, _ = check("check", "--tool", '{"type": "string"}')
        self.assertEqual(code, 3)
        self.assertIn("must be \"object\" for a tool's arguments", out)

    def test_dialects_and_formats(self):
        self.assertEqual(check("check", "--draft", "04", '{"minimum": 1, "exclusiveMinimum": true}', "1")[0], 1)
        self.assertEqual(check("check", "--draft", "07", '{"exclusiveMinimum": true}')[0], 3)
        self.assertEqual(check("check", '{"format": "date"}', '"x"')[0], 1)
        self.assertEqual(check("check", "--formats=no", '{"format": "date"}', '"x"')[0], 0)

    def test_wrong_use(self):
        for args in ([], ["check"], ["frobnicate", "{}"], ["check", "--draft", "3", "{}"], ["check", "--unknown", "{}"]):
            with self.subTest(args=args):
                code, out, err = check(*args)
                self.assertEqual((code, out), (2, ""))
                self.assertIn("Usage: hermesd schema check", err)
        code, _, err = check("check", os.path.join(self.folder.name, "no-such-file.json"))
        self.assertEqual(code, 2)
        self.assertIn("cannot be read: No such file or directory", err)

    def test_help(self):
        done = subprocess.run([BINARY, "--help"], stdout=subprocess.PIPE, timeout=60)
        self.assertIn("hermesd schema check SCHEMA", done.stdout.decode())


if __name__ == "__main__":
    unittest.main(verbosity=2)
