"""A batch on a Ray cluster, by Ray Data's `map_batches` with actors.

Items and encoded audio travel through Ray's object store: only this process writes, and the
machines of a cluster need no shared folder.
"""

import logging
import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.batch.items import Item
from vocalmtp.batch.job import Job
from vocalmtp.batch.synthesizer import BatchSynthesizer, Result
from vocalmtp.errors import InputError
from vocalmtp.roles import Role

BLOCK = 4  # batches per task, which is repeated if its actor dies
ROUND = 10_000  # items per dataset; every dataset loads the model once per actor


class _Actor:
    """A loaded model on one core or GPU of the cluster."""

    def __init__(self, job: Job):
        self.synthesizer = BatchSynthesizer(job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Pickled items [n] to their pickled results."""
        items = [pickle.loads(item) for item in batch["item"]]
        made = [pickle.dumps(result) for result in self.synthesizer(items)]
        return {"result": np.array(made, dtype=object)}


def synthesize_on_ray(job: Job, items: Iterator[Item]) -> Iterator[Result]:
    """Synthesize items on `job.workers` actors, and yield results as their tasks complete.

    Ray replaces actors that die and repeats their tasks. Raises InputError if ray is not installed,
    there is no cluster at `job.ray_address`, or the model or voice does not exist.
    """
    if find_spec("ray") is None:
        raise InputError(
            "package 'ray': is missing; run: pip install 'vocalmtp[ray]'", code="not_installed"
        )
    job = replace(job, model=_absolute(job.model) or job.model, voice=_anywhere(job.voice))
    if job.device == "cpu":  # otherwise this machine may lack the device
        BatchSynthesizer(job)  # raises before a cluster is started
    import ray.data

    with _cluster(job):
        while some := list(islice(items, ROUND)):
            rows = [{"item": pickle.dumps(replace(i, voice=_absolute(i.voice)))} for i in some]
            size = BLOCK * job.rows
            tasks = -(-len(rows) // size)
            made = ray.data.from_items(rows, override_num_blocks=tasks).map_batches(
                _Actor,
                fn_constructor_args=(job,),
                batch_size=size,
                compute=ray.data.ActorPoolStrategy(size=min(job.workers, tasks)),
                num_cpus=1,
                num_gpus=1 if job.device.startswith("cuda") else 0,
            )
            for row in made.iter_rows():
                yield pickle.loads(row["result"])


def _anywhere(voice: str | Role | None) -> str | Role | None:
    if isinstance(voice, Role):
        return voice.model_copy(update={"voice": _absolute(voice.voice)})
    return _absolute(voice)


def _absolute(path: str | None) -> str | None:
    """The absolute path of an existing file: actors run in other working directories."""
    return str(Path(path).resolve()) if path and Path(path).exists() else path


@contextmanager
def _cluster(job: Job) -> Iterator[None]:
    """Connect to a cluster for the block; an existing connection is reused and kept."""
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    if ray.is_initialized():
        yield
        return
    where = f"ray_address '{job.ray_address}'"
    try:
        _check_reachable(job.ray_address)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{where}: nothing listens there; start it with: ray start --head", code="not_found"
        ) from error
    try:
        ray.init(job.ray_address, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{where}: cannot be joined ({reason}); if it asks for a token, set RAY_AUTH_MODE and "
            "RAY_AUTH_TOKEN as it was started with",
            code="unusable",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Raise OSError or ValueError unless something listens there; Ray itself retries for minutes."""
    if address is not None and address not in ("auto", "local"):
        host, _, port = address.rpartition(":")
        with socket.create_connection((host.rpartition("/")[2], int(port)), timeout=10):
            pass
