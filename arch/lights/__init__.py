"""What the lights of a board tell, in the order in which boards have them: one with fewer has the first ones."""
from dataclasses import dataclass

__all__ = ["LIGHTS", "Light"]


@dataclass(frozen=True, kw_only=True)
class Light:
    """A light: its name in the gateware, when it is on, and what it means if it is not as it should be. `flash`: only chips that
    boot from flash have it, so others have the next one in its place."""

    name: str
    on: str
    means: str
    flash: bool = False


LIGHTS = (
    Light(name="alive", on="blinks six times a second or so: configured, and the PLL has locked",
          means="slowly, every second or two: the PLL does not lock; dark or steady: not configured, or without a clock"),
    Light(name="received", on="for a moment, for each byte that came over the line, whatever it was",
          means="dark while the host sends: another port, or its TX does not reach this FPGA"),
    Light(name="failed", on="the last program stopped with an error", means="host.info says which"),
    Light(name="busy", on="a program runs", means="on for ever: it waits for something; reset the board"),
    Light(name="damaged", on="for a moment, for each frame that came damaged",
          means="with `received`: noise. `received` without this one, and no answer: another rate"),
    Light(name="ready", on="storage takes words: the SDRAM has started",
          means="dark: the SDRAM's start does not end, or no phase of its clock works"),
    Light(name="booted", on="a model from flash passed its self-test, and runs", means="host.info says why not", flash=True),
    Light(name="trial", on="that model is on trial", means="host.update --confirm keeps it", flash=True),
)
