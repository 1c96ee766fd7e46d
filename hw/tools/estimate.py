"""What a chip takes before any tool has run: hard blocks exactly, lookup tables and registers nearly."""
from collections.abc import Callable

from arch import control, gather
from arch.geometry import Geometry
from arch.instruction import QUEUES
from arch.protocol import FRAME_WORDS
from arch.transfer import CODED_WORDS, PIXELS
from hw.dma.pixel_gearbox import entry_layout
from hw.engine.engine import queued_units
from hw.engine.weights import bias_layout, scale_layout, weight_layout
from hw.parts.banked_ram import BankedRam
from hw.primitives import BlockRam
from hw.sequencer.command_queue import instruction_word_layout

__all__ = ["AVAILABLE", "block_rams", "resources"]

# Of each die, as nextpnr counts them.
AVAILABLE = {"25f": {"lut4": 24288, "ff": 24288, "block_ram": 56, "multipliers": 28},
             "45f": {"lut4": 43848, "ff": 43848, "block_ram": 108, "multipliers": 72},
             "85f": {"lut4": 83640, "ff": 83640, "block_ram": 208, "multipliers": 156}}

# Lookup tables, fitted to routed chips: of a multiplier lane of two columns, of one made of lookup tables beside that, of a
# requantising lane, the same without a multiplier beside that, of an input lane, of an SDRAM's controller, of everything else.
LUT4 = {"lane": 123, "lut_lane": 150, "requantise": 531, "lut_requantise": 66, "input": 3, "sdram": 1500, "rest": 13400}
# Registers likewise.
FF = {"lane": 146, "lut_lane": 0, "requantise": 764, "lut_requantise": 0, "input": 273, "sdram": 850, "rest": 12450}

# What an option takes that is no unit of its own: a word of commands, and a register behind it; the decoder in the DMA, by its
# symbols a cycle.
OPTIONS: dict[str, Callable[[Geometry], dict[str, int]]] = {
    "carry": lambda geometry: {"lut4": 20, "ff": 4},
    "decoder": lambda geometry: {2: {"lut4": 2354, "ff": 1189}, 4: {"lut4": 3073, "ff": 1722}}[geometry.decoder_lanes]}

# What unpacks images, in the link.
PACKING = {"lut4": 689, "ff": 376}


def _sum(weights: dict[str, float], geometry: Geometry, sdram: bool) -> int:
    """Cells of a whole chip, within some percent."""
    lut_lanes = geometry.lut_pairs * geometry.input_lanes
    counts = {"lane": geometry.pairs * geometry.input_lanes, "lut_lane": lut_lanes, "requantise": geometry.output_lanes,
              "lut_requantise": 0 if geometry.requantise_multipliers else geometry.output_lanes, "input": geometry.input_lanes,
              "sdram": sdram, "rest": 1}
    return round(sum(weights[name] * count for name, count in counts.items()))


def block_rams(geometry: Geometry, storage_words: int | None) -> int:
    """Of a chip, memory by memory. `storage_words` of block RAM hold program and weights, None: an SDRAM does."""
    lanes, words = geometry.output_lanes, geometry.parameter_words
    engine = (
        BankedRam.tiles(depth=geometry.activation_words, lanes=geometry.blocks_per_word, lane_bits=8 * lanes)
        + BankedRam.tiles(depth=geometry.weight_words, lanes=1, lane_bits=weight_layout(geometry).size)
        + BankedRam.tiles(depth=words, lanes=1, lane_bits=bias_layout().size)
        + BankedRam.tiles(depth=words, lanes=1, lane_bits=scale_layout().size)
        + lanes * BlockRam.tiles(depth=geometry.band_pixels, width=32)                  # partial sums
        + BlockRam.tiles(depth=512, width=8 * lanes)                                    # vectors that wait
        + sum(unit.block_rams(geometry) for unit in queued_units(geometry).values()))
    if geometry.input_lanes % 4 == 0:
        engine += BlockRam.tiles(depth=gather.line_memory(geometry), width=8 * gather.line_bytes(geometry))
    around = (
        BlockRam.tiles(depth=PIXELS, width=entry_layout().size)
        + ("decoder" in geometry.options) * (geometry.decoder_lanes + 1 + BlockRam.tiles(depth=CODED_WORDS, width=16))
        + len(QUEUES) * BlockRam.tiles(depth=control.QUEUE_WORDS, width=instruction_word_layout().size)
        + BlockRam.tiles(depth=control.PROGRAM_WORDS, width=16)
        + BlockRam.tiles(depth=2 * FRAME_WORDS, width=16))                              # two frames from the host
    storage = 0 if storage_words is None else BankedRam.tiles(depth=storage_words, lanes=1, lane_bits=16)
    return engine + around + storage


def resources(geometry: Geometry, die: str, storage_words: int | None, *, packing: bool = False) -> dict[str, dict[str, int]]:
    """Used and available of each resource for the chip of an engine on a die of `AVAILABLE`; storage as in `block_rams`."""
    sdram = storage_words is None
    used = {"lut4": _sum(LUT4, geometry, sdram), "ff": _sum(FF, geometry, sdram),
            "block_ram": block_rams(geometry, storage_words), "multipliers": geometry.multipliers}
    for name, cells in (PACKING if packing else {}).items():
        used[name] += cells
    units = queued_units(geometry)
    for option in geometry.options:
        for name, cells in (OPTIONS[option](geometry) if option in OPTIONS else units[option].cells(geometry)).items():
            used[name] += cells
    return {name: {"used": used[name], "available": available} for name, available in AVAILABLE[die].items()}
