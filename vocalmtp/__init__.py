"""vocalmtp: speech language models that emit several tokens a step, over decoupled tokenizers.

    tts = vocalmtp.load("mini")
    tts("Good morning.").save("morning.wav")

The names below are the public interface; each is imported when it is first used.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vocalmtp.audio.io import Audio as Audio
    from vocalmtp.chat.pipeline import talk as talk
    from vocalmtp.chat.session import ChatSession as ChatSession
    from vocalmtp.decoding.options import Decoding as Decoding
    from vocalmtp.loading import load as load
    from vocalmtp.models.layout import TokenLayout as TokenLayout
    from vocalmtp.models.speech_lm import SpeechLM as SpeechLM
    from vocalmtp.roles import load_role as load_role
    from vocalmtp.tokenizers import SpeechTokenizer as SpeechTokenizer
    from vocalmtp.tts import TTS as TTS
    from vocalmtp.tts import SynthesisRequest as SynthesisRequest
    from vocalmtp.voices import Voice as Voice

__all__ = [
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

# A thread that ends just as its process forks would leave MKL's pool of buffers locked in the child.
os.environ.setdefault("MKL_DISABLE_FAST_MM", "1")  # read at the first product
if "torch" not in sys.modules:  # which reads this when it is imported
    # Threads that spin while they wait are tens of times slower on a machine whose cores are busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # oneDNN keeps what it compiled for a shape; by default, texts of ever-new lengths take 200 MB.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")

_HOME = {
    "Audio": "vocalmtp.audio.io",
    "ChatSession": "vocalmtp.chat.session",
    "Decoding": "vocalmtp.decoding.options",
    "SynthesisRequest": "vocalmtp.tts",
    "SpeechLM": "vocalmtp.models.speech_lm",
    "SpeechTokenizer": "vocalmtp.tokenizers",
    "TTS": "vocalmtp.tts",
    "TokenLayout": "vocalmtp.models.layout",
    "Voice": "vocalmtp.voices",
    "load": "vocalmtp.loading",
    "load_role": "vocalmtp.roles",
    "talk": "vocalmtp.chat.pipeline",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("vocalmtp")
    if name not in _HOME:
        raise AttributeError(f"module 'vocalmtp' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
