"""A small OpenAI-compatible server on loopback, in a process of its own so that it can be killed; serves an organism.

``python openai_server.py --port 0 --log FILE [--organism FOLDER]`` prints its port. Without an organism it answers from a
fixed text, which starts at once. Every request is written to the log before it is answered and when it was answered, line
by line, so that the log survives ``kill -9``. ``POST /control`` sets a fault for the next requests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FIXED = "<think>I compare the options and one fits best.</think>The answer is (B)."
PAGE = "<!doctype html><html><body><h1>Access to this service is restricted in your region.</h1></body></html>"
HOSTILE = "<think>\x1b[31mred\x00</think>The answer is (A).\u2028\r\n{{ 7 * 7 }} <script>alert(1)</script> \ud800"
GATHER_S = 0.02  # how long the organism waits for company


@dataclass
class Fault:
    """What goes wrong, for how many further requests, and for prompts that hold a text."""

    name: str = ""
    times: int = 0
    match: str = ""
    wait_s: float = 0.0

    def applies(self, prompt):
        if not self.name or self.times == 0 or self.match not in prompt:
            return False
        self.times -= 1
        return True


class Organism:
    """Answers in batches, with the project's own in-process adapter."""

    def __init__(self, folder):
        from dossier.model import Message, Request, digest_of
        from evidence_collectors.models.hf import load

        self.model, self.message, self.request, self.digest_of = load(folder), Message, Request, digest_of
        self.waiting = queue.Queue()
        threading.Thread(target=self.serve, daemon=True).start()

    def answer(self, body):
        done = threading.Event()
        asked = {"body": body, "done": done}
        self.waiting.put(asked)
        done.wait()
        return asked["found"]

    def serve(self):
        while True:
            batch = [self.waiting.get()]
            time.sleep(GATHER_S)
            with suppress(queue.Empty):
                while True:
                    batch.append(self.waiting.get_nowait())
            requests = [self.to_request(asked["body"]) for asked in batch]
            found = {one.request_sha256: one for one in self.model.generate(requests)}
            for asked, request in zip(batch, requests, strict=True):
                asked["found"] = found[self.digest_of(request)]
                asked["done"].set()

    def to_request(self, body):
        messages = tuple(self.message(role=one["role"], content=one["content"]) for one in body["messages"])
        return self.request(
            messages=messages,
            max_tokens=body["max_tokens"],
            temperature=float(body["temperature"]),
            top_p=float(body.get("top_p", 1.0)),
            seed=f"{body['seed']:016x}",
        )


@dataclass
class World:
    """What all handlers share."""

    log: object
    organism: Organism | None
    fault: Fault = field(default_factory=Fault)
    lock: threading.Lock = field(default_factory=threading.Lock)
    in_flight: int = 0

    def write(self, what, digest, **more):
        with self.lock:
            line = {"what": what, "digest": digest, "at_s": time.monotonic(), **more}
            self.log.write(json.dumps(line).encode() + b"\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: World

    def log_message(self, *_):
        pass

    counted = False  # whether this request is among those in flight

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/control":
            self.world.fault = Fault(**body)
            return self.send(200, b"{}")
        if self.path != "/v1/chat/completions":
            return self.send(404, json.dumps({"error": {"message": "no such path"}}).encode())
        digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        with self.world.lock:
            self.world.in_flight += 1
            fault = self.world.fault.name if self.world.fault.applies(json.dumps(body["messages"])) else ""
        self.world.write("asked", digest, in_flight=self.world.in_flight, body=body, fault=fault)
        self.counted = True
        try:
            self.fail(fault, body) if fault else self.answer(body)
            if not fault:
                self.world.write("answered", digest)
        finally:
            self.done()

    def done(self):
        """Count a request as no longer in flight: before its last bytes leave, since the client may ask again at once."""
        if self.counted:
            self.counted = False
            with self.world.lock:
                self.world.in_flight -= 1

    def answer(self, body):
        if self.world.organism is None:
            return self.complete(FIXED)
        found = self.world.organism.answer(body)
        text = found.answer if found.reasoning is None else f"<think>{found.reasoning}</think>{found.answer}"
        return self.complete(
            text, finish=found.finish_reason, prompt=found.prompt_tokens, generated=len(found.token_ids)
        )

    def complete(self, text, *, finish="stop", prompt=11, generated=7, choices=True, **more):
        message = {"role": "assistant", "content": text, **more}
        document = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "organism-2026-11",
            "choices": [{"index": 0, "finish_reason": finish, "message": message}] if choices else [],
            "usage": {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated},
        }
        self.send(200, json.dumps(document).encode())

    def fail(self, name, body):
        key = self.headers.get("Authorization", "")
        wait = self.world.fault.wait_s
        match name:
            case "429":
                self.error(429, "slow down", code="rate_limit_exceeded", retry_after=wait)
            case "500":
                self.error(500, "something broke")
            case "401":
                self.error(401, f"this header is no good: {key}", code="invalid_api_key")
            case "400":
                self.error(400, "temperature is out of range", code="invalid_value")
            case "filter":
                self.error(400, "The response was filtered", code="content_filter")
            case "filter-after":
                self.complete("", finish="content_filter")
            case "slow":
                time.sleep(wait)
                self.complete(FIXED)
            case "truncated":
                self.send(200, b'{"id": "chatcmpl-1", "choices": [{"index": 0, "mess')
            case "page":
                self.send(200, PAGE.encode(), kind="text/html")
            case "no-choices":
                self.complete("", choices=False)
            case "hostile":
                self.complete(HOSTILE)
            case "no-tags":
                self.complete("The answer is (C).")
            case "empty":
                self.complete("")
            case "echo":
                self.complete(f"<think>I was called with {key}</think>The answer is (B), says {key}.")
            case "field":
                self.complete("The answer is (B).", reasoning_content="  I weigh them.\n")
            case "summary":
                details = [{"type": "reasoning.summary", "summary": "The model weighed the options.", "index": 0}]
                self.complete("The answer is (B).", reasoning_details=details)
            case "encrypted":
                details = [{"type": "reasoning.encrypted", "data": "Z2FyYmFnZQ==", "index": 0}]
                self.complete("The answer is (B).", reasoning_details=details)
            case _:
                raise ValueError(name)

    def error(self, status, message, *, code="", retry_after=0.0):
        headers = {"Retry-After": f"{retry_after:g}"} if retry_after else {}
        document = {"error": {"message": message, "type": code, "code": code}}
        self.send(status, json.dumps(document).encode(), **headers)

    def send(self, status, data, *, kind="application/json", **headers):
        with suppress(BrokenPipeError, ConnectionResetError):  # whoever asked may be gone, or tired of waiting
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.done()
            self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main(arguments):
    parser = argparse.ArgumentParser(description="Serve an organism, or a fixed text, as OpenAI's API would.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--organism")
    options = parser.parse_args(arguments)
    organism = Organism(options.organism) if options.organism else None
    with options.log.open("ab", buffering=0) as log:
        Handler.world = World(log, organism)
        with Server(("127.0.0.1", options.port), Handler) as server:
            sys.stdout.write(f"{server.server_address[1]}\n")
            sys.stdout.flush()
            server.serve_forever()


@dataclass
class Served:
    """The server from a test's side: start, kill, start again at the same port, set faults, read the log."""

    log: Path
    organism: Path | None = None
    port: int = 0
    process: subprocess.Popen | None = None

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self):
        command = [sys.executable, __file__, "--port", str(self.port), "--log", str(self.log)]
        command += ["--organism", str(self.organism)] if self.organism else []
        root = Path(__file__).parents[3]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=_environment(root))
        self.port = int(self.process.stdout.readline())
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def fault(self, name, times=-1, *, match="", wait_s=0.0):
        data = json.dumps({"name": name, "times": times, "match": match, "wait_s": wait_s}).encode()
        request = urllib.request.Request(self.base_url.replace("/v1", "/control"), data=data)
        urllib.request.urlopen(request, timeout=10).close()

    def lines(self):
        data = self.log.read_bytes() if self.log.exists() else b""
        return [json.loads(line) for line in data.splitlines()]

    def asked(self):
        """How often each request was put, whatever came of it."""
        return Counter(line["digest"] for line in self.lines() if line["what"] == "asked")

    def answered(self):
        """How often each request was answered properly."""
        return Counter(line["digest"] for line in self.lines() if line["what"] == "answered")


def _environment(root):
    import os

    return {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main(sys.argv[1:])
