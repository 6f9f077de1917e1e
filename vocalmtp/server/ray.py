"""The server on a Ray cluster: replicas with a model each, as many as the load needs, by Ray Serve."""

import logging
import signal
from collections.abc import Callable

from fastapi import FastAPI

from vocalmtp.errors import InputError
from vocalmtp.server.app import GRACE
from vocalmtp.server.service import SpeechLimits

NAME = "vocalmtp"
UPSCALE_DELAY, DOWNSCALE_DELAY = 5.0, 120.0  # seconds of load, or of idleness, before a change


def start_on_ray(
    build: Callable[[], FastAPI],
    host: str,
    port: int,
    most: int,
    limits: SpeechLimits,
    gpu: bool = False,
) -> None:
    """Start replicas, and return when the first one is ready.

    The cluster is that of the environment variable RAY_ADDRESS, or a new one on this machine. A replica
    that dies is replaced, and loses the requests it had.

    Args:
        build: makes the application; runs in every replica.
        host: the address of the proxies.
        port: their port.
        most: the most replicas; there is always one.
        limits: of every replica; beyond a full batch for each, one more is started.
        gpu: whether a replica has a GPU, or else a CPU, to itself.

    Raises:
        InputError: the cluster cannot be joined, or the replicas fail to start.

    """
    import ray
    from ray import serve

    def builder() -> FastAPI:  # ray.serve recognizes functions alone
        return build()

    scaling = {
        "min_replicas": 1,
        "max_replicas": most,
        "target_ongoing_requests": limits.rows,
        "upscale_delay_s": UPSCALE_DELAY,
        "downscale_delay_s": DOWNSCALE_DELAY,
    }
    deployment = serve.deployment(
        serve.ingress(builder)(),
        name=NAME,
        autoscaling_config=scaling,
        max_ongoing_requests=limits.rows + limits.queue,
        graceful_shutdown_timeout_s=GRACE,
        ray_actor_options={"num_cpus": 1, "num_gpus": 1 if gpu else 0},
    )
    try:
        if not ray.is_initialized():
            ray.init(logging_level=logging.ERROR, log_to_driver=False)
        serve.start(
            http_options={"host": host, "port": port}, logging_config={"log_level": "ERROR"}
        )
        serve.run(deployment.bind(), name=NAME, route_prefix="/")
    except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"ray '{most}': cannot serve ({reason})", code="unusable") from error


def stop_on_signal() -> None:
    """Wait for Ctrl-C or SIGTERM, then end the replicas."""
    from ray import serve

    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))  # in place of ray's own
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        serve.shutdown()
