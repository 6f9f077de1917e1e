"""Playing audio on the loudspeaker of this machine, by the package sounddevice."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np

from vocalmtp.audio.formats import Write
from vocalmtp.errors import InputError
from vocalmtp.optional import require


def sounddevice() -> ModuleType:
    """Return the module. Raises InputError if it, or its library PortAudio, is not installed."""
    try:
        return require("sounddevice")
    except OSError as error:  # the package is installed, the library is not
        raise InputError(
            f"sounddevice: {error}; install it, such as with: apt install libportaudio2",
            code="not_installed",
        ) from error


@contextmanager
def loudspeaker(sample_rate: int) -> Iterator[Write]:
    """Yield a function that plays float samples [n], and waits while many are to be played.

    The block ends when all samples have been played.

    Args:
        sample_rate: in Hz.

    Raises:
        InputError: there is no loudspeaker, or the package is missing.

    """
    devices = sounddevice()
    try:
        stream = devices.OutputStream(sample_rate, channels=1, dtype="float32")
    except (devices.PortAudioError, ValueError) as error:
        raise InputError(
            f"play: no loudspeaker can be used ({error}); connect one, or write a file",
            code="unusable",
        ) from error
    with stream:
        yield lambda samples: stream.write(np.ascontiguousarray(samples[:, None], np.float32))
        stream.stop()  # after what is still buffered
