"""What runs the model: a GPU (emulated here), the CPU, and what is said where there is no GPU."""
import contextlib
import os
import time
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
        self.assertEqual(self.room.api.wait(job["id"], 300)["status"], "completed")

    def fails_behind_a_call(self, flag_file):
        """A job whose call is done when the GPU fails; None where the job was faster."""
        job = self.room.api.submit("How much is 12 times 9?", tools=["calculator"])
        while not any(turn["parts"] and turn["parts"][0]["call"] and turn["parts"][0]["call"]["status"] == "ok"
                      for turn in self.room.api.trace(job["id"])["turns"]):
            time.sleep(0.02)
        with open(flag_file, "w", encoding="utf-8"):
            pass
        while self.room.daemon.poll() is None:
            with contextlib.suppress(OSError):
                if self.room.api.job(job["id"])["status"] == "completed" and os.path.exists(flag_file):
                    os.remove(flag_file)
                    return None
            time.sleep(0.02)
        return job

    def finishes_with_one_call(self, job):
        job = self.room.api.wait(job["id"], 300)
        self.assertEqual((job["status"], job["tool_calls"]), ("completed", 1), job)
        self.assertIn("108", job["result"]["text"])
        calls = [part["call"] for turn in self.room.api.trace(job["id"])["turns"] for part in turn["parts"] if part["call"]]
        self.assertEqual([(call["status"], call["attempt"]) for call in calls], [("ok", 1)])

    def test_a_gpu_that_fails_behind_a_call_repeats_none(self):
        flag_file = os.path.join(self.room.path, "fail")
        environment = self.room.environment()
        flags = (*MODEL, "--context", "2048", "--device", "cuda", "--cuda-module", EMULATED)
        self.room.environment = lambda: {**environment, "EMULATOR_FAIL_FILE": flag_file}
        self.room.start(*flags, plugins=(harness.PLUGINS,), seconds=60)
        job = None
        for _ in range(5):
            job = job or self.fails_behind_a_call(flag_file)
        self.assertEqual(self.room.daemon.wait(300), 75, self.room.read_log())
        self.room.daemon = None
        self.room.environment = lambda: environment
        self.room.start(*flags, plugins=(harness.PLUGINS,), seconds=60)
        self.finishes_with_one_call(job)

    def test_a_gpu_that_hangs_behind_a_call_ends_the_daemon_and_repeats_none(self):
        """It gives no error, and would keep exit() as well; the process is gone all the same."""
        stall = os.path.join(self.room.path, "stall")
        environment = self.room.environment()
        flags = (*MODEL, "--context", "2048", "--device", "cuda", "--cuda-module", EMULATED, "--gpu-wait-ms", "1500")
        self.room.environment = lambda: {**environment, "EMULATOR_STALL_FILE": stall}
        self.room.start(*flags, plugins=(harness.PLUGINS,), seconds=60)
        job = None
        for _ in range(5):
            job = job or self.fails_behind_a_call(stall)
        self.assertEqual(self.room.daemon.wait(300), 75, self.room.read_log())
        self.room.daemon = None
        self.assertIn("The GPU has failed: it has not done its work within 1.5 s, the limit gpu_wait_ms", self.room.read_log())
        self.room.environment = lambda: environment
        self.room.start(*flags, plugins=(harness.PLUGINS,), seconds=60)
        self.finishes_with_one_call(job)

    def test_a_hanging_gpu_does_not_keep_a_daemon_that_is_stopped(self):
        stall = os.path.join(self.room.path, "stall")
        environment = self.room.environment()
        self.room.environment = lambda: {**environment, "EMULATOR_STALL_FILE": stall}
        self.room.start(*MODEL, "--context", "2048", "--device", "cuda", "--cuda-module", EMULATED, "--gpu-wait-ms", "4000",
                        "--shutdown-grace-ms", "0", plugins=(harness.PLUGINS,), seconds=60)
        with open(stall, "w", encoding="utf-8"):
            pass
        self.room.api.submit("How much is 12 times 9?", tools=["calculator"])
        while os.path.exists(stall):
            time.sleep(0.02)
        self.room.daemon.terminate()
        self.assertIn(self.room.daemon.wait(300), (0, 75), self.room.read_log())
        self.room.daemon = None

    def test_a_gpu_that_hangs_while_weights_are_copied(self):
        stall = os.path.join(self.room.path, "stall")
        environment = self.room.environment()
        self.room.environment = lambda: {**environment, "EMULATOR_STALL_FILE": stall}
        with open(stall, "w", encoding="utf-8"):
            pass
        code, said = self.room.once(*MODEL, "--device", "cuda", "--cuda-module", EMULATED, "--gpu-wait-ms", "300")
        self.assertEqual(code, 75, said)
        self.assertIn("it has not done its work within 0.3 s, the limit gpu_wait_ms", said)

    def test_cuda_without_a_gpu_is_refused(self):
        code, said = self.room.once(*MODEL, "--device", "cuda", "--cuda-module", "/nonexistent.so")
        self.assertEqual(code, 78, said)
        self.assertIn("There is no GPU module at /nonexistent.so", said)

    def test_keys_and_values_in_8_bits_are_for_the_cpu(self):
        code, said = self.room.once(*MODEL, "--device", "cuda", "--cuda-module", EMULATED, "--kv", "q8")
        self.assertEqual(code, 78, said)
        self.assertIn("A GPU keeps keys and values in F32 or F16, not in 8 bits", said)
        said = self.device("--cuda-module", EMULATED, "--kv", "q8")
        self.assertIn('device="cpu', said)
        self.assertIn("the CPU runs the model: A GPU keeps keys and values in F32 or F16, not in 8 bits", said)

    def test_what_keys_and_values_are_kept_in(self):
        for kv, per_token in (("q8", 6 * 2 * 2 * (64 + 4)), ("f32", 6 * 2 * 2 * 64 * 4), ("f16", 6 * 2 * 2 * 64 * 2)):
            api = self.room.start(*MODEL[:2], "--device", "cpu", "--kv", kv, plugins=(harness.PLUGINS,))
            model = api.ask("GET", "/v1/models/hermes-tiny")
            self.assertEqual((model["kv_type"], model["kv_bytes_per_token"]), (kv, per_token))
            job = api.run("How much is 17 % of 2,340?", wait=120)
            self.assertIn("397.8", job["result"]["text"], job)
            self.room.stop()
        code, said = self.room.once(*MODEL, "--kv", "q4")
        self.assertEqual(code, 64, said)
        self.assertIn("kv is 'q4'; it must be f16, f32 or q8", said)

    def test_two_gpus_share_the_model(self):
        environment = self.room.environment()
        self.room.environment = lambda: {**environment, "EMULATOR_GPUS": "2"}
        said = self.device("--device", "cuda", "--cuda-module", EMULATED, "--devices", "0,1")
        self.assertIn('device="cuda (emulated), 2 GPUs"', said)
        self.room.environment = lambda: environment
        code, said = self.room.once(*MODEL, "--device", "cuda", "--cuda-module", EMULATED, "--devices", "0,1")
        self.assertEqual(code, 78, said)
        self.assertIn("There is no GPU 1; the emulator has 1, from 0 on.", said)
        said = self.device("--cuda-module", EMULATED, "--devices", "0,1")
        self.assertIn("the CPU runs the model: There is no GPU 1", said)

    def test_which_gpus(self):
        for wrong in ("0,0", "0,", "a", "64"):
            code, said = self.room.once(*MODEL, "--devices", wrong)
            self.assertEqual(code, 64, said)
            self.assertIn("devices is '%s'; it must be numbers of GPUs apart by commas, such as 0,1" % wrong, said)

    def test_another_device_is_refused(self):
        code, said = self.room.once(*MODEL, "--device", "tpu")
        self.assertEqual(code, 64, said)
        self.assertIn("device is 'tpu'; it must be auto, cpu or cuda", said)


if __name__ == "__main__":
    harness.main()
