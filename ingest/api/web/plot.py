"""Plot one number for each day as SVG, without scripts or inline styles."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.api.web.html import Html, el

_WIDTH, _HEIGHT = 720, 140


def bar_chart(values: Sequence[tuple[str, int]], *, label: str) -> Html:
    """Return a chart with a bar for each name and value.

    Its text is below the drawing, and so has the same size on a phone.
    """
    highest = max((value for _, value in values), default=0)
    step = _WIDTH / max(len(values), 1)
    scale = (_HEIGHT - 10) / highest if highest else 0.0
    bars = [
        el(
            "rect",
            el("title", f"{name}: {value}"),
            class_="bar",
            x=f"{position * step + 1:.1f}",
            y=f"{_HEIGHT - value * scale:.1f}",
            width=f"{max(step - 2, 1):.1f}",
            height=f"{value * scale:.1f}",
        )
        for position, (name, value) in enumerate(values)
    ]
    axis = el("line", class_="axis", x1=0, x2=_WIDTH, y1=_HEIGHT, y2=_HEIGHT)
    drawing = el("svg", axis, bars, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label)
    if not values:
        return el("figure", drawing)
    captions = (values[0][0], f"maximum: {highest:,}", values[-1][0])
    return el("figure", drawing, el("figcaption", *(el("span", text) for text in captions)))
