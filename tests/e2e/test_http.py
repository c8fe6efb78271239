"""The server around the API: routes, methods, sizes, tools and models."""
import json
import os
import socket

import harness


class Http(harness.Case):
    plugins = (harness.PROBE, harness.PLUGINS)

    def test_unknown_routes_and_methods(self):
        self.refused(404, "route_not_found", self.api.ask, "GET", "/v2/jobs")
        self.refused(404, "route_not_found", self.api.ask, "GET", "/v1/jobs/")
        refused = self.refused(405, "method_not_allowed", self.api.ask, "PUT", "/v1/jobs", {})
        self.assertEqual(refused.headers["allow"], "POST, GET, HEAD")
        self.assertTrue(refused.headers["x-request-id"].startswith("req_"))
        self.assertEqual(refused.headers["hermesd-api-version"], "1.0")

    def test_a_body_that_is_too_large(self):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.room.socket)
            client.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9000000\r\n\r\n")
            answer = client.recv(65536).decode()
        self.assertTrue(answer.startswith("HTTP/1.1 413 "), answer)
        self.assertIn('"code": "body_too_large"', answer)

    def test_a_form_cannot_submit_a_job(self):
        connection, answer = self.api.open("POST", "/v1/jobs", b"input=x", {"Content-Type": "application/x-www-form-urlencoded"})
        self.assertEqual((answer.status, json.loads(answer.read())["error"]["code"]), (415, "unsupported_media_type"))
        connection.close()

    def test_health_and_version(self):
        health = self.api.ask("GET", "/health")
        self.assertEqual((health["status"], health["model"]), ("ok", "scripted"))
        self.assertEqual(health["pid"], self.room.daemon.pid)
        self.assertEqual(self.api.ask("GET", "/v1/health")["status"], "ok")
        version = self.api.ask("GET", "/version")
        self.assertEqual((version["api_version"], version["min_api_version"]), ("1.0", "1.0"))

    def test_the_model(self):
        models = self.api.ask("GET", "/v1/models")["data"]
        self.assertEqual([m["id"] for m in models], ["scripted"])
        self.assertEqual(self.api.ask("GET", "/v1/models/scripted"), models[0])
        self.refused(404, "model_not_found", self.api.ask, "GET", "/v1/models/other")

    def test_tools_are_listed_by_name(self):
        tools = self.api.ask("GET", "/v1/tools")["data"]
        names = [t["name"] for t in tools]
        self.assertEqual(names, sorted(names))
        self.assertTrue({"calculator", "count", "read_file", "hello"} <= set(names), names)
        count = self.api.ask("GET", "/v1/tools/count")
        self.assertEqual((count["plugin"], count["read_only"], count["idempotent"]), ("probe", False, False))
        self.assertEqual(count["parameters"]["required"], ["label"])
        refused = self.refused(404, "tool_not_found", self.api.ask, "GET", "/v1/tools/calculater")
        self.assertIn("did you mean 'calculator'?", refused.error["message"])

    def test_a_tool_is_called_without_a_model(self):
        result = self.api.ask("POST", "/v1/tools/hello/call", {"arguments": {"name": "Ada"}})
        self.assertEqual((result["status"], result["is_error"], json.loads(result["output"])), ("ok", False, {"greeting": "Hello, Ada"}))
        with open(os.path.join(self.room.workspace, "price.txt"), "w") as file:
            file.write("2340\n")
        result = self.api.ask("POST", "/v1/tools/read_file/call", {"arguments": {"path": "price.txt"}})
        self.assertIn("2340", result["output"])
        result = self.api.ask("POST", "/v1/tools/read_file/call", {"arguments": {"path": "../script.json"}})
        self.assertEqual((result["status"], result["is_error"]), ("error", True))
        self.api.ask("POST", "/v1/tools/count/call", {"arguments": {"label": "x"}}, Idempotency_Key="mine")
        self.assertIn("mine", self.room.lines("count.log"))

    def test_a_wrong_call_is_refused(self):
        self.refused(404, "tool_not_found", self.api.ask, "POST", "/v1/tools/nothing/call", {"arguments": {}})
        refused = self.refused(400, "invalid_arguments", self.api.ask, "POST", "/v1/tools/hello/call", {"arguments": {}})
        self.assertIn("name", refused.error["message"])
        self.refused(400, "invalid_value", self.api.ask, "POST", "/v1/tools/hello/call", {"arguments": "x"})
        self.refused(400, "invalid_value", self.api.ask, "POST", "/v1/tools/hello/call", {})
        self.refused(400, "invalid_json", self.api.ask, "POST", "/v1/tools/hello/call", "{")

    def test_a_client_that_leaves_cancels_its_call(self):
        connection = harness.Connection(self.room.socket)
        connection.request("POST", "/v1/tools/nap/call", json.dumps({"arguments": {"ms": 20000}}), {"Content-Type": "application/json"})
        connection.close()
        result = self.api.ask("POST", "/v1/tools/nap/call", {"arguments": {"ms": 1}})
        self.assertEqual(result["status"], "ok")


if __name__ == "__main__":
    harness.main()
