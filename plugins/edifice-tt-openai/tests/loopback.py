"""A server on this machine that answers as it is told: each test names its faults."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "tiny"
CUT = object()  # the connection ends within the answer


def choice(text="It is 42.", index=0, reason="stop", **more):
    message = {"role": "assistant", "content": text}
    return {"index": index, "message": message, "finish_reason": reason, **more}


def completion(*choices, tokens=7):
    return {"choices": list(choices), "usage": {"completion_tokens": tokens}}


class Loopback:
    """`answer(body, number)` makes the answer to a request: an object, bytes, or (status, object).

    `bodies` are the requests in their order, `headers` what came with them.
    """

    def __init__(self):
        self.models = [MODEL]
        self.retry_after = "0"
        self.most = 1 << 30  # choices in one answer
        self.bodies, self.headers, self.paths = [], [], []
        self.lock = threading.Lock()
        self.waits = threading.Event()
        self.waiting = threading.Event()

    def answer(self, body, number):
        count = min(body.get("n", 1), self.most)
        return completion(*(choice(f"{body['seed']} {i}", i) for i in range(count)))

    def take(self, handler):
        length = int(handler.headers.get("content-length", 0))
        body = json.loads(handler.rfile.read(length))
        with self.lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.headers.append({k.lower(): v for k, v in handler.headers.items()})
            self.paths.append(handler.path)
        return self.answer(body, number)

    def hang(self):
        """Give no answer until the test is over."""
        self.waiting.set()
        self.waits.wait(30)
        return CUT


def handler_of(loopback):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if loopback.models is None:
                self.reply((404, {"error": {"message": "no such route"}}))
            elif isinstance(loopback.models, list):
                self.reply({"data": [{"id": name} for name in loopback.models]})
            else:
                self.reply(loopback.models)

        def do_POST(self):
            self.reply(loopback.take(self))

        def reply(self, answer):
            status, answer = answer if isinstance(answer, tuple) else (200, answer)
            headers = {}
            if status == 429:
                headers["retry-after"] = loopback.retry_after
            if answer is CUT:
                headers, answer = {"content-length": "1000"}, b'{"choices": ['
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    return Handler


class Server(ThreadingHTTPServer):
    request_queue_size = 100

    def handle_error(self, *_):  # a client that has left
        pass


@contextmanager
def serve():
    """A running server, and its address."""
    loopback = Loopback()
    with Server(("127.0.0.1", 0), handler_of(loopback)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        loopback.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield loopback
        finally:
            loopback.waits.set()
            server.shutdown()
            thread.join()
