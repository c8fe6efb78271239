#!/usr/bin/env python3
"""daemon/api.md says what the code does: routes, error codes, events, request members, both ways where that is possible."""
import glob
import re
import unittest



def read(path):
    with open(path) as file:
        return file.read()


DOC = re.sub(r"^```.*?^```$", "", read("daemon/api.md"), flags=re.S | re.M)
CODE = {path: read(path) for path in glob.glob("daemon/*.c") if "/ctl" not in path and "/cli_" not in path}
ALL = "\n".join(CODE.values())
QUOTED = set(re.findall(r"`([^`]+)`", DOC))


def words(pattern):
    found = set(re.findall(pattern, ALL, re.S))
    assert found, pattern
    return found


class ApiMd(unittest.TestCase):
    def test_routes(self):
        routes = set(re.findall(r'\{"([A-Z]+)", "([^"]+)", api_', CODE["daemon/api.c"]))
        self.assertGreater(len(routes), 10)
        written = {(m, p.split("?")[0]) for m, p in re.findall(r"`(GET|POST|DELETE) (/[^` ]*)`", DOC)}
        self.assertEqual(routes - written, set(), "not in api.md")
        self.assertEqual(written - routes, set(), "only in api.md")

    def test_error_codes(self):
        codes = words(r'http_reply_error\(\s*[^,]+,\s*\d+,\s*"[a-z_]+",\s*"([a-z_]+)"')
        codes |= words(r'\bfail\(in, \d+, "([a-z_]+)"')
        codes |= words(r'\bjob_refuse\(problem, "([a-z_]+)"')
        codes |= words(r'problem->code =[^;]*?"([a-z_]+)"')
        codes |= words(r'http_refuse\([^;]*?"([a-z_]+)",\s*"') - {"invalid_request_error", "server_error"}
        self.assertGreater(len(codes), 20)
        self.assertEqual({c for c in codes if c not in QUOTED}, set(), "not in api.md")

    def test_failures_of_jobs(self):
        codes = words(r'job_fail\(job, "([a-z_]+)"') | set(re.findall(r'"([a-z_]+)"', re.search(r"Reasons a job fails with:(.*?)\*/", read("agent/agent.h"), re.S)[1]))
        ours = {"cancelled"}  # the agent's word for a generation that ended without being asked to: it does not leave the daemon
        self.assertEqual({c for c in codes - ours if f"`{c}`" not in DOC}, set(), "not in api.md")

    def test_events(self):
        events = words(r'"((?:job|turn|reasoning|message|tool_call)\.[a-z]+)"')
        self.assertGreater(len(events), 12)
        self.assertEqual({e for e in events if e not in QUOTED}, set(), "not in api.md")
        written = {q for q in QUOTED if re.fullmatch(r"(job|turn|reasoning|message|tool_call)\.[a-z]+", q)}
        self.assertEqual(written - events, set(), "only in api.md")

    def test_request_members(self):
        table = DOC.split("## Submitting a job")[1].split("\n## ")[0]
        written = set()
        for line in re.findall(r"^\| (`.*?) \|", table, re.M):
            written |= set(re.findall(r"`([a-z_]+)`", line))
        read = set(re.findall(r'(?:member\([^,]+, |read_(?:limit|int|float|bool|bool_or_true)\(r->json, |GetObjectItemCaseSensitive\([^,]+, )"([a-z_]+)"', CODE["daemon/job_request.c"]))
        read |= set(re.findall(r'member\(rawjson_of\([^)]*\), "([a-z_]+)"', CODE["daemon/job_format.c"]))
        inner = {"role", "content", "id", "text"} | {"poller", "read_only"}  # of messages and documents; of a tool in the journal
        self.assertEqual(read - written - inner, set(), "not in api.md")
        self.assertEqual(written - read, set(), "only in api.md")


if __name__ == "__main__":
    unittest.main()
