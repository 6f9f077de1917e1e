"""Files that came to harm: every reader reads them, or raises InputError on one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from helpers.fuzzing import both_sizes, check, mutated
from helpers.sounds import buzz
from helpers.tiny_run import tiny_recipe, write_tiny_shards
from hypothesis import strategies as st

from vocalmtp.audio.io import read_audio
from vocalmtp.batch.items import read_items
from vocalmtp.config import load_yaml, parse
from vocalmtp.data.manifest import read_manifest
from vocalmtp.data.shards import CodeShards
from vocalmtp.data.text_lists import survey
from vocalmtp.decoding.tree import DraftTree
from vocalmtp.errors import InputError
from vocalmtp.loading import load
from vocalmtp.model_card import read_card
from vocalmtp.tokenizers import load_tokenizer
from vocalmtp.training.build import model_config
from vocalmtp.training.recipe import SpeechLMRecipe
from vocalmtp.training.tasks import item_segments
from vocalmtp.voices import Voice


def survives(read: Callable[..., Any], *arguments: Any) -> Any:
    """What `read` gives, or None if it refuses with one line."""
    try:
        return read(*arguments)
    except InputError as error:
        assert "\n" not in str(error).strip() and 10 < len(str(error)) < 1000, error
        return None


def check_file(
    many: bool, cases: int, path: Path, read: Callable[[], Any], uses: Callable[[Any], Any] = id
) -> None:
    """`read` survives what may become of the file at `path`, and `uses` what it gives."""
    whole = path.read_bytes()

    def holds(content: bytes) -> None:
        path.write_bytes(content)
        made = survives(read)
        if made is not None:
            uses(made)

    assert survives(read) is not None
    try:
        check(many, cases, mutated(whole), holds)
    finally:
        path.write_bytes(whole)


ROWS = (
    '{"id": "a", "audio": "a.wav", "text": "hi.", "voice": "ann", "split": "train", "seconds": 1.5,'
    ' "phones": [["hh", 0.2], ["ay", 1.5]], "chars": [0.2, 1.0, 1.5], "more": null}\n'
    '{"id": "b", "audio": "b.wav", "text": "h\\u00e9.", "seconds": 2}\n'
)


@both_sizes
def test_manifests(many, tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_text(ROWS)
    check_file(many, 1500, path, lambda: read_manifest(path))


LISTS = {
    "txt": "Hello there.\nIt costs $5.\n\nCaf\u00e9.\n",
    "jsonl": '{"id": "a", "text": "Hi.", "voice": "ann", "seed": 3, "temperature": 0.5}\n'
    '{"text": "Ho.", "page": {"a": [1]}}\n',
    "csv": 'id,text,voice,seed\na,"Hi, there.",ann,1\nb,"one\ntwo",,\n"c",x,bob,2\n',
}


@pytest.mark.parametrize("kind", LISTS)
@both_sizes
def test_lists(many, tmp_path, kind):
    path = tmp_path / f"list.{kind}"
    path.write_text(LISTS[kind], encoding="utf-8")

    def read() -> bool:
        found = survey(path)
        items = list(read_items(path))
        lines = [item.line for item in items]
        assert lines == sorted(set(lines)) and all(1 <= line <= found.lines for line in lines)
        assert len({item.id for item in items if not item.error}) == sum(
            not item.error for item in items
        )
        return True

    check_file(many, 800, path, read)


@both_sizes
def test_recipes(many, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(tiny_recipe(Path("codes"), Path("run")).model_dump(mode="json")))
    check_file(many, 1500, path, lambda: parse(SpeechLMRecipe, load_yaml(path), str(path)))


@both_sizes
def test_draft_trees(many, tmp_path):
    path = tmp_path / "tree.json"
    DraftTree.chain(3).save(path, torch.rand(3, 2), 1.5)
    check_file(many, 500, path, lambda: DraftTree.load(path), lambda tree: tree.levels)


@both_sizes
def test_overrides(many, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("data: {shards: x}\nmodel: {}\noutput: x\n")

    def holds(overrides: list[str]) -> None:
        survives(lambda: parse(SpeechLMRecipe, load_yaml(path, overrides), str(path)))

    keys = st.sampled_from(["optim.max_steps", "output", "data", "model.head", "extends", "a..b"])
    values = st.one_of(st.text(), st.sampled_from(["1", "[", "{a: b}", "&a [*a]", "2020-99-99"]))
    override = st.one_of(st.text(), st.builds("{}={}".format, keys, values))
    check(many, 500, st.lists(override, max_size=3), holds)


@both_sizes
def test_cards(many, tmp_path):
    path = tmp_path / "card.json"
    path.write_text(
        json.dumps(
            {"name": "toy", "default_voice": "ann", "int8": False, "data": {"hours": [1, 2.5]}}
            | {"sampling": {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "greedy": False}}
        )
    )
    check_file(many, 1500, path, lambda: read_card(tmp_path))


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
@both_sizes
def test_audio(many, tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, buzz(0.3), 16_000)

    def uses(samples: Any) -> None:
        assert samples.ndim == 1 and len(samples) <= 16_000 * 2.1

    check_file(many, 600, path, lambda: read_audio(path, 16_000, longest=2.0), uses)


@both_sizes
def test_voices(many, whole_model, tmp_path):
    path = Path(shutil.copy(whole_model / "voices" / "ann.safetensors", tmp_path))
    spec = load_tokenizer(whole_model / "tokenizer").spec
    check_file(many, 1000, path, lambda: Voice.load(path).check(spec))


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors"])
@both_sizes
def test_tokenizers(many, whole_model, tmp_path, file):
    folder = Path(shutil.copytree(whole_model / "tokenizer", tmp_path / "tokenizer"))

    def uses(tokenizer: Any) -> None:
        spec = tokenizer.spec
        codes = torch.zeros(1, len(spec.streams), 2, dtype=torch.int64)
        assert tokenizer.decode(codes, torch.ones(1, spec.speaker_dim)).shape == (1, 2 * spec.hop)

    check_file(many, 500, folder / file, lambda: load_tokenizer(folder), uses)


@pytest.mark.parametrize("file", ["tokenizer_spec.json", "one.jsonl", "one.safetensors"])
@both_sizes
def test_code_shards(many, tmp_path, file):
    folder = write_tiny_shards(tmp_path / "codes")
    config = model_config(tiny_recipe(folder, tmp_path / "run").model, CodeShards(folder).spec)

    def uses(shards: CodeShards) -> None:
        for item in shards:
            survives(item_segments, item, config)

    check_file(many, 500, folder / file, lambda: CodeShards(folder), uses)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
@both_sizes
def test_models(many, model, file):
    check_file(many, 150, model / file, lambda: load(model), lambda tts: survives(tts, "Hi."))
