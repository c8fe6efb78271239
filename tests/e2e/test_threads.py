"""Who computes gives way to whoever answers: the engine's threads have nice 10, those of the clients and of the journal what the daemon was
started with. Threads have no names, so they are counted."""
import os
import sys
import time
import unittest

import harness

DEFAULT = os.path.join(os.environ.get("HERMESD_SOURCE_DIR", "."), "models", "hermes-tiny.gguf")
NICE = 10
TICKS = 20  # of CPU time in one thread, so that there is no doubt about which one computes
JOB = {"max_turn_tokens": 100, "tools": []}


class Threads(unittest.TestCase):
    def setUp(self):
        self.own = os.getpriority(os.PRIO_PROCESS, 0)
        if self.own >= NICE:
            try:
                os.setpriority(os.PRIO_PROCESS, 0, 0)
            except PermissionError:
                self.skipTest(f"with nice {self.own} no thread can be told from another")
        self.addCleanup(os.setpriority, os.PRIO_PROCESS, 0, self.own)
        self.base = os.getpriority(os.PRIO_PROCESS, 0)
        self.room = harness.Room([])

    def start(self, threads):
        return self.room.start("--model", DEFAULT, "--device", "cpu", "--threads", str(threads), plugins=(harness.PLUGINS,))

    def tearDown(self):
        log = self.room.read_log()
        self.assertEqual(self.room.close(), 0, log)

    def threads(self):
        """(nice, ticks of CPU time) of each thread, by number."""
        folder, seen = f"/proc/{self.room.daemon.pid}/task", {}
        for thread in os.listdir(folder):
            try:
                with open(f"{folder}/{thread}/stat") as file:
                    fields = file.read().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):  # it has ended
                continue
            seen[int(thread)] = (int(fields[16]), int(fields[11]) + int(fields[12]))
        return seen

    def until(self, wanted):
        """What the threads are like when that many have nice 10; a thread that was just made has yet to say so."""
        end = time.monotonic() + 30
        while sum(nice == NICE for nice, _ in self.threads().values()) != wanted and time.monotonic() < end:
            time.sleep(0.01)
        seen = self.threads()
        self.assertEqual(sum(nice == NICE for nice, _ in seen.values()), wanted, seen)
        return seen

    def test_as_many_as_compute(self):
        """All but them have the daemon's own: its first thread, which serves the clients, and two of the journal at least."""
        api = self.start(3)
        id = api.submit("Write.", **{**JOB, "max_turn_tokens": 4000, "temperature": 1.5})["id"]
        seen = self.until(3)
        self.assertEqual(seen[self.room.daemon.pid][0], self.base)
        others = [nice for nice, _ in seen.values() if nice != NICE]
        self.assertEqual(others, [self.base] * len(others))
        self.assertGreaterEqual(len(others), 3)
        api.cancel(id)

    def test_the_one_that_computes(self):
        api, grown = self.start(1), {}
        before = self.until(1)
        for number in range(200):
            api.wait(api.submit(f"{number} " + "Write. " * 1500, **JOB)["id"], 120)
            grown = {thread: ticks - before.get(thread, (0, 0))[1] for thread, (_, ticks) in self.threads().items()}
            if max(grown.values()) >= TICKS:
                break
        busiest = max(grown, key=grown.get)
        self.assertEqual(self.until(1)[busiest][0], NICE, grown)

    def test_who_makes_grammars_gives_way_too(self):
        api = self.start(1)
        self.until(1)
        api.wait(api.submit("How much is 17 % of 2,340?", tools=["calculator"])["id"], 120)
        self.assertGreater(sum(nice == NICE for nice, _ in self.threads().values()), 1)


if __name__ == "__main__":
    if not os.path.exists(DEFAULT):
        print(f"skipped: {DEFAULT} is not there")
        sys.exit(77)
    harness.main()
