"""hermesd bench: the fields of its JSON and that they agree with each other, the table for people, what it refuses."""
import json
import os
import statistics
import subprocess
import tempfile
import unittest

SOURCE = os.environ.get("HERMESD_SOURCE_DIR", ".")
BINARY = os.path.join(os.environ.get("HERMESD_BINARY_DIR", "build/dev"), "bin", "hermesd")
MODEL = os.path.join(SOURCE, "models", "hermes-tiny.gguf")
SHORT = os.path.join(SOURCE, "tests", "data", "rope-model", "rope-model.gguf")  # a context of 256
LIMITS = ("read_gb_per_s", "f32_gflop_per_s", "int8_gop_per_s")


def bench(*args, **environment):
    done = subprocess.run([BINARY, "bench", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=240,
                          env={**os.environ, **environment})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def lines(*args, **environment):
    code, out, err = bench(*args, "--device", "cpu", "--json", **environment)
    if code != 0:
        raise AssertionError(err)
    return [json.loads(line) for line in out.splitlines()]


class Bench(unittest.TestCase):
    def test_every_figure_agrees_with_the_others(self):
        got = lines("-m", MODEL, "-p", "70,32", "-n", "6", "-d", "0,100", "-b", "1,3", "-r", "3", "-t", "1")
        self.assertEqual([(o["test"], o["batch"], o["tokens"]) for o in got],
                         [("pp70", 1, 70), ("pp32", 1, 32), ("tg6", 1, 6), ("tg6", 3, 18), ("tg6 @ d100", 1, 6), ("tg6 @ d100", 3, 18)])
        for o in got:
            self.assertEqual((o["model"], o["path"], o["type"], o["kv_type"]), ("hermes-tiny", MODEL, "Q8_0", "F16"))
            self.assertIn("1 thread", o["device"])
            self.assertEqual(o["parameters"], 4644864)
            speeds = [o["tokens"] / s for s in o["seconds"]]
            self.assertEqual(len(speeds), 3)
            self.assertAlmostEqual(o["tokens_per_s"] / statistics.mean(speeds), 1, 9)
            self.assertAlmostEqual(o["tokens_per_s_deviation"], statistics.stdev(speeds), delta=1e-6 * o["tokens_per_s"])
            self.assertTrue(all(o["limits"][key] > 0 for key in LIMITS if o["limits"][key] is not None), o["limits"])
            self.assertAlmostEqual(o["percent_of_read"], 100 * o["gb_per_s"] / o["limits"]["read_gb_per_s"], 6)
            self.assertIn(o["peak"], ("int8", "f32"))
            peak = o["limits"]["int8_gop_per_s" if o["peak"] == "int8" else "f32_gflop_per_s"]
            self.assertAlmostEqual(o["percent_of_peak"], 100 * o["gflop_per_s"] / peak, 6)
        # Each test is compared with readings of its own.
        self.assertEqual(len({o["limits"]["read_gb_per_s"] for o in got}), len(got))

    def test_bytes_and_operations_are_those_of_the_shape(self):
        # 6 layers of 4 * 256 * 256 - two narrow ones of half that, and 3 * 640 * 256; the head is 2003 * 256. Q8_0: 34 bytes per 32.
        layers, head = 6 * (256 * 256 * 2 + 128 * 256 * 2 + 3 * 640 * 256), 2003 * 256
        for o in lines("-m", MODEL, "-p", "0", "-n", "4", "-d", "64", "-b", "2", "-r", "1"):
            seen = 4 * 64 + 4 * 5 / 2  # positions that the steps of one session see
            per_token_s = o["tokens_per_s"] / 8
            self.assertAlmostEqual(o["gflop_per_s"] * 1e9 / per_token_s, 2 * (4 * 2 * (layers + head) + 4 * 6 * 256 * seen), delta=1)
            self.assertAlmostEqual(o["gb_per_s"] * 1e9 / per_token_s, 4 * (layers + head) * 34 / 32 + 2 * seen * 3072, delta=1)
        for o in lines("-m", MODEL, "-p", "300", "-n", "0", "-r", "1"):
            times = o["tokens_per_s"] / 300
            self.assertAlmostEqual(o["gflop_per_s"] * 1e9 / times, 2 * (300 * layers + head) + 4 * 6 * 256 * 300 * 301 / 2, delta=1)
            self.assertAlmostEqual(o["gb_per_s"] * 1e9 / times, (2 * layers + head) * 34 / 32 + 3072 * (256 + 300), delta=1)

    def test_usual_tests_as_far_as_the_context_goes(self):
        code, out, err = bench("-m", SHORT, "-r", "1", "-t", "1", "--device", "cpu", "--json")
        self.assertEqual(code, 0, err)
        self.assertEqual([(o["test"], o["batch"]) for o in map(json.loads, out.splitlines())], [("tg128", 1), ("tg128", 4), ("tg128", 16), ("tg128 @ d128", 1)])
        for n in (512, 2048):
            self.assertIn(f"pp{n} is left out: the model's context is 256 tokens.", err)

    def test_batches_that_nobody_named(self):
        module = os.path.join(os.environ.get("HERMESD_BINARY_DIR", "build/dev"), "lib", "hermes-cuda-emulated.so")  # no limits are measured
        code, out, err = bench("-m", SHORT, "-p", "0", "-n", "1", "-d", "1,0", "-r", "1", "--json", "--device", "cuda", "--cuda-module", module)
        self.assertEqual(code, 0, err)
        self.assertEqual([(o["test"], o["batch"]) for o in map(json.loads, out.splitlines())], [("tg1 @ d1", 1), ("tg1", 1), ("tg1", 4), ("tg1", 16)])

    def test_help(self):
        for asked in ("--help", "-h"):
            code, out, err = bench("-p", "16", asked)
            self.assertEqual((code, err), (0, ""))
            self.assertTrue(out.startswith("usage: hermesd bench"), out)
            for words in ("(1, 4, 16 at depth 0; 1 at any other)", "without -b also one run as deep as the context"):
                self.assertIn(words, out)

    def test_the_settings_of_the_daemon(self):
        with tempfile.TemporaryDirectory() as folder:
            got = lines("-r", "1", "-p", "16", "-n", "0", HERMESD_THREADS="1", HERMESD_KV="q8", HOME=folder, XDG_CONFIG_HOME=folder)
        self.assertEqual([(o["test"], o["model"], o["kv_type"]) for o in got], [("pp16", "hermes-tiny", "Q8")])
        self.assertIn("1 thread)", got[0]["device"])

    def test_keys_and_values_in_other_types(self):
        for kv, name, per_token in (("q8", "Q8", 1632), ("f32", "F32", 6144)):
            for o in lines("-m", MODEL, "-p", "0", "-n", "2", "-d", "64", "-b", "1", "-r", "1", "--kv", kv):
                self.assertEqual(o["kv_type"], name)
                weights = 2 * (6 * (256 * 256 * 2 + 128 * 256 * 2 + 3 * 640 * 256) + 2003 * 256) * 34 / 32
                self.assertAlmostEqual(o["gb_per_s"] * 1e9 / (o["tokens_per_s"] / 2), weights + (65 + 66) * per_token, delta=1)

    def test_table_for_people(self):
        code, out, _ = bench("-m", MODEL, "-p", "16", "-n", "2", "-b", "2", "-r", "2", "--device", "cpu")
        self.assertEqual(code, 0)
        rows = [line.split() for line in out.splitlines()]
        self.assertEqual(rows[-2][:2], ["pp16", "1"])
        self.assertEqual(rows[-1][:2], ["tg2", "2"])
        self.assertTrue(float(rows[-1][2]) > 0 and rows[-1][3] == "±" and float(rows[-1][4]) >= 0, out)
        self.assertIn("limits: ", out)

    def test_limits_alone(self):
        code, out, err = bench("--membw", "--json", "-t", "1", HERMESD_MODEL="/nonexistent")
        self.assertEqual((code, err), (0, ""))
        o = json.loads(out)
        self.assertEqual(sorted(o), ["read_gb_per_s", "threads"])
        self.assertEqual(o["threads"], 1)
        self.assertGreater(o["read_gb_per_s"], 0)
        code, out, _ = bench("--membw", "--peak")
        self.assertEqual(code, 0)
        self.assertIn("GB/s", out)
        self.assertIn("GFLOP/s", out)

    def test_refuses(self):
        for wrong in (["-p", "x"], ["-p", "1,"], ["-n", "-1"], ["-b", "0"], ["-b", "257"], ["-r", "0"], ["-t", "-1"], ["--device", "tpu"], ["--devices", "0,0"], ["--kv", "q4"], ["--nonsense"],
                      ["extra"], ["-p", ",".join(["1"] * 17)], ["-n", "99999999999999999999"]):
            code, out, err = bench(*wrong)
            self.assertEqual((code, out), (2, ""), wrong)
            self.assertIn("usage: hermesd bench", err)
        for wrong, sentence in ((["-p", "8193"], "pp8193 does not fit: the model's context is 8192 tokens."),
                                (["-p", "0", "-n", "8", "-d", "8190"], "tg8 @ d8190 does not fit: the model's context is 8192 tokens."),
                                (["-p", "0", "-n", "0"], "There is no test left to run."),
                                (["-m", "/nonexistent.gguf"], "/nonexistent.gguf"),
                                (["--device", "cuda", "--cuda-module", "/nonexistent.so"], "There is no GPU module at /nonexistent.so")):
            code, out, err = bench(*wrong)
            self.assertEqual((code, out), (1, ""), wrong)
            self.assertIn(sentence, err)

    def test_a_gpu_has_no_limits_of_ours(self):
        module = os.path.join(os.environ.get("HERMESD_BINARY_DIR", "build/dev"), "lib", "hermes-cuda-emulated.so")
        code, out, err = bench("-m", MODEL, "-p", "2", "-n", "0", "-r", "1", "--json", "--device", "cuda", "--cuda-module", module)
        self.assertEqual(code, 0, err)
        for o in map(json.loads, out.splitlines()):
            self.assertEqual(o["device"], "cuda (emulated)")
            self.assertGreater(o["tokens_per_s"], 0)
            self.assertEqual((o["limits"], o["peak"], o["percent_of_read"], o["percent_of_peak"]), (None, None, None, None))
        code, out, err = bench("-m", MODEL, "-p", "2", "-n", "0", "-r", "1", "--json", "--device", "cuda", "--cuda-module", module, "--devices", "1,0", EMULATOR_GPUS="2")
        self.assertEqual(code, 0, err)
        self.assertEqual(json.loads(out.splitlines()[0])["device"], "cuda (emulated), 2 GPUs")


if __name__ == "__main__":
    unittest.main()
