"""The same batch on a Ray cluster."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.batch_checks import check_whole
from helpers.errors import raises_input_error

import vocalmtp.batch.ray
from vocalmtp.batch import run_batch
from vocalmtp.errors import InputError

TEXTS = [f"Text {n}." for n in range(24)]


def test_without_ray_there_is_a_hint(make_job, monkeypatch):
    monkeypatch.setattr(vocalmtp.batch.ray, "find_spec", lambda name: None)
    with raises_input_error("not_installed", key="package"):
        run_batch(make_job(["One."], executor="ray"))


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two cores that is already there."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    yield made
    made.shutdown()


def actors(cluster) -> list[int]:
    """The ids of the processes that speak."""
    raylet = cluster.head_node.all_processes["raylet"][0].process.pid
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_text()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == raylet and name.startswith("ray::") and "_Actor" in name:
            found.append(int(folder.name))
    return found


@pytest.mark.slow
def test_results_equal_the_local_executor_though_an_actor_is_killed(make_job, cluster):
    job = make_job(TEXTS, load=None, batch_size=1)
    run_batch(job)
    far = replace(
        job,
        output=job.output.parent / "far",
        executor="ray",
        ray_address=cluster.address,
        workers=2,
        voice=None,
    )
    killed: list[int] = []

    def progress(state) -> None:
        if state.made and not killed:
            killed.extend(actors(cluster)[:1])
            os.kill(killed[0], signal.SIGKILL)

    state = run_batch(far, progress=progress)
    assert killed and (state.made, state.failed) == (24, 0)
    assert check_whole(far.output) == check_whole(job.output)
    assert run_batch(far).kept == 24


@pytest.mark.slow
def test_what_is_wrong_is_one_error(make_job):
    pytest.importorskip("ray")
    job = make_job(["One."], load=None, executor="ray")
    with pytest.raises(InputError, match="voice 'cid': no such voice"):
        run_batch(replace(job, voice="cid"))
    with pytest.raises(InputError, match="nothing is there; start it with: ray start --head"):
        run_batch(replace(job, ray_address="127.0.0.1:1"))
