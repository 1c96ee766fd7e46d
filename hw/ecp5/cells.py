"""The cells of an ECP5 that make the primitives (memory usage guide, FPGA-TN-02204; sysDSP usage guide, FPGA-TN-02205; sysCONFIG
usage guide, FPGA-TN-02039; family data sheet, FPGA-DS-02012, slice modes)."""
from amaranth import ClockSignal, Const, Instance, Module, ResetSignal, Signal, Value

__all__ = ["TILES", "block_ram", "chosen_add", "config_clock", "copy", "gated_add", "gated_difference", "gated_subtract",
           "multiplier"]

# Depth and width of one DP16KD, and the number of its 14 address pins that lie below the address.
TILES = ((512, 36, 5), (1024, 18, 4), (2048, 9, 3), (4096, 4, 2), (8192, 2, 1), (16384, 1, 0))


def block_ram(m: Module, ram) -> None:
    for n in range(ram.block_rams):
        low, high = n * ram.tile[1], min((n + 1) * ram.tile[1], ram.width)
        m.submodules[f"tile{n}"] = _tile(ram, ram.w_data[low:high], ram.r_data[low:high])


def _tile(ram, w_data: Value, r_data: Value) -> Instance:
    rows, width, unused = next(tile for tile in TILES if tile[:2] == ram.tile)
    wide = width == 36
    pins = {}
    for n in range(14):
        k = n - unused
        in_range = 0 <= k < len(ram.w_addr)
        # Below the address lie the byte enables of 18 and 36-bit ports, always 1.
        pins[f"i_ADA{n}"] = ram.w_addr[k] if in_range else Const(k < 0 and width >= 18)
        pins[f"i_ADB{n}"] = ram.r_addr[k] if in_range else Const(0)
    for n in range(len(w_data)):
        pins[f"i_DI{'AB'[n // 18]}{n % 18}"] = w_data[n]
        # A 36-bit read uses both ports' pins, a narrower one port B's.
        pins[f"o_DO{'AB'[n // 18] if wide else 'B'}{n % 18}"] = r_data[n]
    return Instance(
        "DP16KD", **pins,
        p_DATA_WIDTH_A=width, p_DATA_WIDTH_B=width,
        # A 36-bit read leaves through both halves of the tile.
        p_REGMODE_A="OUTREG" if wide else "NOREG", p_REGMODE_B="OUTREG",
        p_RESETMODE="SYNC", p_ASYNC_RESET_RELEASE="SYNC", p_GSR="DISABLED",
        p_CSDECODE_A="0b000", p_CSDECODE_B="0b000", p_CLKAMUX="CLKA", p_CLKBMUX="CLKB",
        p_WRITEMODE_A="NORMAL", p_WRITEMODE_B="NORMAL",
        i_CLKA=ClockSignal(), i_CLKB=ClockSignal(),
        # The 36-bit port writes whenever its clock is enabled.
        i_CEA=ram.w_en if wide else Const(1), i_WEA=Const(1) if wide else ram.w_en,
        i_CEB=Const(1), i_WEB=Const(0), i_OCEA=Const(1), i_OCEB=Const(1),
        i_RSTA=Const(0), i_RSTB=Const(0),
        **{f"i_CS{port}{n}": Const(0) for port in "AB" for n in range(3)},
    )


def multiplier(m: Module, product) -> None:
    # Operand pins tied to a constant cost nothing; CE, RST, SIGNED and SOURCE are wires.
    # CLK, CE and RST 0 serve every register, so that all multipliers of a block agree.
    m.submodules.mult = Instance(
        "MULT18X18D",
        p_REG_INPUTA_CLK="CLK0", p_REG_INPUTA_CE="CE0", p_REG_INPUTA_RST="RST0",
        p_REG_INPUTB_CLK="CLK0", p_REG_INPUTB_CE="CE0", p_REG_INPUTB_RST="RST0",
        p_REG_PIPELINE_CLK="CLK0" if product.pipeline else "NONE",
        p_REG_OUTPUT_CLK="CLK0", p_REG_OUTPUT_RST="RST0", p_GSR="DISABLED",
        i_CLK0=ClockSignal(), i_CE0=Const(1), i_RST0=Const(0),
        i_SIGNEDA=Const(1), i_SIGNEDB=Const(1), i_SOURCEA=Const(0), i_SOURCEB=Const(0),
        **{f"i_A{n}": product.a[n] for n in range(18)},
        **{f"i_B{n}": product.b[n] for n in range(18)},
        **{f"i_C{n}": Const(0) for n in range(18)},
        **{f"o_P{n}": product.p[n] for n in range(36)},
    )


def copy(m: Module, register) -> None:
    m.submodules.ff = Instance(
        "TRELLIS_FF", p_GSR="DISABLED", p_CEMUX="1", p_CLKMUX="CLK", p_LSRMUX="LSR",
        p_REGSET="SET" if register.init else "RESET", p_SRMODE="LSR_OVER_CE",
        i_CLK=ClockSignal(), i_LSR=Const(0), i_CE=Const(1), i_DI=register.d, o_Q=register.q)


def config_clock(m: Module, pin) -> None:
    # Lattice's tools want the second pin driven by a signal.
    m.submodules.driver = Instance("USRMCLK", i_USRMCLKI=pin.clk, i_USRMCLKTS=ResetSignal())


def _init(function) -> int:
    """Truth table of a LUT4 from a function of its four inputs."""
    return sum(function(n & 1, n >> 1 & 1, n >> 2 & 1, n >> 3 & 1) << n for n in range(16))


def _chain(m: Module, pins: list[tuple], o: Value, init: int, carry: int):
    """CCU2C cells computing the sum bits `o`; `pins` are the inputs (A, B, C, D) of each bit.

    The cell's carry is A0 and B0's LUT2, which shares the low 4 bits of `init`, where the LUT4 is 0, else the carry before.
    """
    for n in range(0, len(o), 2):
        link = Signal(name=f"carry{n + 2}")
        inputs = {}
        for half in range(2):
            # The spare half of an odd chain adds zeros.
            values = pins[n + half] if n + half < len(o) else (Const(0),) * 4
            inputs |= {f"i_{pin}{half}": value for pin, value in zip("ABCD", values, strict=True)}
        spare = Signal(name=f"spare{n}")
        m.submodules[f"bits{n}"] = Instance(
            "CCU2C", **inputs, i_CIN=carry, o_S0=o[n], o_S1=o[n + 1] if n + 1 < len(o) else spare, o_COUT=link,
            p_INIT0=Const(init, 16), p_INIT1=Const(init, 16), p_INJECT1_0="NO", p_INJECT1_1="NO")
        carry = link


def gated_add(m: Module, adder) -> None:
    _chain(m, [(adder.a[n], adder.gate_a, adder.b[n], adder.gate_b) for n in range(adder.width)], adder.o,
           _init(lambda a, b, c, d: (a & b) ^ (c & d)), Const(0, 1))


def gated_subtract(m: Module, adder) -> None:
    # D = 1 keeps the LUT4's half apart from the LUT2, which is A.
    _chain(m, [(adder.a[n], adder.b[n], adder.gate_b, Const(1)) for n in range(adder.width)], adder.o,
           _init(lambda a, b, c, d: a ^ 1 ^ (b & c) if d else a), Const(1, 1))


def gated_difference(m: Module, adder) -> None:
    # What is subtracted is A and B, so that their LUT2 is its complement.
    _chain(m, [(adder.b[n], adder.gate_b, adder.a[n], adder.gate_a) for n in range(adder.width)], adder.o,
           _init(lambda a, b, c, d: (a & b) ^ 1 ^ (c & d)), Const(1, 1))


def chosen_add(m: Module, adder) -> None:
    # With C = D = 0 the sum is A, whatever is chosen.
    _chain(m, [(adder.a[n], adder.choose, adder.b[n], adder.c[n]) for n in range(adder.width)], adder.o,
           _init(lambda a, b, c, d: a ^ (c if b else d)), Const(0, 1))
