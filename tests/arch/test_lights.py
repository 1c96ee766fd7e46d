"""Lights of a board: the page that people read says what the gateware shows."""
from pathlib import Path

from arch.lights import LIGHTS


def test_the_page_says_what_lights_mean():
    page = (Path(__file__).parents[2] / "docs" / "first_light.md").read_text(encoding="utf-8")
    rows = [f"| {n} | `{light.name}` | {light.on} | {light.means} |" for n, light in enumerate(LIGHTS, 1)]
    assert "<!-- lights -->\n" + "\n".join(rows) + "\n\n" in page


def test_the_last_ones_are_those_of_flash():
    assert [light.flash for light in LIGHTS] == [False] * 6 + [True] * 2
