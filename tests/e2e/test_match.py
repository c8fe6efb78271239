"""hermesd schema match: what a grammar lets pass, line by line."""
import json
import os
import subprocess
import tempfile
import unittest

BINARY = os.path.join(os.environ.get("HERMESD_BINARY_DIR", "build/dev"), "bin", "hermesd")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "minLength": 1}, "days": {"type": "integer", "maximum": 14}}, "required": ["city"]}


class Match(unittest.TestCase):
    def match(self, schema, lines, *flags):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            json.dump(schema, f)
            f.flush()
            done = subprocess.run([BINARY, "schema", "match", *flags, f.name], input="\n".join(lines).encode(), stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=60)
        return done.returncode, [json.loads(line) for line in done.stdout.decode().splitlines()]

    def test_values_are_spelled_as_models_write_them(self):
        code, out = self.match(SCHEMA, ['{"days":3,"city":"Ulm"}', '{"city": "Ulm", "days": 15}', '{"x": 1, "city": "Ulm"}', '{"city": '])
        self.assertEqual(code, 1)
        self.assertEqual(out[0], {"schema": "exact"})
        self.assertEqual([line["verdict"] for line in out[1:]], ["match", "no match", "match", "not JSON"])
        self.assertEqual(out[2]["byte"], len('{"city": "Ulm", "days": 1'))

    def test_as_written_and_as_models_may(self):
        code, out = self.match(SCHEMA, ['{"city": "Ulm"}', '{"city":"Ulm"}', '{"city": "Ulm", "x": 1}'], "--as-written", "--model")
        self.assertEqual((code, [line.get("verdict") for line in out[1:]]), (1, ["match", "no match", "no match"]))
        self.assertEqual(self.match(SCHEMA, ['{"city": "Ulm"}'])[0], 0)

    def test_a_schema_that_cannot_be_said(self):
        code, out = self.match({"type": "array", "uniqueItems": True}, ["[1, 1]"])
        self.assertEqual((code, out[0]), (3, {"schema": "not exact", "message": "/: uniqueItems"}))
        self.assertEqual(out[1]["verdict"], "match")
        code, out = self.match({"$dynamicRef": "#x"}, ["1"])
        self.assertEqual((code, out[0]["schema"], len(out)), (3, "refused", 1))

    def test_wrong_use(self):
        done = subprocess.run([BINARY, "schema", "match"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"Usage", done.stderr)


if __name__ == "__main__":
    unittest.main()
