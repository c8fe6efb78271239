"""What runs the model: a GPU (emulated here), the CPU, and what is said where there is no GPU."""
import os
import unittest

import harness

SOURCE = os.environ.get("HERMESD_SOURCE_DIR", ".")
MODEL = ("--model", os.path.join(SOURCE, "models", "hermes-tiny.gguf"), "--context", "512", "--kv-bytes", "4M", "--max-jobs", "1")
EMULATED = os.path.join(os.environ.get("HERMESD_BINARY_DIR", os.path.join(SOURCE, "build", "dev")), "lib", "hermes-cuda-emulated.so")


class Device(unittest.TestCase):
    def setUp(self):
        self.room = harness.Room([])
        self.addCleanup(self.room.close)

    def device(self, *flags):
        self.room.start(*MODEL, *flags, seconds=60)
        said = self.room.read_log()
        self.room.stop()
        return said

    def test_the_gpu_of_a_module_runs_the_model(self):
        said = self.device("--device", "cuda", "--cuda-module", EMULATED)
        self.assertIn('device="cuda (emulated)"', said)
        self.assertNotIn("the CPU runs the model", said)

    def test_auto_takes_the_gpu_too(self):
        self.assertIn('device="cuda (emulated)"', self.device("--cuda-module", EMULATED))

    def test_auto_without_a_gpu_says_so_in_one_line(self):
        said = self.device("--cuda-module", "/nonexistent.so")
        self.assertIn('device="cpu', said)
        lines = [line for line in said.split("\n") if "the CPU runs the model" in line]
        self.assertEqual(len(lines), 1, said)
        self.assertIn("There is no GPU module at /nonexistent.so", lines[0])

    def test_cpu_does_not_look_for_a_gpu(self):
        said = self.device("--device", "cpu", "--cuda-module", "/nonexistent.so")
        self.assertIn('device="cpu', said)
        self.assertNotIn("GPU", said)

    def test_a_gpu_that_fails_ends_the_daemon_and_the_job_goes_on_at_the_next_start(self):
        environment = self.room.environment()
        self.room.environment = lambda: {**environment, "EMULATOR_FAIL_AFTER": "30"}
        self.room.start(*MODEL, "--context", "2048", "--device", "cuda", "--cuda-module", EMULATED, plugins=(harness.PLUGINS,), seconds=60)
        job = self.room.api.submit("How much is 12 times 9?", tools=["calculator"])
        self.assertEqual(self.room.daemon.wait(60), 75, self.room.read_log())
        self.room.daemon = None
        self.assertIn("The GPU has failed: an illegal memory access", self.room.read_log())
        self.room.environment = lambda: environment
        self.room.start(*MODEL, "--context", "2048", "--device", "cpu", plugins=(harness.PLUGINS,), seconds=60)
        self.assertEqual(self.room.api.wait(job["id"], 120)["status"], "completed")

    def test_cuda_without_a_gpu_is_refused(self):
        code, said = self.room.once(*MODEL, "--device", "cuda", "--cuda-module", "/nonexistent.so")
        self.assertEqual(code, 78, said)
        self.assertIn("There is no GPU module at /nonexistent.so", said)

    def test_another_device_is_refused(self):
        code, said = self.room.once(*MODEL, "--device", "tpu")
        self.assertEqual(code, 64, said)
        self.assertIn("device is 'tpu'; it must be auto, cpu or cuda", said)


if __name__ == "__main__":
    harness.main()
