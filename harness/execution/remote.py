"""The call that goes to a worker, importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.plan.buckets import Bucket


def measure_bucket(
    bucket: Bucket,
    *,
    store: Path,
    device: str,
    threads: int | None,
    provenance: Mapping[str, object],
) -> float:
    """Call `harness.execution.worker.measure_bucket`, imported where this runs.

    Without a number of threads, the worker is one of Dask's and uses those it was started with.
    """
    from harness.execution import worker

    if threads is None:
        from distributed import get_worker

        threads = get_worker().state.nthreads
    return worker.measure_bucket(
        bucket, store=store, device=device, threads=threads, provenance=provenance
    )
