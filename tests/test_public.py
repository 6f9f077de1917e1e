"""The public interface: its names, and imports that stay light."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import vocalmtp

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "transformers", "soundfile", "safetensors", "numpy", "num2words", "yaml")


def test_public_names_are_pinned():
    assert vocalmtp.__all__ == [
        "TTS",
        "Audio",
        "ChatSession",
        "Decoding",
        "SynthesisRequest",
        "SpeechLM",
        "SpeechTokenizer",
        "TokenLayout",
        "Voice",
        "load",
        "load_role",
        "talk",
    ]


@pytest.mark.parametrize("name", vocalmtp.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(vocalmtp, name).__module__.startswith("vocalmtp.")
    assert name in dir(vocalmtp)


def test_unknown_names_raise_attribute_errors():
    assert vocalmtp.__version__ == version("vocalmtp")
    with pytest.raises(AttributeError, match="no attribute 'speak'"):
        _ = vocalmtp.speak


@pytest.mark.parametrize(
    "code",
    [
        "import vocalmtp",
        "from vocalmtp.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from vocalmtp.cli import main\ntry: main(['tts', '--help'])\nexcept SystemExit: pass",
    ],
    ids=["import", "help", "tts-help"],
)
def test_import_and_help_load_nothing_heavy(code):
    check = f"import sys\n{code}\nassert not (loaded := [m for m in {HEAVY} if m in sys.modules])"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)
