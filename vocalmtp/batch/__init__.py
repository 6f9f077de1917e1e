"""Speech in bulk: a list of texts into a folder of audio, resumable, on any number of processes."""

from vocalmtp.batch.job import Job
from vocalmtp.batch.run import Plan, Progress, plan_batch, run_batch

__all__ = ["Job", "Plan", "Progress", "plan_batch", "run_batch"]
