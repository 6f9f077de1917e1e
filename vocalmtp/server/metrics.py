"""Measurements of a server, as Prometheus reads them."""

import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from vocalmtp.server.workers import METRICS_FOLDER

LATENCY = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds
FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # seconds per second of audio


class Metrics:
    """Counters and histograms of one engine: its `EngineObserver`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        prefix, registry = "vocalmtp", self.registry
        self._requests = Counter(
            "requests", "Requests by outcome", ["outcome"], namespace=prefix, registry=registry
        )
        self._audio = Counter(
            "audio_seconds", "Seconds of audio", namespace=prefix, registry=registry
        )
        self._first = Histogram(
            "first_audio_seconds",
            "Seconds until the first chunk of a request",
            namespace=prefix,
            registry=registry,
            buckets=LATENCY,
        )
        self._factor = Histogram(
            "real_time_factor",
            "Seconds per second of audio of a request",
            namespace=prefix,
            registry=registry,
            buckets=FACTORS,
        )
        self._gap = Histogram(
            "chunk_gap_seconds",
            "Seconds between two chunks of a request",
            namespace=prefix,
            registry=registry,
            buckets=LATENCY,
        )
        self._underrun = Counter(
            "underrun_seconds",
            "Seconds by which chunks came too late for playback without a pause",
            namespace=prefix,
            registry=registry,
        )
        self._rows = Histogram(
            "batch_rows",
            "Rows of a decoding step",
            namespace=prefix,
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
        )
        self._step = Histogram(
            "step_seconds",
            "Seconds of a decoding step",
            namespace=prefix,
            registry=registry,
            buckets=LATENCY,
        )
        self._waiting = Gauge(
            "queue_length",
            "Sentences that wait for a row",
            namespace=prefix,
            registry=registry,
            multiprocess_mode="livesum",
        )

    def batch(self, rows: int, waiting: int, seconds: float) -> None:
        """See EngineObserver."""
        self._rows.observe(rows)
        self._step.observe(seconds)
        self._waiting.set(waiting)

    def first_audio(self, seconds: float) -> None:
        """See EngineObserver."""
        self._first.observe(seconds)

    def chunk(self, gap: float, underrun: float) -> None:
        """See EngineObserver."""
        self._gap.observe(gap)
        self._underrun.inc(underrun)

    def finished(self, outcome: str, audio: float, seconds: float) -> None:
        """See EngineObserver."""
        self._requests.labels(outcome).inc()
        self._audio.inc(audio)
        if outcome == "complete" and audio:
            self._factor.observe(seconds / audio)

    def text(self) -> bytes:
        """Return all measurements in Prometheus' text format, those of all workers together."""
        if METRICS_FOLDER not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)
