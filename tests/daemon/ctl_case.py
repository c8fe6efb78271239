"""hermesctl as a child process, with a scripted peer to talk to."""
import os
import subprocess
import sys
import unittest

from ctl_peer import Peer

CTL = os.path.join(os.environ.get("HERMESD_BINARY_DIR", "build/dev"), "bin", "hermesctl")


def environment(**more):
    base = {k: v for k, v in os.environ.items()
            if k not in ("HERMESD_HOST", "HERMESD_SOCKET", "HERMESD_TOKEN", "NO_COLOR", "CLICOLOR_FORCE", "XDG_RUNTIME_DIR")}
    return {**base, "TERM": "xterm", **more}


class Case(unittest.TestCase):
    def setUp(self):
        self.peer = None
        self.maxDiff = None

    def tearDown(self):
        if self.peer:
            self.peer.close()

    def serve(self, script, **how):
        self.peer = Peer(script if callable(script) else lambda request: script, **how)
        return self.peer

    def ctl(self, *words, stdin=subprocess.DEVNULL, given=None, env=None, timeout=20):
        args = [CTL] + (["--socket", self.peer.host] if self.peer else []) + [*words]
        how = {"input": given} if given is not None else {"stdin": stdin}
        return subprocess.run(args, capture_output=True, env=env or environment(), timeout=timeout, text=True, **how)

    def check(self, done, code, out=None, err=None):
        self.assertEqual(done.returncode, code, (done.stdout, done.stderr))
        if out is not None:
            self.assertEqual(done.stdout, out)
        if err is not None:
            self.assertIn(err, done.stderr)
        return done


def main():
    if not os.access(CTL, os.X_OK):
        print(f"{CTL} is not built")
        sys.exit(1)
    unittest.main()
