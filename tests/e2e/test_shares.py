"""Whose prompt the model reads first: of a higher priority, and of the user who has read least, though others are older."""
import os
import random
import sys
import unittest

import harness
from test_users import as_nobody, let_others_in

MODEL = os.path.join(os.environ.get("HERMESD_SOURCE_DIR", "."), "models", "hermes-tiny.gguf")


def submit(api, number, **members):
    """A job that ends with the first token behind a long prompt, which no other has."""
    chosen = random.Random(number)
    text = f"{number}: " + " ".join(str(chosen.randrange(1000)) for _ in range(600))
    return api.submit(text, max_output_tokens=1, **members)["id"]


class Shares(unittest.TestCase):
    def setUp(self):
        self.room = harness.Room([])
        self.api = self.room.start("--model", MODEL, "--device", "cpu", "--max-jobs", "8")

    def tearDown(self):
        log = self.room.read_log()
        self.assertEqual(self.room.close(), 0, log)

    def order(self, ids):
        """Places in `ids`, in the order in which the jobs ended."""
        jobs = [self.api.wait(id, 120) for id in ids]
        for job in jobs:
            self.assertEqual(job["error"]["code"], "max_output_tokens", job)
            self.assertGreater(job["usage"]["input_tokens"], 1000)
        # All of them were being read before the first was through, or the order says nothing.
        if max(job["started_at"] for job in jobs) > min(job["finished_at"] for job in jobs):
            self.skipTest("this machine read a prompt before all were there")
        return sorted(range(len(ids)), key=lambda i: jobs[i]["finished_at"])

    def test_the_highest_priority_is_read_first(self):
        order = self.order([submit(self.api, number, priority=priority) for number, priority in enumerate((-5, 0, 10))])
        self.assertEqual(order, [2, 1, 0])

    def test_each_user_has_the_same_share(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        let_others_in(self.room)
        ours = [submit(self.api, number) for number in range(4)]
        theirs = as_nobody(self.room, lambda api: submit(api, 9))
        # Half of what is read is theirs, so theirs ends when ours together have read as much.
        self.assertLess(self.order(ours + [theirs]).index(4), 3)


if __name__ == "__main__":
    harness.main()
