"""Rules a synthesised netlist must keep to run at speed, and to work on silicon at all."""

import re

__all__ = ["broken_rules"]

_CONSTANT = {"0", "1", "x", "z"}


def _text(value) -> str:
    """A parameter of Yosys' JSON: text as it is, numbers as strings of bits."""
    return str(value).strip()


def _multiplier(parameters: dict, pins: dict):
    for register in ("REG_INPUTA_CLK", "REG_INPUTB_CLK", "REG_OUTPUT_CLK"):
        if _text(parameters.get(register, "NONE")) == "NONE":
            yield f"multiplier without {register}"
    for pin in ("CE0", "RST0", "SIGNEDA", "SIGNEDB", "SOURCEA", "SOURCEB"):
        if not set(pins.get(pin, [])) & _CONSTANT:
            yield f"multiplier with a driven or open {pin}"


def _block_ram(parameters: dict, pins: dict):
    for port in "AB":
        read = any(f"DO{port}{n}" in pins and pins[f"DO{port}{n}"] for n in range(18))
        if read and _text(parameters.get(f"REGMODE_{port}", "NOREG")) != "OUTREG":
            yield f"block RAM without output register on port {port}"
        if not set(pins.get(f"RST{port}", ["0"])) <= {"0"}:
            yield f"block RAM with reset {port} driven"


_RULES = {"MULT18X18D": _multiplier, "DP16KD": _block_ram, "PDPW16KD": _block_ram}
# What synthesis leaves when it cannot map something; $scopeinfo only keeps names of modules.
_UNMAPPED = re.compile(r"\$(?!scopeinfo$)")
_LATCH = re.compile(r"LATCH|^FL1", re.IGNORECASE)


def broken_rules(netlist: dict, top: str = "top") -> list[str]:
    """What is wrong with a flat netlist (Yosys' JSON for an ECP5), one line per fault; empty if all is well.

    * A multiplier without input or output registers limits a design to about 130 MHz; its enable, reset and mode pins must be
      tied, as an open reset reads 1.
    * A block RAM without its output register takes 5.8 ns from clock to data.
    * A block RAM whose output reset is driven reads back zeros on some silicon.
    * Latches are always a mistake here.
    """
    faults = []
    for name, cell in netlist["modules"][top]["cells"].items():
        kind = cell["type"]
        if _LATCH.search(kind):
            faults.append(f"{name}: latch ({kind})")
        elif _UNMAPPED.match(kind):
            faults.append(f"{name}: not mapped ({kind})")
        elif kind in _RULES:
            faults += [f"{name}: {fault}" for fault in _RULES[kind](cell["parameters"], cell["connections"])]
    return faults
