"""Jobs of different users: nobody sees or touches another's, root and the daemon's own user all."""
import json
import os
import sys

import harness
from harness import call

NOBODY = 65534


def let_others_in(room):
    """What an operator does."""
    os.chmod(room.path, 0o755)
    os.chmod(room.socket, 0o666)


def as_nobody(room, work):
    """What `work` gives when another user runs it."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            result = work(harness.Api(room.socket))
        except BaseException as error:
            result = f"failed: {error!r}"
        os.write(writing, json.dumps(result).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        result = json.loads(pipe.read())
    os.waitpid(child, 0)
    return result


class Users(harness.Case):
    scripts = [
        {"match": "Take a nap.", "turns": [call("nap", ms=60000), "Rested."]},
        {"match": "", "turns": ["Hello there."]},
    ]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        let_others_in(cls.room)

    def as_nobody(self, work, room=None):
        return as_nobody(room or self.room, work)

    def test_another_user_sees_only_his_own(self):
        ours = self.api.submit("Take a nap.", tools=["nap"])["id"]
        ended = self.api.run("Good day")["id"]

        def work(api):
            codes = []
            for id in (ours, ended):
                for method, route in (("GET", ""), ("GET", "/events"), ("GET", "/trace"), ("POST", "/cancel"), ("DELETE", "")):
                    try:
                        api.ask(method, f"/v1/jobs/{id}{route}")
                        codes.append("seen")
                    except harness.Refused as refused:
                        codes.append(refused.code)
            mine = api.run("Good day")["id"]
            return {"codes": codes, "mine": mine, "list": [j["id"] for j in api.ask("GET", "/v1/jobs")["data"]], "again": api.job(mine)["status"]}

        seen = self.as_nobody(work)
        self.assertEqual(seen["codes"], ["job_not_found"] * 10)
        self.assertEqual(seen["list"], [seen["mine"]])
        self.assertEqual(seen["again"], "completed")
        self.assertEqual(self.api.job(ours)["status"], "working")
        everything = [j["id"] for j in self.api.ask("GET", "/v1/jobs")["data"]]
        self.assertTrue({ours, ended, seen["mine"]} <= set(everything))
        self.assertEqual(self.api.job(seen["mine"])["status"], "completed")
        self.assertEqual(self.api.cancel(ours)["status"], "cancelled")

    def test_only_we_may_push_in(self):
        def work(api):
            codes = []
            for priority in (1, 0, -10):
                try:
                    codes.append(api.run("Good day", priority=priority)["priority"])
                except harness.Refused as refused:
                    codes.append((refused.status, refused.code))
            return codes

        self.assertEqual(self.as_nobody(work), [[403, "priority_not_allowed"], 0, -10])
        self.assertEqual(self.api.run("Good day", priority=10)["priority"], 10)

    def test_the_queue_of_one_holds_nobody_up(self):
        """Of jobs of one priority that wait, one of the user who has the fewest at work begins, though others are older."""
        room = harness.Room([{"match": "Be brief.", "turns": ["Yes, yes."], "delay_ms": 5}] + self.scripts)
        self.addCleanup(room.close)
        api = room.start("--max-jobs", "2")
        let_others_in(room)
        naps = [api.submit("Take a nap.", tools=["nap"])["id"] for _ in range(2)]
        ours = [api.submit("Be brief.")["id"] for _ in range(3)]
        theirs = self.as_nobody(lambda api: [api.submit("Be brief.")["id"] for _ in range(2)], room)
        self.assertEqual([api.job(id)["status"] for id in ours + theirs], ["queued"] * 5)
        api.cancel(naps[0])
        begun = [api.wait(id)["started_at"] for id in ours + theirs]
        self.assertEqual(sorted(range(5), key=begun.__getitem__), [3, 4, 0, 1, 2])
        api.cancel(naps[1])

    def test_keys_are_apart(self):
        key = {"Idempotency_Key": "same"}
        first = self.api.ask("POST", "/v1/jobs", {"input": "Good day"}, **key)["id"]
        second = self.as_nobody(lambda api: api.ask("POST", "/v1/jobs", {"input": "Good night"}, **key)["id"])
        self.assertNotEqual(first, second)
        self.assertRegex(second, "^job_")


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("skipped: only root can become another user")
        sys.exit(77)
    harness.main()
