"""What a worker does: measure a bucket of cells and write each record as soon as it has it."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from harness.checkpoint import Checkpoint
from harness.encoders.runtime import threads as torch_threads
from harness.execution.allocator import keep_freed_memory
from harness.execution.provenance import machine
from harness.measurements.measure import measure
from harness.plan.buckets import Bucket
from harness.plan.identity import canonical
from harness.store import Record, Store
from harness.subjects.images.png import png_base64
from harness.subjects.last import forget_encoder

THUMBNAILS_OF = 0
"""The replicate whose images are stored."""


def measure_bucket(
    bucket: Bucket, *, store: Path, device: str, threads: int, provenance: Mapping[str, object]
) -> float:
    """Measure the blocks of a bucket that the store lacks; returns the seconds that it took.

    Parameters
    ----------
    bucket : Bucket
        What to measure.
    store : Path
        Folder of the store.
    device : str
        "cpu" or "cuda".
    threads : int
        Of torch.
    provenance : mapping
        Goes into each record, with this machine and the threads.
    """
    began = time.monotonic()
    keep_freed_memory()
    with torch_threads(threads):
        here = {**provenance, **machine(), "threads": threads}
        try:
            _measure(bucket, records=Store(store), device=device, provenance=here)
        except RuntimeError:
            exit_if_gpu_is_lost(device)
            raise
        finally:
            # The next bucket shares no network with this one, and may need the memory.
            forget_encoder()
    return time.monotonic() - began


def exit_if_gpu_is_lost(device: str) -> None:
    """End a worker's process whose GPU no longer answers, as after an illegal access.

    Every call of CUDA fails in such a process from then on: another process takes its bucket over.
    """
    if device != "cuda" or multiprocessing.parent_process() is None:
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        os._exit(1)


def _measure(
    bucket: Bucket, *, records: Store, device: str, provenance: Mapping[str, object]
) -> None:
    for mates, ids in zip(bucket.blocks, bucket.ids, strict=True):
        if all(identity in records for identity in ids):
            continue
        checkpoint = Checkpoint(records.running / f"{ids[0]}.safetensors")
        measured = measure(mates, device=device, checkpoint=checkpoint)
        for cell, identity, measurement in zip(mates, ids, measured, strict=True):
            records.write(
                Record(
                    id=identity,
                    cell=canonical(cell),
                    values=measurement.values,
                    outcome=measurement.outcome,
                    seconds=measurement.seconds,
                    traces=measurement.traces,
                    labels=measurement.labels,
                    thumbnails={
                        name: png_base64(image)
                        for name, image in measurement.images.items()
                        if cell.seeds.replicate == THUMBNAILS_OF
                    },
                    provenance=provenance,
                )
            )
        checkpoint.remove()
