"""The README and the guides: their blocks run as they are written."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from vocalmtp.cli import app, main
from vocalmtp.config import load_yaml

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
REPOSITORY = "https://github.com/vocalmtp/vocalmtp/tree/main/"


def bash_lines(text: str) -> list[str]:
    """The commands of the bash blocks of `text`."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


SYNTHESIS = GUIDES["synthesis.md"].partition("## Lists")[0]
RUN = [line.removeprefix("pip install . && ") for line in bash_lines(README.split("## Develop")[0])]
RUN += bash_lines(SYNTHESIS)
RUN = [line for line in RUN if "vocalmtp get" not in line]  # it downloads
OTHERS = "".join(text for name, text in sorted(GUIDES.items()) if name != "synthesis.md")
OTHERS += GUIDES["synthesis.md"].partition("## Lists")[2]
PARSED = [line for line in bash_lines(OTHERS) if line.startswith("vocalmtp ")]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_two_commands_and_the_api_are_there_to_the_letter():
    lines = README.splitlines()
    speak = (
        'pip install . && vocalmtp tts "The birch canoe slid on the smooth planks." -o canoe.wav'
    )
    assert speak in lines
    assert 'pip install ".[test]" && pytest -n auto' in lines
    assert PYTHON[0].startswith(
        "import vocalmtp\n"
        'tts = vocalmtp.load("mini")\n'
        'audio = tts("Good morning.", voice="heart", seed=3)      '
        "# .samples float32 [N], .sample_rate, .save(path); plays in a notebook\n"
        'for chunk in tts.stream("Good morning.", voice="heart", seed=3): ...\n'
        'for audio in tts.batch(["One.", "Two."], seed=3): ...  '
        "# each equals the single call with that seed\n"
    )
    assert len(PYTHON[0].splitlines()) == 8


def test_the_python_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), {})
    assert "text='Two.'" in capsys.readouterr().out
    assert (tmp_path / "two.flac").stat().st_size > 0


def test_commands_of_synthesis_run_line_by_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert len(RUN) >= 15
    for line in RUN:
        words = shlex.split(line, comments=True)
        if "|" in words:
            subprocess.run(["bash", "-c", line], check=True)
        else:
            with pytest.raises(SystemExit) as stop:
                main(words[1:])
            assert stop.value.code == 0, line
        for name in re.findall(r"(?:-o|--timestamps|>) ([\w.]+\.\w+)", line):
            assert (tmp_path / name).stat().st_size > 0, line


@pytest.mark.parametrize("line", PARSED)
def test_commands_of_the_guides_parse(line):
    """Verbs, options and files exist; nothing is run."""
    words = shlex.split(line, comments=True)[1:]
    command = typer.main.get_command(app)
    while hasattr(command, "commands") and words:  # a group may be a command itself
        verb = words.pop(0)
        command = command.commands[verb]
    context = command.make_context(verb, words)
    if verb == "export" and context.params["voices"] is not None:
        assert (ROOT / context.params["voices"]).is_file()
    if verb == "train":
        recipe = load_yaml(ROOT / context.params["recipe"])
        for override in context.params["overrides"]:
            place = recipe
            for key in override.partition("=")[0].split("."):
                place = place[key]


def test_every_link_and_script_exists():
    for folder, text in [(ROOT, README), *((ROOT / "docs", text) for text in GUIDES.values())]:
        prose = re.sub(r"```.*?```|`[^`\n]+`", "", text, flags=re.DOTALL)
        links = re.findall(r"\]\(((?!http|#)[^)]+)\)", prose)
        for link in links:
            assert (folder / link.partition("#")[0]).exists(), link
        for script in re.findall(r"python (\S+\.py)", text):
            assert (ROOT / script).exists(), script
        for path in re.findall(rf"{re.escape(REPOSITORY)}([^)\s]+)", text):
            assert (ROOT / path).exists(), path


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 160
