"""What of an answer has sounded, as far as can be known: by the player's report, or the clock."""

import numpy as np

WINDOW = 0.02  # seconds of a value of the loudness


class Playback:
    """The audio of one answer on its way to the user's ears.

    `add` what is handed out; the clock starts with the first of it and stands still when all of it
    has sounded. A player that knows better says so with `report`. Times are the session's clock's.
    """

    def __init__(self, sample_rate: int):
        self.sample_rate = sample_rate
        self.seconds = 0.0  # handed out so far
        self._at = 0.0  # time of the last anchor
        self._position = 0.0  # seconds that had sounded then
        self._levels: list[float] = []  # root mean square of every WINDOW
        self._rest = np.zeros(0, np.float32)

    def add(self, samples: np.ndarray, now: float) -> None:
        """Hand out more samples [N]."""
        self._anchor(self.position(now), now)
        self.seconds += len(samples) / self.sample_rate
        size = round(WINDOW * self.sample_rate)
        samples = np.concatenate([self._rest, samples])
        whole = len(samples) // size * size
        self._rest = samples[whole:]
        windows = samples[:whole].reshape(-1, size).astype(np.float64)
        self._levels += np.sqrt(np.mean(windows**2, axis=1)).tolist()

    def report(self, seconds: float, now: float) -> None:
        """So many seconds have sounded, says the player."""
        self._anchor(min(max(seconds, 0.0), self.seconds), now)

    def position(self, now: float) -> float:
        """Seconds that have sounded."""
        return min(self._position + max(now - self._at, 0.0), self.seconds)

    def sounding(self, now: float) -> bool:
        """Whether something is still to sound."""
        return self.position(now) < self.seconds

    def loudest(self, now: float, seconds: float) -> float:
        """The highest root mean square within the last `seconds`; 0 where nothing sounded."""
        elapsed = self._position + max(now - self._at, 0.0)  # goes on after the end
        first = max(0, int((elapsed - seconds) / WINDOW))
        return max(self._levels[first : int(elapsed / WINDOW) + 1], default=0.0)

    def _anchor(self, position: float, now: float) -> None:
        self._position, self._at = position, now
