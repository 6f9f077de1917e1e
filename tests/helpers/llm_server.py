"""An OpenAI-compatible server in a process of its own: a random Transformers model, and faults.

`python llm_server.py [FOLDER]` prints its port. The model "tiny" is the chat model in FOLDER, the
others are in RESPONSES. GET returns the requests so far, and the models whose clients disconnected.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REQUESTS: list[dict] = []
DISCONNECTED: list[str] = []


def event(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


DONE = b"data: [DONE]\n\n"


def call(**function: str) -> bytes:
    part = {"index": 0, "function": function} | ({"id": "call_1"} if "name" in function else {})
    choice = {"index": 0, "delta": {"content": None, "tool_calls": [part]}}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


def endless() -> Iterator[bytes]:
    while True:
        time.sleep(0.02)
        yield event("on and ")


def slow() -> Iterator[bytes]:
    yield event("Let me see. Well ")
    time.sleep(60)


def reasons(text: str) -> bytes:
    """A piece of thoughts in a field of its own."""
    choice = {"index": 0, "delta": {"content": None, "reasoning_content": text}}
    return f"data: {json.dumps({'choices': [choice]})}\n\n".encode()


def thinking() -> Iterator[bytes]:
    yield event("<judge>many steps</judge><think_on><think>")
    yield from endless()


RESPONSES = {
    "fine": lambda: iter([event("All is "), event("well."), event("", "stop"), DONE]),
    "thinks": lambda: iter([event("<thi"), event("nk>Hm.</think>All is "), event("well."), DONE]),
    "thought-closed": lambda: iter(
        [event("Hm. "), event("Well.</th"), event("ink>\n\nAll is "), event("well."), DONE]
    ),
    "thoughts-only": lambda: iter([event("<think>Hm."), event("", "stop"), DONE]),
    "reasons": lambda: iter([reasons("Hm. "), reasons("Well."), event("All is well."), DONE]),
    "thinking": thinking,
    "works": lambda: iter([event("<think>7+5=12</think> So <answer> 12. </answer>"), DONE]),
    "solves": lambda: iter([event("<answer>13</answer>"), DONE]),
    "agrees": lambda: iter([event("Yes."), DONE]),
    "slow": slow,
    "endless": endless,
    "calls": lambda: iter(
        [call(name="look", arguments=""), call(arguments='{"at"'), call(arguments=": 1}"), DONE]
    ),
    "garbage": lambda: iter([b"data: {not json\n\n"]),
    "binary": lambda: iter([bytes(range(256)) * 20]),
    "flood": lambda: iter([b"data: " + b"x" * (3 << 20)]),
    "odd": lambda: iter([b'data: {"choices": [{"delta": 5}]}\n\n']),
    "empty": lambda: iter([]),
    "nothing": lambda: iter([event("", "stop"), DONE]),
    "broken": lambda: iter([event("Well, I "), b'data: {"error": {"message": "out of memory"}}\n']),
    "cut": lambda: iter([event("Well, I think that ")]),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"requests": REQUESTS, "disconnected": DISCONNECTED}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        REQUESTS.append(body | {"path": self.path, "key": self.headers.get("Authorization")})
        name = body["model"]
        if name not in RESPONSES and name != "tiny":
            self.send_response(404)
            self.end_headers()
            self.wfile.write(json.dumps({"error": {"message": f"no model {name}"}}).encode())
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            name = "fine" if name == "thinking" and body.get("continue_final_message") else name
            for piece in tiny(body) if name == "tiny" else RESPONSES[name]():
                self.wfile.write(piece)
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            DISCONNECTED.append(name)

    def log_message(self, *_: object) -> None:
        pass


def tiny(body: dict) -> Iterator[bytes]:
    """Stream the answer of the chat model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
    inputs = tokenizer.apply_chat_template(
        body["messages"], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    pieces = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    options = {"streamer": pieces, "max_new_tokens": 12, "do_sample": False}
    threading.Thread(target=model.generate, kwargs=dict(inputs) | options).start()
    yield from (event(piece) for piece in pieces if piece)
    yield event("", "stop") + DONE


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
