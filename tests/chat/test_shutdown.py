"""Processes that end while an answer is being made: threads in torch must not abort them."""

import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from helpers.toy_model import save_toy_model

pytest.importorskip("silero_vad", reason="the extra 'demo' is not installed")

ENDINGS = {
    "leave the block": """
with vocalmtp.talk(model=sys.argv[1]) as session:
    session.ask(TEXT)
    for event in session.events():
        if event.kind == "audio_chunk":
            break
""",
    "never close": """
session = vocalmtp.talk(model=sys.argv[1])
session.ask(TEXT)
for event in session.events():
    if event.kind == "audio_chunk":
        break
""",
}
BEGIN = "import sys, vocalmtp\nTEXT = 'One long sentence after another is being said here. ' * 60\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(save_toy_model(tmp_path_factory.mktemp("toy") / "model"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_process_ends_cleanly_within_an_answer(model, ending):
    command = [sys.executable, "-c", BEGIN + ENDINGS[ending], model]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.slow
def test_ctrl_c_ends_the_server_while_it_answers(model):
    pytest.importorskip("gradio", reason="the extra 'demo' is not installed")
    import json
    import socket

    from websockets.sync.client import connect

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vocalmtp", "chat", "--model", model, "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
        with connect(f"ws://127.0.0.1:{port}/talk/socket") as line:
            line.send(json.dumps({"kind": "ask", "text": "One, two, three. " * 200}))
            while not isinstance(line.recv(timeout=60), bytes):
                pass
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (0, 130, -signal.SIGINT)
    assert "Traceback" not in stderr and "terminate called" not in stderr
