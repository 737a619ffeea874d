"""Settings of images, starts and noise."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from harness.plan.fields import OUTSIDE_IDENTITY, check, check_types, known


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFolder:
    """A folder of the user's images, identified by the digest of its content."""

    sha256: str
    path: Path = dataclasses.field(metadata=OUTSIDE_IDENTITY, compare=False)


SOURCES = ("photographs", "dead-leaves", "digits", "folder")
"""Where images come from; "folder" is the user's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Images:
    """Where a replicate's image comes from, and its shape.

    Parameters
    ----------
    pixels : int
        Width in pixels.
    rows : int or None
        Height; None means square. With fewer rows than pixels, the upper part of a square crop.
    channels : int
        3, or 1 for the mean of the three.
    source : str
        One of `SOURCES`.
    folder : ImageFolder or None
        The folder, for source "folder".

    Raises
    ------
    UnknownNameError
        Where there is no such source.
    SettingError
        Where a number is out of range.
    """

    pixels: int
    rows: int | None = None
    channels: int = 3
    source: str = "photographs"
    folder: ImageFolder | None = None

    def __post_init__(self) -> None:
        check_types(self)
        known(self.source, SOURCES, what="source of images")
        check(
            self.pixels > 0 and (self.rows is None or 0 < self.rows <= self.pixels),
            f"pixels={self.pixels}, rows={self.rows}",
            rule="an image has at least one pixel, and no more rows than columns",
            remedy="Choose such sizes, or leave rows out for a square",
        )
        check(
            self.channels in (1, 3),
            f"channels={self.channels}",
            rule="an image has three channels, or their mean",
            remedy="Choose 3 or 1",
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        return self.channels, self.rows or self.pixels, self.pixels

    @property
    def elements(self) -> int:
        """Elements of an image, n."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """The start of a descent, N(mean, sd) element by element (the article's N(0.7, 1/20))."""

    mean: float = 0.7
    sd: float = 0.05

    def __post_init__(self) -> None:
        check_types(self)
        check(
            -math.inf < self.mean < math.inf and 0 <= self.sd < math.inf,
            self,
            rule="a start has a finite mean, and a standard deviation of 0 or more",
            remedy="Choose such numbers; the article's are the defaults",
        )


ARTICLE_START = Start()
"""The article's start."""


NOISE_TEXT = 1 / 25
"""Standard deviation of a' - a in the article's text."""
