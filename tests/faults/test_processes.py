"""Two processes at one folder, runs that were cut off, and signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import yaml
from helpers.damage import tear
from helpers.errors import raises_input_error
from helpers.sounds import buzz
from helpers.tiny_codec_run import tiny_codec_recipe
from helpers.tiny_run import tiny_recipe, write_tiny_shards

from vocalmtp.errors import InputError
from vocalmtp.io.run_folder import only_writer
from vocalmtp.training.codec import train_tokenizer
from vocalmtp.training.run_files import last_whole_checkpoint
from vocalmtp.training.train import train


@pytest.fixture
def manifest() -> Callable[..., Path]:
    """Writes a manifest of so many utterances of one recording into the folder at hand."""

    def make(count: int, seconds: float = 2.0) -> Path:
        soundfile.write("a.wav", buzz(seconds), 16_000)
        rows = [
            {"id": f"u{i}", "audio": "a.wav", "text": "hi.", "seconds": seconds}
            for i in range(count)
        ]
        Path("m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Path("m.jsonl")

    return make


def write_recipe(path: Path, shards: Path, output: Path, **optim: object) -> Path:
    path.write_text(yaml.safe_dump(tiny_recipe(shards, output, **optim).model_dump(mode="json")))
    return path


def test_refused_input_leaves_no_output_folder(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    old.mkdir()
    for folder in (new, old):
        with raises_input_error("unusable"), only_writer(folder):
            raise InputError("text: is empty; give some", code="unusable")
    assert not new.exists()
    assert old.is_dir()


def test_failed_run_keeps_what_it_has_written(tmp_path):
    with raises_input_error("unusable"), only_writer(tmp_path / "new"):
        (tmp_path / "new" / "results.jsonl").write_text("{}\n")
        raise InputError("text: is empty; give some", code="unusable")
    assert (tmp_path / "new" / "results.jsonl").is_file()


def test_the_second_process_at_a_folder_is_refused(refused, whole_model, manifest, tmp_path):
    manifest(1)
    Path("a.txt").write_text("Hi.\n")
    Path("in").mkdir()
    shutil.copy("a.wav", "in/a.wav")
    Path("in/a.txt").write_text("Hi.\n")
    write_recipe(Path("r.yaml"), write_tiny_shards(tmp_path / "codes"), Path("out"))
    says = "unusable: 'out'"
    with only_writer(Path("out")):
        refused("batch", "a.txt", "-o", "out", "-m", whole_model, says=says)
        refused("tokenize", "m.jsonl", "-o", "out", "-t", whole_model, says=says)
        refused("prepare", "in", "-o", "out", says=says)
        refused("train", "r.yaml", says=says)


def test_prepare_says_which_file_is_damaged(refused):
    Path("in").mkdir()
    soundfile.write("in/a.wav", buzz(), 16_000)
    Path("in/a.txt").write_text("Hi.\n")
    Path("out").mkdir()
    Path("out/work.jsonl").write_bytes(b"\xff\xfe\nx\n")
    refused("prepare", "in", "-o", "out", says="damaged: 'out/work.jsonl'")


# -- runs that go on -------------------------------------------------------------------------------


def test_a_checkpoint_that_is_not_finished_is_passed_over(tmp_path):
    shards = write_tiny_shards(tmp_path / "codes")
    train(tiny_recipe(shards, tmp_path / "run"))
    folder = tmp_path / "run" / "checkpoints"
    assert last_whole_checkpoint(folder) == folder / "checkpoint-6"
    (folder / "checkpoint-6" / "trainer_state.json").unlink()  # which is written last
    tear(folder / "checkpoint-6" / "optimizer.pt")
    assert last_whole_checkpoint(folder) == folder / "checkpoint-3"
    train(tiny_recipe(shards, tmp_path / "run"))
    steps = [json.loads(r)["step"] for r in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert steps[-1] == 6 and steps.count(2) == 1  # it went on from step 3


@pytest.mark.parametrize(
    "file",
    ["model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", "config.json"],
)
def test_a_checkpoint_that_is_damaged_is_named(tmp_path, refused, file):
    shards = write_tiny_shards(tmp_path / "codes")
    train(tiny_recipe(shards, tmp_path / "run"))
    recipe = write_recipe(tmp_path / "r.yaml", shards, tmp_path / "run", max_steps=9)
    tear(tmp_path / "run" / "checkpoints" / "checkpoint-6" / file)
    says = f"damaged: {file}"
    refused("train", recipe, says=says)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer_1.bin", "draws_0.json"])
def test_damaged_checkpoint_of_a_tokenizer_is_refused(tmp_path, file):
    recipe = tiny_codec_recipe(tmp_path).model_copy(update={"steps": 1})
    train_tokenizer(recipe)
    folder = recipe.output / "checkpoints" / "checkpoint-1"
    tear(folder / file)
    with raises_input_error("damaged", "checkpoint", names=file):
        train_tokenizer(recipe)
    (folder / "trainer_state.json").unlink()  # an interrupted checkpoint is ignored
    with raises_input_error("other_run", "output"):
        train_tokenizer(recipe)


# -- signals ---------------------------------------------------------------------------------------


def interrupt(arguments: list[object], number: int, begun: Callable[[], object]) -> str:
    """Start the command line, send a signal once `begun`, and return what it said."""
    command = [sys.executable, "-m", "vocalmtp", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 240
        while not begun():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=240)  # a busy machine takes its time
    finally:
        process.kill()
    # Python may end itself by the signal instead, which is the same status to a shell: it does so
    # after an interrupt inside of an exec(), caught or not.
    assert process.returncode in (128 + number, -number), err
    assert "Traceback" not in err
    return err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_text_leaves_no_file(whole_model, tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    text = "This is a sentence. " * 5000
    interrupt(
        ["tts", text, "-o", "a.wav", "-m", whole_model], number, lambda: list(Path().glob(".a*"))
    )
    assert os.listdir() == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_batch_says_how_far_it_came(whole_model, tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("Hello there, this is a text.\n" * 5000)
    batch = ["batch", "a.txt", "-o", "out", "-m", whole_model]
    err = interrupt(batch, number, lambda: list(Path("out").glob("*.wav")))
    assert "stopped: " in err
    assert list(Path("out").glob(".*.part")) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_tokenize_leaves_whole_shards(
    whole_model, tmp_path, monkeypatch, manifest, number
):
    monkeypatch.chdir(tmp_path)
    manifest(20_000, seconds=0.2)
    begun = Path("codes/train-00000.jsonl").is_file
    interrupt(["tokenize", "m.jsonl", "-o", "codes", "-t", whole_model], number, begun)
    assert list(Path("codes").glob(".*.part")) == []
    rows = {path.stem for path in Path("codes").glob("train*.jsonl")}
    assert {path.stem for path in Path("codes").glob("train*.safetensors")} == rows


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_goes_on(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    shards = write_tiny_shards(tmp_path / "codes")
    recipe = write_recipe(Path("r.yaml"), shards, Path("run"), max_steps=100_000)
    interrupt(["train", recipe], number, lambda: list(Path("run").glob("*/*/trainer_state.json")))
    assert not (tmp_path / "run" / "model.safetensors").exists()
    assert list(Path("run").glob(".*.part")) == []
    assert last_whole_checkpoint(Path("run/checkpoints")) is not None
