"""A netlist of nextpnr (`--write`) as tables for `cells.cpp`: its cells, what they mean, and what is known of them.

What the cells do follows Yosys' own models where there are any (`share/lattice/common_sim.vh`: slices, registers, distributed
RAM), else FPGA-DS-02012 (slices, pins), FPGA-TN-02204 (memory) and FPGA-TN-02205 (sysDSP). How nextpnr says it (packing for
ECP5, `ecp5/pack.cc`): a pin that is open reads 1, but for a register's LSR, a multiplier's unused pins and the tristate of an
output, which are off; a parameter `<PIN>MUX` is a constant, `INV` or the pin's name; a register takes its data from `M` if `SD`
is 0, from `DI` if it is 1.
"""
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
import json
from pathlib import Path

import numpy as np

from cli import WorkError

__all__ = ["Lut", "NetlistError", "Pad", "Register", "Tables", "read"]

ZERO, ONE = 0, 1                # nets
_LUT, _CARRY, _RAM_READ, _FF, _RAM_WRITE, _BLOCK_RAM, _MULTIPLIER = range(7)      # kinds of records, as in cells.cpp
_LOGIC = (_LUT, _CARRY, _RAM_READ)
_CONSTANTS = {"$PACKER_GND": ZERO, "$PACKER_VCC": ONE}     # cells that drive them
_UNUSED = ("MIDDRX_MODDRX", "MTDDRX", "MODDRX", "MIDDRX", "ODDRXN", "IDDRXN", "DELAY")     # of a pin's registers
_COPY, _NOT, _MUX = 0xAAAA, 0x5555, 0xCACA          # tables: A, not A, C ? B : A


class NetlistError(WorkError):
    """A netlist that is not understood; the message names the cell and what is strange."""


@dataclass(frozen=True)
class Lut:
    """A lookup table of 16 bits, `carry` if it is in a carry chain: number of its node, name of its cell, inputs A to D."""

    node: int
    name: str
    init: int
    inputs: tuple[int, ...]
    out: int
    carry: bool


@dataclass(frozen=True)
class Register:
    """A flip-flop: number of its part, name of its cell, its nets."""

    part: int
    name: str
    q: int
    enabled: bool
    resettable: bool


@dataclass(frozen=True)
class Pad:
    """A pin of the chip: nets that its surroundings drive, that the chip drives, and that is 1 while it does not; None of those
    that there are not."""

    outside: int | None = None
    out: int | None = None
    off: int | None = None


@dataclass(kw_only=True)
class Tables:
    """What `cells.cpp` simulates, and what the bench wants to know of it. `pads` by the names of the top's ports."""

    nets: int
    code: np.ndarray
    first: np.ndarray
    readers: np.ndarray
    pads: dict[str, Pad]
    pll: dict[str, object] | None
    locked: int | None
    luts: list[Lut] = field(default_factory=list)
    registers: list[Register] = field(default_factory=list)
    cells: dict[str, int] = field(default_factory=dict)


def _number(value) -> int:
    return int(value, 2) if isinstance(value, str) else int(value)


class _Cell:
    """A cell of the file; what it is asked for is crossed out, so that `end` can tell what nobody understood."""

    def __init__(self, name: str, cell: Mapping, nets: "_Nets"):
        self.name, self.kind, self.nets = name, cell["type"], nets
        self._parameters = {key: value.strip() if isinstance(value, str) else value for key, value in cell["parameters"].items()}
        self._pins = {pin: bits[0] for pin, bits in cell["connections"].items() if bits}

    def parameter(self, key: str, default: str = "", allowed: Iterable[str] = ()) -> str:
        value = str(self._parameters.pop(key, default))
        if allowed and value not in allowed:
            raise NetlistError(f"{self.name} ({self.kind}): {key} must be {' or '.join(allowed)}, not {value!r}")
        return value

    def bits(self, key: str) -> int:
        return _number(self._parameters.pop(key, 0))

    def expect(self, **values: str) -> None:
        """These parameters have these values (several are "A|B"), if they are there."""
        for key, value in values.items():
            self.parameter(key, value.split("|")[0], value.split("|"))

    @property
    def parameters(self) -> dict[str, str]:
        return self._parameters

    def raw(self, pin: str):
        """The file's bit at a pin."""
        return self._pins.get(pin)

    def connected(self, pin: str) -> bool:
        return pin in self._pins

    def pin(self, pin: str, unconnected: int = ONE) -> int:
        """The net that an input reads, its multiplexer included."""
        way = self._parameters.pop(f"{pin}MUX", pin)
        if way in ("0", "1"):
            self._pins.pop(pin, None)
            return ONE if way == "1" else ZERO
        if way not in (pin, "INV"):
            raise NetlistError(f"{self.name} ({self.kind}): {pin}MUX must be 0, 1, INV or {pin}, not {way!r}")
        net = self.nets.number(self._pins.pop(pin)) if pin in self._pins else unconnected
        return self.nets.inverse(net) if way == "INV" else net

    def out(self, pin: str) -> int:
        """The net that an output drives, -1 if it is open."""
        return self.nets.number(self._pins.pop(pin)) if pin in self._pins else -1

    def end(self) -> None:
        """Raises NetlistError if there is anything left that was not asked for."""
        left = [*self._parameters, *self._pins]
        if left:
            raise NetlistError(f"{self.name} ({self.kind}): no model for {', '.join(left[:6])}")


class _Nets:
    """Numbers of nets, and the records that say what drives them."""

    def __init__(self):
        self._numbers: dict[object, int] = {}
        self.count = 2
        self.logic: list[list[int]] = []            # kind, init, inject, A, B, C, D, further, out, carry, level, RAM
        self.parts: list[list[int]] = []
        self.reads: list[list[int]] = []            # nets that a part reads
        self._inverse: dict[int, int] = {ZERO: ONE, ONE: ZERO}

    def number(self, bit) -> int:
        if bit in ("0", "1"):
            return int(bit)
        if bit not in self._numbers:
            self._numbers[bit] = self.new()
        return self._numbers[bit]

    def name(self, bit, net: int) -> None:
        """A bit of the file is a net that there is."""
        self._numbers[bit] = net

    def new(self) -> int:
        self.count += 1
        return self.count - 1

    def node(self, kind: int, init: int, inputs: Iterable[int], out: int, *, inject: int = 0, further: int = ZERO,
             carry: int = -1, ram: int = 0) -> int:
        four = [*inputs, ONE, ONE, ONE, ONE][:4]
        self.logic.append([kind, init, inject, *four, further, out, carry, 0, ram])
        return len(self.logic) - 1

    def inverse(self, net: int) -> int:
        if net not in self._inverse:
            self._inverse[net] = self.new()
            self.node(_LUT, _NOT, [net], self._inverse[net])
        return self._inverse[net]

    def part(self, record: list[int], reads: Iterable[int]) -> int:
        self.parts.append(record)
        self.reads.append(sorted({net for net in reads if net > ONE}))
        return len(self.parts) - 1

    def register(self, d: int, ce: int, lsr: int, q: int, *, set_: bool, instant: bool) -> int:
        return self.part([_FF, d, ce, lsr, q, set_, instant], [d, ce, lsr])

    def levels(self) -> int:
        """Gives each node its level: behind those of what it reads. Raises NetlistError if there is a circle of logic."""
        driver = {}
        for index, node in enumerate(self.logic):
            for net in (node[8], node[9]):
                if net >= 0:
                    driver[net] = index
        follows: dict[int, list[int]] = defaultdict(list)
        waits = []
        for index, node in enumerate(self.logic):
            before = {driver[net] for net in node[3:8] if net in driver}
            waits.append(len(before))
            for other in before:
                follows[other].append(index)
        ready = [index for index, count in enumerate(waits) if not count]
        for index in ready:
            for other in follows[index]:
                self.logic[other][10] = max(self.logic[other][10], self.logic[index][10] + 1)
                waits[other] -= 1
                if not waits[other]:
                    ready.append(other)
        if len(ready) != len(self.logic):
            raise NetlistError(f"{len(self.logic) - len(ready)} lookup tables form a circle")
        return 1 + max((node[10] for node in self.logic), default=0)

    def code(self) -> np.ndarray:
        return np.array([value for record in self.logic for value in record]
                        + [value for record in self.parts for value in record], np.int32)

    def fanout(self) -> tuple[np.ndarray, np.ndarray]:
        """For each net where its readers begin, and all readers: nodes, or ~part."""
        pairs = [(net, index) for index, node in enumerate(self.logic) for net in {*node[3:8]} if net > ONE]
        pairs += [(net, ~index) for index, nets in enumerate(self.reads) for net in nets]
        found = np.array(sorted(pairs), np.int64).reshape(-1, 2)
        first = np.searchsorted(found[:, 0], np.arange(self.count + 1)).astype(np.int32)
        return first, np.ascontiguousarray(found[:, 1], np.int32)


class _Reader:
    """Makes records from the cells of one netlist."""

    def __init__(self, module: Mapping):
        self.nets, self.module = _Nets(), module
        self.pads: dict[str, Pad] = {}
        self.luts: list[Lut] = []
        self.registers: list[Register] = []
        self.pll: dict[str, object] | None = None
        self.locked: int | None = None
        self.clocks: list[tuple[str, int]] = []         # cells and the nets that clock them
        self._buffers: dict[int, int] = {}              # of clocks: out to in
        self._rams = 0
        self._names = {bit: name if len(port["bits"]) == 1 else f"{name}[{n}]"
                       for name, port in module["ports"].items() for n, bit in enumerate(port["bits"])}

    def read(self) -> Tables:
        ways = {"TRELLIS_COMB": self._comb, "TRELLIS_FF": self._ff, "TRELLIS_RAMW": self._ramw, "DP16KD": self._block_ram,
                "MULT18X18D": self._multiplier, "TRELLIS_IO": self._io, "IOLOGIC": self._io_register,
                "SIOLOGIC": self._io_register, "EHXPLLL": self._pll, "DCCA": self._buffer, "USRMCLK": self._usrmclk}
        cells: dict[str, int] = {}
        for name, net in _CONSTANTS.items():
            if name in self.module["cells"]:
                self.nets.name(self.module["cells"][name]["connections"]["F"][0], net)
        for name, record in self.module["cells"].items():
            if name in _CONSTANTS:
                continue
            cell = _Cell(name, record, self.nets)
            if cell.kind not in ways:
                raise NetlistError(f"{name}: no model of {cell.kind}")
            cells[cell.kind] = cells.get(cell.kind, 0) + 1
            ways[cell.kind](cell)
            cell.end()
        self._one_clock()
        self.nets.levels()
        first, readers = self.nets.fanout()
        return Tables(nets=self.nets.count, code=self.nets.code(), first=first, readers=readers, pads=self.pads, pll=self.pll,
                      locked=self.locked, luts=self.luts, registers=self.registers, cells=cells)

    def _one_clock(self) -> None:
        """All cells have the same clock, whose edges are the simulation's cycles; but for those of `hw.family.heartbeat`, which
        count the oscillator's, reach nothing but a light, and are simulated as if they had it, too."""
        def root(net: int) -> int:
            while net in self._buffers:
                net = self._buffers[net]
            return net

        roots = {root(net): name for name, net in self.clocks if "heartbeat" not in name}
        if len(roots) > 1:
            raise NetlistError(f"cells must have one clock, but {' and '.join(list(roots.values())[:2])} have different ones")
        self.clock = next(iter(roots), None)

    def _clock(self, cell: _Cell, pin: str) -> None:
        cell.expect(**{f"{pin}MUX": pin})
        self.clocks.append((cell.name, cell.pin(pin)))

    def _comb(self, cell: _Cell) -> None:
        nets, mode, init = self.nets, cell.parameter("MODE", "LOGIC"), cell.bits("INITVAL")
        if mode == "RAMW_BLOCK":                        # a place that a RAM's write port takes up
            cell.expect(WREMUX="WRE", CCU2_INJECT1="NO")
            return
        inputs = [cell.pin(pin) for pin in "ABCD"]
        out = cell.out("F")
        inject = cell.parameter("CCU2_INJECT1", "NO", ("YES", "NO"))
        if mode == "DPRAM":
            self._ram(cell, init, inputs, out)
            return
        cell.expect(WREMUX="WRE")
        if mode == "CCU2":
            node = nets.node(_CARRY, init, inputs, out, inject=inject == "YES", further=cell.pin("FCI", ZERO),
                             carry=cell.out("FCO"))
        elif mode == "LOGIC":
            node = nets.node(_LUT, init, inputs, out)
        else:
            raise NetlistError(f"{cell.name}: no model of mode {mode}")
        if out >= 0:
            self.luts.append(Lut(node, cell.name, init, tuple(inputs), out, mode == "CCU2"))
        if cell.connected("OFX"):                       # the multiplexers between the lookup tables of a slice
            above = cell.parameter("IS_Z1", "0") not in ("0", "")
            # D0 and D1 of the multiplexer, which takes D1 where M is 1; ALUT is what comes in by F1, F is BLUT.
            low, high = (cell.pin("FXA"), cell.pin("FXB")) if above else (out, cell.pin("F1"))
            nets.node(_LUT, _MUX, [low, high, cell.pin("M")], cell.out("OFX"))

    def _ram(self, cell: _Cell, init: int, inputs: list[int], out: int) -> None:
        a, b, c, d = inputs
        node = self.nets.node(_RAM_READ, 0, [d, b, c, a], out, ram=self._rams)
        self._rams += 1
        at, data, enable = [cell.pin(f"WAD{n}") for n in range(4)], cell.pin("WD"), cell.pin("WRE")
        self._clock(cell, "WCK")
        # Bits of INITVAL are in the order of the table, whose inputs D, B, C, A are the address from bit 0 on.
        words = sum((init >> ((n >> 3 & 1) | (n & 2) | (n & 4) | (n & 1) << 3) & 1) << n for n in range(16))
        self.nets.part([_RAM_WRITE, data, *at, enable, node, words], [data, *at, enable])

    def _ramw(self, cell: _Cell) -> None:
        # Where the write port of a distributed RAM is led to from the inputs of two lookup tables.
        for out, pin in {"WDO0": "C1", "WDO1": "A1", "WDO2": "D1", "WDO3": "B1", "WADO0": "D0", "WADO1": "B0", "WADO2": "C0",
                         "WADO3": "A0"}.items():
            source, to = cell.pin(pin), cell.out(out)
            if to >= 0:
                self.nets.node(_LUT, _COPY, [source], to)

    def _ff(self, cell: _Cell) -> None:
        cell.expect(GSR="DISABLED", LSRMODE="LSR")
        self._clock(cell, "CLK")
        fabric = cell.parameter("SD", "1", ("0", "1"))
        enabled, resettable = cell.connected("CE"), cell.connected("LSR")
        d = cell.pin("DI" if fabric == "1" else "M")
        ce, lsr, q = cell.pin("CE"), cell.pin("LSR", ZERO), cell.out("Q")
        part = self.nets.register(d, ce, lsr, q, set_=cell.parameter("REGSET", "RESET", ("SET", "RESET")) == "SET",
                                  instant=cell.parameter("SRMODE", "LSR_OVER_CE", ("LSR_OVER_CE", "ASYNC")) == "ASYNC")
        self.registers.append(Register(part, cell.name, q, enabled, resettable))

    def _block_ram(self, cell: _Cell) -> None:
        cell.expect(RESETMODE="SYNC", ASYNC_RESET_RELEASE="SYNC", GSR="DISABLED", WRITEMODE_A="NORMAL", WRITEMODE_B="NORMAL",
                    CSDECODE_A="0b000", CSDECODE_B="0b000")
        widths = [cell.bits(f"DATA_WIDTH_{port}") for port in "AB"]
        if any(width not in (1, 2, 4, 9, 18, 36) for width in widths) or (36 in widths and widths != [36, 36]):
            raise NetlistError(f"{cell.name}: no model of widths {widths}")
        registered = [cell.parameter(f"REGMODE_{port}", "NOREG", ("NOREG", "OUTREG")) == "OUTREG" for port in "AB"]
        record, reads = [_BLOCK_RAM, *widths, *registered], []

        def pins(names: Iterable[str]) -> None:
            found = [cell.pin(name) for name in names]
            record.extend(found)
            reads.extend(found)

        pins(f"AD{port}{n}" for port in "AB" for n in range(14))
        for name in ("CE", "OCE", "WE", "RST"):
            pins(f"{name}{port}" for port in "AB")
        pins(f"CS{port}{n}" for port in "AB" for n in range(3))
        pins(f"DI{port}{n}" for port in "AB" for n in range(18))
        record += [cell.out(f"DO{port}{n}") for port in "AB" for n in range(18)]
        for port in "AB":
            self._clock(cell, f"CLK{port}")
        self.nets.part(record, reads)

    def _multiplier(self, cell: _Cell) -> None:
        cell.expect(REG_INPUTA_CLK="CLK0", REG_INPUTB_CLK="CLK0", REG_OUTPUT_CLK="CLK0", REG_INPUTA_CE="CE0",
                    REG_INPUTB_CE="CE0", REG_INPUTA_RST="RST0", REG_INPUTB_RST="RST0", REG_OUTPUT_RST="RST0", GSR="DISABLED")
        pipe = cell.parameter("REG_PIPELINE_CLK", "NONE", ("NONE", "CLK0")) == "CLK0"
        inputs = [cell.pin(f"{side}{n}", ZERO) for side in "AB" for n in range(18)]
        for n in range(18):                             # what nobody uses
            cell.pin(f"C{n}", ZERO)
        modes = [cell.pin(pin, ZERO) for pin in ("SIGNEDA", "SIGNEDB", "CE0", "RST0")]
        for pin in ("SOURCEA", "SOURCEB"):              # else the multiplier beside
            if cell.pin(pin, ZERO) != ZERO:
                raise NetlistError(f"{cell.name}: {pin} must be 0")
        self._clock(cell, "CLK0")
        self.nets.part([_MULTIPLIER, *inputs, *modes, *(cell.out(f"P{n}") for n in range(36)), pipe], [*inputs, *modes])

    def _buffer(self, cell: _Cell) -> None:
        self._buffers[cell.out("CLKO")] = cell.pin("CLKI")

    def _usrmclk(self, cell: _Cell) -> None:
        # The pin of the flash's clock, which has no pad of its own.
        self.pads["USRMCLK"] = Pad(out=cell.pin("USRMCLKI"), off=cell.pin("USRMCLKTS"))

    def _pll(self, cell: _Cell) -> None:
        """Its figures; the clocks are the simulation's own, and `LOCK` is what the surroundings make it."""
        if self.pll is not None:
            raise NetlistError(f"{cell.name}: there is another PLL")
        self.pll = {key: cell.parameter(key) for key in list(cell.parameters)}
        for pin in ("RST", "STDBY"):
            if cell.pin(pin, ZERO) != ZERO:
                raise NetlistError(f"{cell.name}: {pin} must be 0")
        self.pll_clocks = {pin: cell.out(pin) for pin in ("CLKOP", "CLKOS") if cell.connected(pin)}
        self.pll_input, self.locked = cell.pin("CLKI"), cell.out("LOCK")

    def _io(self, cell: _Cell) -> None:
        """A pin and its buffer, with the register beside it if there is one."""
        nets, way = self.nets, cell.parameter("DIR", "INPUT", ("INPUT", "OUTPUT", "BIDIR"))
        name = self._names[cell.raw("B")]
        cell.expect(DATAMUX_ODDR="PADDO", DATAMUX_MDDR="PADDO", TRIMUX_TDDR="PADDT", TRIMUX_MTDDR="PADDT")
        registered = cell.parameter("DATAMUX_OREG", "PADDO", ("PADDO", "IOLDO")) == "IOLDO"
        late_off = cell.parameter("TRIMUX_TSREG", "PADDT", ("PADDT", "IOLTO")) == "IOLTO"
        data = cell.pin("IOLDO" if registered else "I")
        off = cell.pin("IOLTO" if late_off else "T", ZERO)
        pin, inside = cell.out("B"), cell.out("O")
        if way == "INPUT":
            self.pads[name] = Pad(outside=pin)
        elif way == "OUTPUT":
            self.pads[name] = Pad(out=data, off=off)
        else:
            self.pads[name] = Pad(outside=pin, out=data, off=off)
        if inside >= 0:
            nets.node(_LUT, _MUX, [data, pin, off if way == "BIDIR" else ONE], inside)

    def _io_register(self, cell: _Cell) -> None:
        """Registers beside a pin: of its input, its output and its tristate."""
        cell.expect(MODE="IREG_OREG", CEMUX="CE|1", CEOMUX="CEMUX|1", CEIMUX="CEMUX|1", LSRMUX="LSR", CLKIMUX="CLK",
                    CLKOMUX="CLK", GSR="ENABLED|DISABLED", IOLTOMUX="NONE|TSREG|TDDR", SRMODE="ASYNC|LSR_OVER_CE")
        for key in [key for key in cell.parameters if key.split(".")[0] in _UNUSED]:
            cell.expect(**{key: "NONE|DISABLED|RESET|0000000"})
        resets = {way: cell.parameter(f"LSR{way}MUX", "0", ("0", "LSRMUX")) for way in "IO"}
        self._clock(cell, "CLK")
        ce, lsr = cell.pin("CE"), cell.pin("LSR", ZERO)
        for name, data, out, way in (("INREG", "DI", "INFF", "I"), ("OUTREG", "TXDATA0", "IOLDO", "O"),
                                     ("TSREG", "TSDATA0", "IOLTO", "O")):
            mode = cell.parameter(f"{name}.{'INREGMODE' if way == 'I' else 'OUTREGMODE'}", "FF", ("FF",))
            first = cell.parameter(f"{name}.REGSET", "RESET", ("SET", "RESET"))
            if mode and cell.connected(out):
                self.nets.register(cell.pin(data), ce, ZERO if resets[way] == "0" else lsr, cell.out(out), set_=first == "SET",
                                   instant=True)


def read(path: Path) -> Tables:
    """The netlist of a file that nextpnr wrote, packed or routed. Raises NetlistError for what there is no model of."""
    modules = json.loads(path.read_text(encoding="utf-8"))["modules"]
    return _Reader(modules["top"]).read()
