"""A plot of a number a day, as SVG that needs no script and no style of its own."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.api.web.html import Html, el

_WIDTH, _HEIGHT = 720, 140


def bar_chart(values: Sequence[tuple[str, int]], *, label: str) -> Html:
    """`values`: what each bar is called, and how high it is. What is written stands below, so
    that it is as large on a phone.
    """
    most = max((value for _, value in values), default=0)
    step = _WIDTH / max(len(values), 1)
    scale = (_HEIGHT - 10) / most if most else 0.0
    drawn = [
        el(
            "rect",
            el("title", f"{name}: {value}"),
            class_="bar",
            x=f"{place * step + 1:.1f}",
            y=f"{_HEIGHT - value * scale:.1f}",
            width=f"{max(step - 2, 1):.1f}",
            height=f"{value * scale:.1f}",
        )
        for place, (name, value) in enumerate(values)
    ]
    axis = el("line", class_="axis", x1=0, x2=_WIDTH, y1=_HEIGHT, y2=_HEIGHT)
    return el(
        "figure",
        el("svg", axis, drawn, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label),
        el(
            "figcaption",
            *(el("span", said) for said in (values[0][0], f"most: {most:,}", values[-1][0])),
        )
        if values
        else None,
    )
