"""Bitstreams that are read back: those of a configuration, and whatever is wrong with others."""
from fractions import Fraction

import pytest

from hw.tools import flow, toolchain
from hw.tools.toolchain import ToolError
from hw.tools.unpacked import Configuration, check_bitstream, clock_of, differences, idcode_of

# Wires, a wire without bits, tables, settings with default bits and without, settings of several tiles, a block RAM.
CONFIG = """.device LFE5U-12F

.tile R10C10:PLC2
arc: A0 H02E0501
arc: F3 F3_SLICE
word: SLICEA.K0.INIT 1010010100110000
word: SLICEB.K1.INIT 1111111111111111
enum: SLICEA.MODE CCU2
enum: SLICEA.CCU2.INJECT1_0 NO
enum: SLICEB.MODE LOGIC
enum: SLICEB.CCU2.INJECT1_0 _NONE_
enum: LSR0.LSRMUX INV

.tile MIB_R50C4:EFB0_PICB0
unknown: F54B1
unknown: F56B1
unknown: F82B1

.tile_group MIB_R50C2:PLL0_LL MIB_R50C3:BANKREF8
word: CLKI_DIV 0000001
word: CLKFB_DIV 0100111
word: CLKOP_DIV 0000100
word: CLKOS3_DIV 0000000
enum: FEEDBK_PATH INT_OS3
enum: MODE EHXPLLL

.bram_init 3
""" + "\n".join(" ".join(f"{(n * 8 + k) % 512:03x}" for k in range(8)) for n in range(256)) + "\n"
MHZ = Fraction(25)
CLOCK = float(MHZ / 2 * 40 / 5)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A configuration, its bitstream, and what that reads back as."""
    folder = tmp_path_factory.mktemp("unpacked")
    config, bitstream, unpacked = (folder / name for name in ("routed.config", "top.bit", "unpacked"))
    config.write_text(CONFIG)
    flow.pack(config, bitstream)
    toolchain.run("ecpunpack", ["--input", bitstream.name, "--textcfg", unpacked.name], log=folder / "log")
    return config, bitstream, unpacked


def test_a_bitstream_is_its_configuration(built):
    config, bitstream, _ = built
    check_bitstream(config, bitstream, device="LFE5U-12F", clock_mhz=CLOCK, input_mhz=MHZ)
    assert idcode_of(bitstream.read_bytes()) == 0x21111043 and not bitstream.with_name("unpacked.config").exists()


@pytest.mark.parametrize(("old", "new", "message"), [
    ("A0 H02E0501", "A0 H02E0701", "tile R10C10:PLC2: bits"),
    ("1010010100110000", "1010010100110001", "tile R10C10:PLC2: bits"),
    ("INJECT1_0 NO", "INJECT1_0 YES", "tile R10C10:PLC2: bits"),
    ("LSRMUX INV", "LSRMUX LSR", "tile R10C10:PLC2: bits"),
    ("unknown: F82B1", "unknown: F84B1", "tile MIB_R50C4:EFB0_PICB0: bits"),
    ("CLKFB_DIV 0100111", "CLKFB_DIV 0100110", "tile MIB_R50C2:PLL0_LL: bits"),
    ("1f1 1f2", "1f2 1f1", "block RAM 3"),
    (".device LFE5U-12F", ".device LFE5U-25F", "device LFE5U-12F instead of LFE5U-25F")])
def test_what_differs_is_said(built, tmp_path, old, new, message):
    """The bitstream of one configuration against another."""
    assert old in CONFIG
    other = tmp_path / "other.config"
    other.write_text(CONFIG.replace(old, new, 1))
    (said,) = differences(Configuration(other), Configuration(built[2]))
    assert said.startswith(message)


def test_what_the_tables_do_not_have_is_refused(tmp_path):
    config = tmp_path / "other.config"
    config.write_text(CONFIG.replace("A0 H02E0501", "A0 NOWHERE"))
    with pytest.raises(ToolError, match="no 'arc: A0 NOWHERE' for tile R10C10:PLC2"):
        Configuration(config).bits()


@pytest.mark.parametrize(("changes", "message"), [
    ({"device": "LFE5U-25F"}, "for LFE5U-12F .code 0x21111043., not for LFE5U-25F .0x41111043."),
    ({"clock_mhz": 125.0}, "makes 100 MHz, not 125")])
def test_another_device_or_clock_is_refused(built, changes, message):
    with pytest.raises(ToolError, match=message):
        check_bitstream(*built[:2], **{"device": "LFE5U-12F", "clock_mhz": CLOCK, "input_mhz": MHZ} | changes)


def test_a_flipped_bit_is_found(built, tmp_path):
    """Also one that no setting of the routed configuration names."""
    spoilt = tmp_path / "spoilt.config"
    spoilt.write_text(built[2].read_text() + "\n.tile R20C20:PLC2\nunknown: F5B5\n")
    assert differences(Configuration(built[0]), Configuration(spoilt)) == ["tile R20C20:PLC2: bits F5B5"]
    assert clock_of(Configuration(spoilt), MHZ) == 100


def test_without_a_pll_there_is_no_clock_to_check(tmp_path):
    config = tmp_path / "plain.config"
    config.write_text(".device LFE5U-12F\n")
    assert clock_of(Configuration(config), MHZ) is None
    with pytest.raises(ToolError, match="does not say which device"):
        idcode_of(b"no bitstream")
