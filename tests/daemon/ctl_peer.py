"""A scripted HTTP peer over a Unix socket (or loopback TCP): what hermesctl talks to while no daemon runs."""
import http.server
import json
import os
import socketserver
import tempfile
import threading
import time


class Broken(Exception):
    """Raised inside a script: the connection is cut without an end."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def address_string(self):
        return "local"

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        request = {"method": self.command, "path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()},
                   "body": body, "json": json.loads(body) if body else None}
        self.server.requests.append(request)
        if self.command == "POST" and self.headers.get("Content-Type") != "application/json":
            self.whole(415, {"error": {"message": "no JSON", "code": "unsupported_media_type"}})  # as the daemon does
            return
        reply = self.server.script(request)
        if isinstance(reply, tuple):
            self.whole(*reply)
        else:
            self.stream(reply)

    do_GET = do_POST = do_DELETE = answer

    def whole(self, status, content):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, events):
        """SSE, chunked; Broken cuts the connection in the middle."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        try:
            for event in events:
                data = event if isinstance(event, bytes) else sse(event)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except (Broken, BrokenPipeError, ConnectionResetError):
            pass


def sse(event):
    head = f"id: {event['sequence_number']}\n" if "sequence_number" in event else ""
    return f"{head}event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class TcpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True


class Peer:
    """`script(request)` returns (status, JSON) or an iterable of events."""

    def __init__(self, script, tcp=False):
        self.folder = tempfile.TemporaryDirectory(prefix="hermesctl-")
        self.path = os.path.join(self.folder.name, "api.sock")
        self.server = TcpServer(("127.0.0.1", 0), Handler) if tcp else UnixServer(self.path, Handler)
        self.server.script = script
        self.server.requests = []
        self.host = f"http://127.0.0.1:{self.server.server_address[1]}" if tcp else self.path
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def requests(self):
        return self.server.requests

    def wait_for(self, test, seconds=10):
        """The first request that passes `test`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for request in list(self.requests):
                if test(request):
                    return request
            time.sleep(0.01)
        raise AssertionError(f"no such request within {seconds} s; there were {[(r['method'], r['path']) for r in self.requests]}")

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.folder.cleanup()


ID = "job_01JD8Z0M9V3N8K6T2QX4B7R5CE"


def job(status="completed", job_id=ID, **more):
    """A job object as daemon/api.md has it."""
    base = {"id": job_id, "object": "job", "status": status, "title": "How much?", "model": "tiny",
            "created_at": "2026-11-23T05:00:00.123Z", "started_at": "2026-11-23T05:00:01.000Z",
            "finished_at": "2026-11-23T05:00:03.500Z" if status in ("completed", "failed", "cancelled") else None,
            "deadline_at": None, "turns": 2, "tool_calls": 1,
            "usage": {"input_tokens": 812, "output_tokens": 143, "cached_tokens": 640, "reasoning_tokens": 60},
            "result": {"text": "It is 397.8."} if status == "completed" else None,
            "error": {"code": "max_turns", "message": "The job used all its 16 turns."} if status == "failed" else None,
            "pending_input": None, "trace_id": "4b", "last_seq": 9, "metadata": {}}
    return {**base, **more}


def story(status="completed"):
    """The events of one job: a plan, a call, an answer. Numbers count durable events."""
    events = [
        {"type": "job.queued", "position": 0},
        {"type": "job.started", "model": "tiny"},
        {"type": "turn.started", "turn": 0},
        {"type": "reasoning.delta", "turn": 0, "position": 0, "section": "PLAN", "delta": "\nMulti"},
        {"type": "reasoning.delta", "turn": 0, "position": 0, "section": "PLAN", "delta": "ply.\nThen answer.\n"},
        {"type": "reasoning.done", "turn": 0, "position": 0, "section": "PLAN", "text": "Multiply.\nThen answer.", "truncated": False},
        {"type": "tool_call.started", "turn": 0, "call_id": "call_0", "name": "calculator", "arguments": {"expression": "2340*0.17"}, "attempt": 1},
        {"type": "turn.completed", "turn": 0, "finish_reason": "stop", "usage": {}, "timings": {}},
        {"type": "tool_call.completed", "turn": 0, "call_id": "call_0", "name": "calculator", "arguments": {"expression": "2340*0.17"},
         "status": "ok", "is_error": False, "output": "397.8", "truncated": False, "duration_ms": 1.25},
        {"type": "turn.started", "turn": 1},
        {"type": "message.delta", "turn": 1, "position": 0, "delta": "It is "},
        {"type": "message.delta", "turn": 1, "position": 0, "delta": "397.8."},
        {"type": "message.done", "turn": 1, "position": 0, "text": "It is 397.8."},
        {"type": f"job.{status}", "job": job(status)},
    ]
    number = 0
    for event in events:
        event["job_id"] = ID
        if not event["type"].endswith(".delta"):
            number += 1
            event["sequence_number"] = number
    return events
