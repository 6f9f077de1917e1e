"""`vocalmtp get` of whole repositories from a fake hub: their files, or one line that says why not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from helpers.command_line import run
from helpers.errors import error_code, raises_input_error
from helpers.published_lms import save_orpheus
from helpers.tiny_codecs import make_tiny
from huggingface_hub import errors

import vocalmtp
from vocalmtp.fetch import cards, sources
from vocalmtp.fetch.cards import Source, find_card, list_cards

REPOSITORY = "canopylabs/orpheus-3b-0.1-ft"
COMMIT = "c" * 40


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as its publisher made it, without the speech tokenizer."""
    folder = tmp_path_factory.mktemp("hub") / COMMIT
    folder.mkdir()
    save_orpheus(folder)
    shutil.rmtree(folder / "tokenizer")
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Any, ...]]]:
    """Makes the hub give folders by the names of repositories, or raise an error."""
    monkeypatch.setenv("VOCALMTP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VOCALMTP_TOKENIZERS", raising=False)
    monkeypatch.setattr(sources, "_hub_is_reachable", lambda: True)

    def serve(answers: dict[str, Path | Exception]) -> list[tuple[Any, ...]]:
        asked: list[tuple[Any, ...]] = []

        def download(repository: str, **options: Any) -> str:
            asked.append((repository, options["revision"], options["allow_patterns"]))
            answer = answers[repository]
            if isinstance(answer, Exception):
                raise answer
            return str(answer)

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        return asked

    return serve


def answer_of(kind: type[errors.HfHubHTTPError], status: int) -> Exception:
    """An error as the hub's client raises it."""
    request = httpx.Request("GET", f"https://huggingface.co/{REPOSITORY}")
    return kind("no", response=httpx.Response(status, request=request))


def in_cache(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "cache").glob("*") if path.name != ".lock")


def test_model_and_its_tokenizer_speak_by_name(
    hub: Callable[..., list[tuple[Any, ...]]],
    published: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
):
    """The tokenizer is a pickle at the hub, which is converted."""
    tokenizer = make_tiny("snac-24khz")
    pickles = tmp_path / COMMIT
    pickles.mkdir()
    torch.save(tokenizer.state_dict(), pickles / "pytorch_model.bin")
    asked = hub({REPOSITORY: published, "hubertsiuzdak/snac_24khz": pickles})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(tokenizer).Config, "of", lambda card: tokenizer.config)
        assert run("get", "orpheus-3b") == 0
    assert [each[0] for each in asked] == [REPOSITORY, "hubertsiuzdak/snac_24khz"]
    assert "Llama 3.2 Community License" in capsys.readouterr().err
    folder = tmp_path / "cache" / "orpheus-3b"
    record = json.loads((folder / "fetched.json").read_text())
    assert record["commit"] == COMMIT
    assert not list((tmp_path / "cache").rglob("*.bin"))
    assert vocalmtp.hub.model_folder("orpheus-3b") == folder
    assert run("info", "orpheus-3b") == 0
    tts = vocalmtp.load("orpheus-3b", engine="eager")
    codes = torch.arange(7 * 4).view(1, 7, 4)
    torch.testing.assert_close(tts.tokenizer.decode(codes), tokenizer.decode(codes))


@pytest.mark.parametrize(
    ("error", "code", "names"),
    [
        (answer_of(errors.GatedRepoError, 403), "unusable", "hf auth login"),
        (answer_of(errors.RevisionNotFoundError, 404), "not_found", "revision"),
        (answer_of(errors.RepositoryNotFoundError, 404), "not_found", "private"),
        (errors.LocalEntryNotFoundError("no snapshot here"), "unusable", "network"),
        (httpx.ConnectError("no route to host"), "unusable", "network"),
        (httpx.ReadError("peer closed connection"), "unusable", "network"),
    ],
)
def test_what_the_hub_refuses_is_one_line_and_leaves_nothing(
    hub: Callable[..., list[tuple[Any, ...]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    error: Exception,
    code: str,
    names: str,
):
    hub({REPOSITORY: error})
    card = find_card("orpheus-3b")
    from vocalmtp.fetch.get import get_model

    with raises_input_error(code, "name", names=names):
        get_model(card, print)
    assert in_cache(tmp_path) == []


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda folder: [file.unlink() for file in folder.glob("*.*")], "not_found"),
        (lambda folder: sorted(folder.glob("model-*"))[1].unlink(), "missing"),
        (lambda folder: cut(sorted(folder.glob("model-*"))[0]), "damaged"),
        (lambda folder: rename_tokens(folder / "tokenizer.json"), "unsupported"),
    ],
    ids=["other files", "missing shard", "half download", "other text tokenizer"],
)
def test_incomplete_repository_is_one_line_and_leaves_nothing(
    hub: Callable[..., list[tuple[Any, ...]]],
    published: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    spoil: Callable[[Path], object],
    code: str,
):
    copy = shutil.copytree(published, tmp_path / "hub" / COMMIT)
    spoil(copy)
    hub({REPOSITORY: copy, "hubertsiuzdak/snac_24khz": answer_of(errors.GatedRepoError, 403)})
    assert run("get", "orpheus-3b") == 2
    printed = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(printed) == 2 and f"[{code}]" in printed[0] and "[unusable]" in printed[1]
    assert in_cache(tmp_path) == []


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def rename_tokens(file: Path) -> None:
    file.write_text(file.read_text().replace("custom_token", "other_token"))


def test_name_that_was_not_fetched_and_noncommercial_weights(
    hub: Callable[..., list[tuple[Any, ...]]], tmp_path: Path, capsys: pytest.CaptureFixture
):
    assert run("tts", "I.", "--model", "llasa-1b", "-o", tmp_path / "x.wav") == 2
    printed = capsys.readouterr().err
    assert error_code(printed) == "not_found" and "vocalmtp get llasa-1b" in printed
    assert run("tts", "I.", "--model", "orpheus-3", "-o", tmp_path / "x.wav") == 2
    assert "orpheus-3b" in capsys.readouterr().err
    assert find_card("llasa-1b").noncommercial and find_card("xcodec2").noncommercial
    assert not find_card("csm-1b").noncommercial


def test_parts_of_cards_have_cards_and_sources_are_pinned_or_whole():
    for card in list_cards().values():
        assert all(find_card(part).kind == "tokenizer" for part in card.parts)
    file = {"path": "a", "sha256": "0" * 64}
    for wrong in (
        {"hub": "a/b", "files": [file]},
        {"hub": "a/b"},
        {"hub": "a/b", "files": [file], "patterns": ["*"]},
        {"packages": ["a==1"], "patterns": ["*"]},
    ):
        with pytest.raises(ValueError, match="source|SHA-256"):
            Source(size=1, **wrong)
    assert cards.Source(hub=f"a/b@{COMMIT}", size=1, patterns=["*"]).revision == COMMIT
