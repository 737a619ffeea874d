"""What an inversion recovered: numbers, traces and pictures, to be shown, saved and loaded."""

from __future__ import annotations

import dataclasses
import html
import json
import operator
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import safetensors.torch
from jaxtyping import Float
from torch import Tensor

from harness.errors import RecoveryError
from harness.files import write_atomically
from harness.inversion.method import TerminationReason
from harness.inversion.outcome import Outcome
from harness.inversion.recover import Reconstructions
from harness.inversion.trace import QUANTITIES

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

SCHEMA = 1
"""Version of the file format."""

_TENSORS = ("images", "original", "start", "m_g", "m_i", "m_r", "at")

_LINES = 10


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Recovery:
    """Reconstructions of a batch of images, all tensors on the CPU.

    Parameters
    ----------
    layer, decoder : str
        What was inverted, and how.
    path : str
        How the network was computed: "compiled plan", or "autograd: " and why.
    images : tensor, shape (batch, ...)
        The reconstructions.
    original, start : tensor, shape (batch, ...)
        The images to recover, and those that the reconstructions started from.
    m_g : tensor, shape (batch,)
        L2 distance of a reconstruction's output from the image's.
    m_i : tensor, shape (batch,)
        L2 distance of a reconstruction from the image.
    m_r : tensor, shape (batch,)
        L2 distance of the noised image's output from the image's, the reference for m_g.
    outcomes : tuple of Outcome
        What each run came to: "matched" if m_g < m_r.
    reasons : tuple of TerminationReason
        Why each run ended.
    at : tensor of int, shape (batch,)
        The iteration that reached the reconstruction.
    iterations : tuple of int
        The iterations at which the runs were traced; 0 is the start.
    traces : mapping of str to tensor, shape (iterations, batch)
        "m_g", "m_i", "loss", "gradient_norm" and "rho" along the runs.
    """

    layer: str
    decoder: str
    path: str
    images: Tensor
    original: Tensor
    start: Tensor
    m_g: Float[Tensor, " batch"]
    m_i: Float[Tensor, " batch"]
    m_r: Float[Tensor, " batch"]
    outcomes: tuple[Outcome, ...]
    reasons: tuple[TerminationReason, ...]
    at: Tensor
    iterations: tuple[int, ...]
    traces: dict[str, Float[Tensor, "iterations batch"]]

    @classmethod
    def of(
        cls, found: Reconstructions, *, original: Tensor, layer: str, decoder: str, path: str
    ) -> Recovery:
        """The recovery of what the engine reached."""
        return cls(
            layer=layer,
            decoder=decoder,
            path=path,
            images=found.images.cpu().contiguous(),
            original=original.detach().to("cpu", found.images.dtype).clone(),
            start=found.begun.cpu().contiguous(),
            m_g=found.m_g.cpu(),
            m_i=found.m_i.cpu(),
            m_r=found.m_r.cpu(),
            outcomes=found.outcomes,
            reasons=found.reasons,
            at=found.at.cpu(),
            iterations=found.points,
            traces={name: trace.cpu() for name, trace in found.traces.items()},
        )

    @property
    def r(self) -> Float[Tensor, " batch"]:
        """m_i over that of the start: the share of the distance to the image that is left."""
        return self.m_i / self.traces["m_i"][0]

    def __repr__(self) -> str:
        rows = [
            f"{sample}: r {float(self.r[sample]):.2f}, m_g {float(self.m_g[sample]):.3g}, "
            f"m_r {float(self.m_r[sample]):.3g}, {outcome}"
            for sample, outcome in enumerate(self.outcomes[:_LINES])
        ]
        if (more := len(self.outcomes) - _LINES) > 0:
            rows.append(f"and {more} more")
        return "\n".join([f"Recovery from {self.layer}", *rows])

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        table = self.table().head(_LINES).to_html(float_format="{:.3g}".format)
        title, *rows = str(self).splitlines()
        more = "".join(f"<p>{html.escape(row)}</p>" for row in rows[_LINES:])
        return f"<p>{html.escape(title)}</p>{table}{more}"

    def table(self) -> pd.DataFrame:
        """A row for each image, with its distances, its outcome and why its run ended."""
        import pandas as pd

        return pd.DataFrame(
            {
                **{name: getattr(self, name).double().numpy() for name in ("r", "m_i", "m_g")},
                "m_r": self.m_r.double().numpy(),
                "outcome": [outcome.value for outcome in self.outcomes],
                "reason": [reason.name.lower() for reason in self.reasons],
                "iteration": self.at.numpy(),
            }
        ).rename_axis("image")

    def plot(self) -> alt.VConcatChart:
        """Target, start and reconstruction of each image, above the traces of m_g and m_i.

        Only the traces are drawn where samples are no images of one or three channels.
        """
        from harness.api.chart import recovery_chart

        return recovery_chart(self)

    def save(self, path: str | Path) -> None:
        """Write everything to a file, at once or not at all; `harness.load` reads it.

        Raises
        ------
        RecoveryError
            If the file cannot be written.
        """
        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        tensors |= {f"traces.{name}": trace.contiguous() for name, trace in self.traces.items()}
        words = {
            "schema": SCHEMA,
            "layer": self.layer,
            "decoder": self.decoder,
            "path": self.path,
            "outcomes": [outcome.value for outcome in self.outcomes],
            "reasons": [reason.name for reason in self.reasons],
            "iterations": self.iterations,
        }
        content = safetensors.torch.save(tensors, metadata={"recovery": json.dumps(words)})
        try:
            write_atomically(Path(path), content)
        except (OSError, ValueError) as error:
            raise RecoveryError(
                repr(str(path)),
                rule=f"the recovery cannot be written there ({error})",
                remedy="Choose another place",
            ) from error


def load(path: str | Path) -> Recovery:
    """Read what `Recovery.save` wrote.

    Raises
    ------
    RecoveryError
        If there is no such file, or nothing that this version can read.
    """
    broken = RecoveryError(
        path, rule="this is no saved recovery", remedy="Give a file written by Recovery.save"
    )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            words = json.loads((file.metadata() or {})["recovery"])
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        schema = operator.index(words["schema"])
    except OSError as error:
        raise RecoveryError(
            path, rule=f"the file cannot be read ({error})", remedy="Give one that is there"
        ) from error
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise broken from error
    if schema > SCHEMA:
        raise RecoveryError(
            path,
            rule=f"it has schema {schema}, this version reads up to {SCHEMA}",
            remedy="Update depth-claims",
        )
    try:
        recovery = Recovery(
            layer=words["layer"],
            decoder=words["decoder"],
            path=words["path"],
            outcomes=tuple(map(Outcome, words["outcomes"])),
            reasons=tuple(TerminationReason[name] for name in words["reasons"]),
            iterations=tuple(words["iterations"]),
            traces={name: found[f"traces.{name}"] for name in QUANTITIES},
            **{name: found[name] for name in _TENSORS},
        )
    except (KeyError, ValueError, TypeError) as error:
        raise broken from error
    if not _is_consistent(recovery):
        raise broken
    return recovery


def _is_consistent(recovery: Recovery) -> bool:
    """Whether all that a recovery has is there for each image, and for each iteration."""
    batch, length = len(recovery.outcomes), len(recovery.iterations)
    shape = recovery.images.shape
    whole = recovery.original, recovery.start
    each = recovery.m_g, recovery.m_i, recovery.m_r, recovery.at
    return (
        shape[:1] == (batch,)
        and len(recovery.reasons) == batch
        and all(images.shape == shape for images in whole)
        and all(values.shape == (batch,) for values in each)
        and all(trace.shape == (length, batch) for trace in recovery.traces.values())
    )
