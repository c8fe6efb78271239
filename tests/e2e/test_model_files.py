"""Files of models, as the daemon meets them: one that does not fit into the machine, one that is cut off while it is used."""
import contextlib
import hashlib
import http.client
import os
import shutil
import signal
import struct
import unittest

import harness

MODEL = os.path.join(os.environ.get("HERMESD_SOURCE_DIR", "."), "models", "hermes-tiny.gguf")
# Of Llama 3.1 405B, in F32: 1.5 TiB of weights, 1,008 KiB of keys and values per token in 16 bits for its 8 heads of keys and values.
LARGE = {"block_count": 126, "embedding_length": 16384, "feed_forward_length": 53248, "attention.head_count": 128, "attention.head_count_kv": 8,
         "attention.key_length": 128, "attention.value_length": 128, "rope.dimension_count": 128}
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of GGUF's plain values
STRING, ARRAY, U32, F32 = 8, 9, 4, 0


def end_of_value(data, at, kind):
    if kind == STRING:
        return at + 8 + struct.unpack_from("<Q", data, at)[0]
    if kind != ARRAY:
        return at + SIZES[kind]
    item, n = struct.unpack_from("<IQ", data, at)
    at += 12
    for _ in range(n if item == STRING else 0):
        at = end_of_value(data, at, item)
    return at if item == STRING else at + n * SIZES[item]


def values(data):
    """(key, where its value begins, its type, where it ends) of a GGUF file."""
    at = 24
    for _ in range(struct.unpack_from("<Q", data, 16)[0]):
        n = struct.unpack_from("<Q", data, at)[0]
        key, at = data[at + 8:at + 8 + n].decode(), at + 8 + n
        kind = struct.unpack_from("<I", data, at)[0]
        end = end_of_value(data, at + 4, kind)
        yield key, at + 4, kind, end
        at = end


def text(string):
    return struct.pack("<Q", len(string)) + string.encode()


def write_large(path):
    """The values and the tokenizer of the default model with the shape of LARGE, and no data: the file is a hole."""
    with open(MODEL, "rb") as file:
        data = file.read()
    out, n, rows = b"", 0, 0
    for key, at, kind, end in values(data):
        if key.removeprefix("llama.") not in LARGE:
            out, n = out + text(key) + struct.pack("<I", kind) + data[at:end], n + 1
        if key == "tokenizer.ggml.tokens":
            rows = struct.unpack_from("<Q", data, at + 4)[0]
    for key, value in LARGE.items():
        out, n = out + text("llama." + key) + struct.pack("<II", U32, value), n + 1
    d, f, kv = LARGE["embedding_length"], LARGE["feed_forward_length"], LARGE["attention.head_count_kv"] * LARGE["attention.key_length"]
    tensors = [("token_embd", d, rows), ("output_norm", d, None)]
    for layer in range(LARGE["block_count"]):
        tensors += [(f"blk.{layer}.{name}", columns, rows_of) for name, columns, rows_of in (
            ("attn_norm", d, None), ("attn_q", d, d), ("attn_k", d, kv), ("attn_v", d, kv), ("attn_output", d, d),
            ("ffn_norm", d, None), ("ffn_gate", d, f), ("ffn_up", d, f), ("ffn_down", f, d))]
    offset = 0
    for name, columns, rows_of in tensors:
        dims = (columns,) if rows_of is None else (columns, rows_of)
        out += text(name + ".weight") + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, F32, offset)
        offset += (columns * (rows_of or 1) * 4 + 31) // 32 * 32
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), n) + out
    with open(path, "wb") as file:
        file.write(out)
        file.truncate((len(out) + 31) // 32 * 32 + offset)


class ModelFiles(unittest.TestCase):
    def setUp(self):
        self.room = harness.Room([])
        self.addCleanup(self.room.close)
        self.path = os.path.join(self.room.path, "model.gguf")

    def test_a_model_that_does_not_fit_is_refused_with_the_numbers(self):
        if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") > 1500 << 30:
            self.skipTest("this machine has the memory for 405 billion numbers in F32")
        write_large(self.path)
        code, said = self.room.once("--model", self.path, "--device", "cpu")
        self.assertEqual(code, 78, said)
        self.assertRegex(said, r"does not fit into this machine: its weights are 1496\.\d GiB \(F32 1496\.\d GiB\), working memory \d+\.\d MiB, "
                               r"keys and values 516096 bytes per token, and there are [\d.]+ GiB of memory, which leaves room for 0 tokens")
        # and as a table
        for row in (r"all weights +1496\.\d GiB", r"working memory +\d+\.\d MiB", r"516096 bytes per token", r"this machine +[\d.]+ GiB",
                    r"there is room for 0 tokens"):
            self.assertRegex(said, row)

    def test_a_model_is_read_in_a_process_of_its_own_first(self):
        crash = os.path.join(self.room.path, "crash")
        with open(crash, "w") as file:
            file.write("#!/bin/sh\nkill -SEGV $$\n")
        os.chmod(crash, 0o700)
        code, said = self.room.once("--model", MODEL, "--device", "cpu", "--loader", crash)
        self.assertEqual(code, 78, said)
        self.assertIn("in a process of its own ended that by signal 11: the file is not used", said)
        with open(self.path, "wb") as file:
            file.write(b"GGUF\3\0\0\0" + b"\xFF" * 64)
        code, said = self.room.once("--model", self.path, "--device", "cpu")
        self.assertEqual(code, 78, said)
        self.assertIn(f"Model file '{self.path}' is damaged at byte 8: more than 65,536 tensors or values.", said)

    def test_a_model_whose_sum_is_known(self):
        with open(MODEL, "rb") as file:
            right = hashlib.sha256(file.read()).hexdigest()
        wrong = ("0" if right[0] != "0" else "1") + right[1:]
        code, said = self.room.once("--model", MODEL, "--device", "cpu", "--model-sha256", wrong)
        self.assertEqual(code, 78, said)
        self.assertIn(f"has the SHA-256 {right}, and model_sha256 says {wrong}: it is another one.", said)
        code, said = self.room.once("--model", MODEL, "--device", "cpu", "--model-sha256", right[1:])
        self.assertEqual(code, 78, said)
        self.assertIn("it must be 64 hexadecimal digits", said)
        shutil.copy(MODEL, self.path)
        os.chmod(self.path, 0o646)
        self.room.start("--model", self.path, "--device", "cpu", "--model-sha256", right.upper(), plugins=(harness.PLUGINS,))
        self.assertIn(f"every user may write to the model {self.path}", self.room.read_log())

    def test_a_file_that_is_cut_off_while_it_is_used(self):
        shutil.copy(MODEL, self.path)
        api = self.room.start("--model", self.path, "--device", "cpu", plugins=(harness.PLUGINS,))
        with open(f"/proc/{self.room.daemon.pid}/status") as status:
            caught = int(next(line.split()[1] for line in status if line.startswith("SigCgt:")), 16)
        self.assertTrue(caught >> signal.SIGBUS - 1 & 1, "a file cut off within a step is not explained (daemon/lost_file.h)")
        os.truncate(self.path, os.path.getsize(self.path) - 1)
        self.expect_end(api, "was cut off")
        os.replace(shutil.copy(MODEL, self.path + ".new"), self.path)
        api = self.room.start("--model", self.path, "--device", "cpu", plugins=(harness.PLUGINS,))
        job, = api.ask("GET", "/v1/jobs")["data"]
        self.assertIn("108", api.wait(job["id"], 120)["result"]["text"])

    def test_a_file_that_is_written_to_while_it_is_used(self):
        """Written over the file in use, as long as it: nothing is computed with weights of both. One that is renamed over it may come any time."""
        shutil.copy(MODEL, self.path)
        api = self.room.start("--model", self.path, "--device", "cpu", plugins=(harness.PLUGINS,))
        os.replace(shutil.copy(MODEL, self.path + ".new"), self.path)
        self.assertIn("108", api.run("How much is 12 times 9?")["result"]["text"])
        self.room.stop()
        api = self.room.start("--model", self.path, "--device", "cpu", plugins=(harness.PLUGINS,))
        with open(MODEL, "rb") as right, open(self.path, "r+b") as file:
            file.write(right.read())
        self.expect_end(api, "was written to")
        api = self.room.start("--model", self.path, "--device", "cpu", plugins=(harness.PLUGINS,))
        unfinished = next(job for job in api.ask("GET", "/v1/jobs")["data"] if job["status"] != "completed")
        self.assertIn("108", api.wait(unfinished["id"], 120)["result"]["text"])

    def expect_end(self, api, change):
        with contextlib.suppress(OSError, http.client.HTTPException):  # the answer may come too late
            api.submit("How much is 12 times 9?")
        self.assertEqual(self.room.daemon.wait(60), 75, self.room.read_log())
        self.room.daemon = None
        self.assertIn(f"A file of the model '{self.path}' {change} while it was in use", self.room.read_log())


if __name__ == "__main__":
    harness.main()
