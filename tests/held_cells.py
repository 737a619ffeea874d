"""A plugin for runs in processes of their own: cells wait for a gate, which variables name."""

from __future__ import annotations

import os
from pathlib import Path

from plugin_suite import FIRST, GATE
from small_cells import Gate

from harness.execution import scheduler

scheduler.measure_bucket = Gate(  # type: ignore[assignment]
    Path(os.environ[GATE]), first=int(os.environ[FIRST])
).measure_bucket
