"""The chart of a recovery: its images, and how the distances fell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

from harness.subjects.images.png import png_base64

if TYPE_CHECKING:
    from harness.api.recovery import Recovery

SAMPLES = 8
"""Images that are drawn, at most."""

_SIDE = 96


def recovery_chart(recovery: Recovery) -> alt.VConcatChart:
    """Target, start and reconstruction of each image, above the traces of m_g and m_i."""
    return alt.vconcat(*_images(recovery), _traces(recovery))


def _images(recovery: Recovery) -> list[alt.FacetChart]:
    """A row for each image, a column for each role; nothing where samples are no images."""
    if not recovery.pictured:
        return []
    roles = {
        "target": recovery.original,
        "start": recovery.start,
        "reconstruction": recovery.images,
    }
    rows = pd.DataFrame(
        {
            "image": sample,
            "role": role,
            "url": f"data:image/png;base64,{png_base64(image.double().numpy())}",
        }
        for role, images in roles.items()
        for sample, image in enumerate(images[:SAMPLES])
    )
    return [
        alt.Chart(rows)
        .mark_image(width=_SIDE, height=_SIDE)
        .encode(
            x=alt.value(_SIDE / 2),
            y=alt.value(_SIDE / 2),
            url="url:N",
            tooltip=["role", "image"],
        )
        .properties(width=_SIDE, height=_SIDE)
        .facet(
            column=alt.Column("role:N", title=None, sort=list(roles)),
            row=alt.Row("image:N", title="image"),
            spacing=8,
        )
    ]


def _traces(recovery: Recovery) -> alt.FacetChart:
    """Lines of m_g and m_i along the runs, and m_r as a dashed line; logarithmic."""
    samples = range(min(len(recovery.outcomes), SAMPLES))
    rows = pd.concat(
        pd.DataFrame(
            {
                "image": sample,
                "distance": name,
                "iteration": recovery.iterations,
                "value": recovery.traces[name][:, sample].double().numpy(),
                "m_r": float(recovery.m_r[sample]) if name == "m_g" else np.nan,
            }
        )
        for name in ("m_g", "m_i")
        for sample in samples
    )
    # A logarithm takes numbers above 0.
    rows = rows[np.isfinite(rows["value"]) & (rows["value"] > 0)]
    base = alt.Chart(rows).encode(x="iteration:Q", color=alt.Color("image:N", title="image"))
    scale = alt.Scale(type="log")
    lines = base.mark_line().encode(y=alt.Y("value:Q", scale=scale, title="L2 distance"))
    reference = (
        base.transform_filter("isValid(datum.m_r) && datum.m_r > 0")
        .mark_line(strokeDash=[4, 4])
        .encode(y=alt.Y("m_r:Q", scale=scale))
    )
    both = (lines + reference).properties(width=280, height=200)
    chart: alt.FacetChart = both.facet(column=alt.Column("distance:N", title=None))
    chart = chart.resolve_scale(y="independent")
    return chart
