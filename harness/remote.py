"""The call that goes to a worker; it can be named without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.plan import Bucket


def measure_bucket(
    bucket: Bucket, *, store: Path, device: str, provenance: Mapping[str, object]
) -> float:
    """`harness.worker.measure_bucket`, imported where it runs."""
    from harness import worker

    return worker.measure_bucket(bucket, store=store, device=device, provenance=provenance)
