"""What an inversion recovered: numbers, traces and pictures, to be shown, saved and loaded."""

from __future__ import annotations

import collections
import dataclasses
import html
import json
import numbers
import operator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors
import safetensors.torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.errors import RecoveryError, UnknownNameError
from harness.files import write_atomically
from harness.inversion.method import TerminationReason
from harness.inversion.outcome import Outcome
from harness.inversion.recover import Reconstructions
from harness.inversion.trace import QUANTITIES
from harness.plan.fields import check, is_a
from harness.subjects.images.png import picture, png_base64

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

SCHEMA = 1
"""Version of the file format."""

_TENSORS = ("images", "original", "start", "m_g", "m_i", "m_r", "at")

_PICTURES = 8
"""Images that a notebook shows, at most."""


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
        shape = " x ".join(map(str, self.images.shape[1:]))
        counts = collections.Counter(outcome.value for outcome in self.outcomes)
        rows = {
            "samples": f"{len(self.outcomes)} of {shape}",
            "r": _spread(self.r),
            "m_g, m_r": f"{_spread(self.m_g)}, {_spread(self.m_r)}",
            "outcomes": ", ".join(f"{count} {outcome}" for outcome, count in counts.items()),
            "path": self.path,
        }
        lines = [f"  {name:<10}{said}" for name, said in rows.items()]
        decoder = self.decoder.partition("(")[0]
        return "\n".join([f"Recovery from {self.layer} by {decoder}", *lines])

    def _repr_html_(self) -> str:
        """What `repr` says, and targets above reconstructions where samples are images."""
        said = f"<pre>{html.escape(repr(self))}</pre>"
        if not self.pictured:
            return said
        rows = []
        for role in ("target", "reconstruction"):
            urls = map(png_base64, self._pixels(role)[:_PICTURES])
            cells = "".join(
                f'<td><img src="data:image/png;base64,{url}" alt="{role} {number}" '
                'style="width: 96px; image-rendering: pixelated"></td>'
                for number, url in enumerate(urls)
            )
            rows.append(f"<tr><th>{role}</th>{cells}</tr>")
        more = len(self.outcomes) - _PICTURES
        beyond = f"<p>and {more} more</p>" if more > 0 else ""
        return f"{said}<table>{''.join(rows)}</table>{beyond}"

    @property
    def pictured(self) -> bool:
        """Whether samples are images of one or three channels."""
        return self.images.dim() == 4 and self.images.shape[1] in (1, 3)

    def image(self, number: int = 0, *, role: str = "reconstruction") -> Image.Image:
        """One of the images as a picture, its values clipped to [0, 1].

        Parameters
        ----------
        number : int
            Which image of the batch.
        role : str
            "reconstruction", "target" or "start".

        Raises
        ------
        SettingError
            If samples are no images of one or three channels, or there is no such image.
        UnknownNameError
            If there is no such role.
        """
        pixels = self._pixels(role)
        check(
            self.pictured,
            f"samples of shape {tuple(self.images.shape[1:])}",
            rule="pictures have one or three channels, rows and columns",
            remedy="Take .images, a tensor",
        )
        check(
            is_a(numbers.Integral, number) and -len(pixels) <= number < len(pixels),
            f"number={number!r}",
            rule=f"there are {len(pixels)} images",
            remedy="Choose one of them, from 0 on",
        )
        return picture(pixels[number])

    def _pixels(self, role: str) -> NDArray[np.float64]:
        """The samples of a role."""
        roles = {"reconstruction": self.images, "target": self.original, "start": self.start}
        if role not in roles:
            raise UnknownNameError.nearest(role, roles, what="role")
        pixels: NDArray[np.float64] = roles[role].double().numpy()
        return pixels

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
        except (OSError, ValueError, TypeError) as error:
            raise RecoveryError(
                repr(str(path)),
                rule=f"the recovery cannot be written there ({error})",
                remedy="Choose another place",
            ) from error


def _spread(values: Tensor) -> str:
    """A number, or the median of several with their range."""
    least, median, most = (float(values.double().quantile(share)) for share in (0, 0.5, 1))
    return f"{median:.3g}" if len(values) == 1 else f"{median:.3g} ({least:.3g} to {most:.3g})"


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
        batch > 0
        and all(
            isinstance(words, str) for words in (recovery.layer, recovery.decoder, recovery.path)
        )
        and all(is_a(int, iteration) for iteration in recovery.iterations)
        and shape[:1] == (batch,)
        and len(recovery.reasons) == batch
        and all(images.shape == shape for images in whole)
        and all(values.shape == (batch,) for values in each)
        and all(trace.shape == (length, batch) for trace in recovery.traces.values())
    )
