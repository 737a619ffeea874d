"""What a worker does: measure a bucket of cells and write each record as soon as it is there."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import threading
from collections.abc import Iterator, Mapping
from multiprocessing import parent_process
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from harness.cells import canonical
from harness.measure import Measurement, measure
from harness.plan import Bucket
from harness.store import Record, Store

THUMBNAILS_OF = 0
"""The replicate whose images are kept."""


def prepare() -> None:
    """Set a worker process up: one thread, an end with the parent."""
    parent = parent_process()
    if parent is not None:
        # A parent that was killed leaves no message; without this its workers would stay for ever.
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    from multiprocessing.connection import wait

    wait([sentinel])
    os._exit(1)


def measure_bucket(
    bucket: Bucket, *, store: Path, device: str, provenance: Mapping[str, object]
) -> float:
    """Measure the blocks of a bucket that the store lacks; returns the estimate of what was done.

    Parameters
    ----------
    bucket : Bucket
        What to measure.
    store : Path
        Folder of the store.
    device : str
        "cpu" or "cuda".
    provenance : mapping
        Goes into each record.
    """
    _be_precise()
    with _one_thread():
        _measure(bucket, records=Store(store), device=device, provenance=provenance)
    return bucket.seconds


def _measure(
    bucket: Bucket, *, records: Store, device: str, provenance: Mapping[str, object]
) -> None:
    for mates, ids in zip(bucket.blocks, bucket.ids, strict=True):
        if all(identity in records for identity in ids):
            continue
        for cell, identity, measurement in zip(
            mates, ids, measure(mates, device=device), strict=True
        ):
            keep = cell.draw.replicate == THUMBNAILS_OF
            records.write(
                Record(
                    id=identity,
                    cell=canonical(cell),
                    values=measurement.values,
                    status=measurement.status,
                    seconds=measurement.seconds,
                    traces=measurement.traces,
                    labels=measurement.labels,
                    thumbnails=_thumbnails(measurement) if keep else {},
                    provenance=provenance,
                )
            )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread, whichever executor measures: rounding depends on their number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _be_precise() -> None:
    """IEEE float32 everywhere, and one result for one seed.

    cuDNN's convolutions use TF32, and algorithms that add in any order, unless told otherwise.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def _thumbnails(measurement: Measurement) -> dict[str, str]:
    return {name: _png(image) for name, image in measurement.images.items()}


def _png(image: NDArray[np.float64]) -> str:
    """A PNG in base64; values beyond [0, 1] are clipped, nan is black."""
    clipped = np.nan_to_num(np.clip(image, 0, 1), nan=0.0)
    rows = (clipped * 255).round().astype(np.uint8).transpose(1, 2, 0)
    picture = Image.fromarray(rows if rows.shape[2] == 3 else rows[..., 0])
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
