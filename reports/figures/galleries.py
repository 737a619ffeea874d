"""Galleries: the target, the start, and the reconstructions by layer."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import math
from collections.abc import Mapping

from harness.store import Record
from harness.verdict.results import ConditionResult
from harness.verdict.verdict import Verdict
from reports.summary import deciding_part, effect_of
from reports.words import number, value_text

GIVEN: Mapping[str, str] = {
    "target": "target",
    "start": "start",
    "noised": "target, noised",
}
"""Thumbnails that reconstructions of one replicate share, with their captions."""

RECONSTRUCTION = "reconstruction"

EXAMPLE = "example"
"""Thumbnail of a training image, shown without a target."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GalleryRecord:
    """A record with images, its condition, and a record that the condition's verdict rests on."""

    record: Record
    condition: ConditionResult
    judged: Record | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GalleryImage:
    """An image of an album with its caption and notes, and how its condition was judged.

    `verdict` is None if the condition is exploratory.
    """

    key: str
    caption: str
    notes: tuple[str, ...] = ()
    judged: str = ""
    verdict: Verdict | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gallery:
    """The images of one replicate: what was given, and the reconstructions."""

    title: str
    given: tuple[GalleryImage, ...]
    reconstructions: tuple[GalleryImage, ...]

    @property
    def recovered(self) -> bool:
        """Whether any of them is a reconstruction, and no example of what was trained on."""
        return any(image.judged for image in self.reconstructions)


class Album:
    """Images of a page, each stored once however often it is shown.

    It takes `limit` characters of base64; further images are left out and counted.
    """

    def __init__(self, *, limit: int) -> None:
        self._free = limit
        self.images: dict[str, str] = {}
        self.left_out = 0

    def add(self, content: str) -> str | None:
        """The key of an image; None if it is no PNG or does not fit."""
        key = "p" + hashlib.sha256(content.encode()).hexdigest()[:12]
        if key in self.images:
            return key
        if not _is_png(content):
            return None
        if len(content) > self._free:
            self.left_out += 1
            return None
        self._free -= len(content)
        self.images[key] = content
        return key


def galleries(records: Mapping[str, GalleryRecord], album: Album) -> tuple[Gallery, ...]:
    """Galleries of records by caption, those of one replicate and start together."""
    grouped: dict[tuple[str, ...], dict[str, GalleryRecord]] = {}
    for caption, item in records.items():
        thumbnails = item.record.thumbnails
        if not {RECONSTRUCTION, EXAMPLE}.isdisjoint(thumbnails):
            given = tuple(thumbnails.get(name, "") for name in GIVEN)
            grouped.setdefault(given, {})[caption] = item
    found = (_gallery(group, album) for group in grouped.values())
    return tuple(gallery for gallery in found if gallery.reconstructions)


def input_ratio(record: Record) -> float | None:
    """Distance of the reconstruction from the target over that of the start."""
    values = record.values
    for name in ("r", "m_i_ratio"):
        if name in values:
            return values[name] if math.isfinite(values[name]) else None
    trace = record.traces.get("m_i", ())
    if len(trace) < 2 or not math.isfinite(trace[0]) or trace[0] == 0:
        return None
    last = values.get("m_i", trace[-1])
    return last / trace[0] if math.isfinite(last) else None


def output_ratio(record: Record) -> float | None:
    """Distance of the reconstruction's output from the target's over the noised image's."""
    m_g, m_r = (record.values.get(name, math.nan) for name in ("m_g", "m_r"))
    return m_g / m_r if math.isfinite(m_g) and math.isfinite(m_r) and m_r > 0 else None


def _gallery(records: Mapping[str, GalleryRecord], album: Album) -> Gallery:
    first = next(iter(records.values())).record
    given = []
    for name, caption in GIVEN.items():
        key = album.add(first.thumbnails[name]) if name in first.thumbnails else None
        if key is not None:
            size = _size(first) if name == "target" else ""
            given.append(GalleryImage(key=key, caption=f"{caption}, {size}" if size else caption))
    reconstructions = []
    for caption, item in records.items():
        thumbnails, condition = item.record.thumbnails, item.condition
        example = EXAMPLE in thumbnails
        key = album.add(thumbnails[EXAMPLE if example else RECONSTRUCTION])
        if key is not None:
            reconstructions.append(
                GalleryImage(
                    key=key,
                    caption=f"{caption}: an image" if example else caption,
                    notes=_notes(item.record),
                    judged="" if example else _judged(item),
                    verdict=condition.decision.verdict if condition.confirmatory else None,
                )
            )
    return Gallery(
        title=" · ".join(str(label) for label in first.labels.values()),
        given=tuple(given),
        reconstructions=tuple(reconstructions),
    )


def _size(record: Record) -> str:
    """The side of a record's image in words; empty if its cell has none."""
    images = record.cell.get("images")
    pixels = images.get("pixels") if isinstance(images, Mapping) else None
    return f"{pixels} pixels" if pixels else ""


def _judged(item: GalleryRecord) -> str:
    """How the condition of an image was judged: at which size, and by which effect."""
    condition = item.condition
    effect = effect_of(deciding_part(condition))
    size = "" if item.judged is None else _size(item.judged)
    who = f"{'' if condition.confirmatory else 'exploratory, '}{condition.claim.id}"
    found = "" if effect is None else f"{effect.label} {value_text(effect)}, "
    return f"{who}{f' at {size}' if size else ''}: {found}n = {condition.decision.n}"


def _notes(record: Record) -> tuple[str, ...]:
    """How near the reconstruction came in the input and in the output, and how its run ended."""
    near, output = input_ratio(record), output_ratio(record)
    size = _size(record)
    notes = (
        f"this replicate, {size}" if size else "",
        "" if near is None else f"m_i / m_i(0) {number(near)}",
        "" if output is None else f"m_g / m_r {number(output)}",
        "" if record.outcome == "measured" else record.outcome,
    )
    return tuple(text for text in notes if text)


def _is_png(content: str) -> bool:
    try:
        return base64.b64decode(content[:16], validate=True).startswith(b"\x89PNG")
    except (binascii.Error, ValueError):
        return False
