"""The receiving side of loads: storage's words become words on the chip."""
from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from arch import pipeline
from arch.geometry import Geometry
from arch.instruction import Opcode
from arch.record import ADDRESS
from arch.transfer import FETCHED, LOADED, ROUTED, WRITE, places
from hw.engine.memory_ports import MemoryWrites
from hw.parts.delay import delayed
from hw.primitives import Copy
from hw.storage.arbiter import loads, routed_layout, tag_layout, word_layout

__all__ = ["DmaFill", "pixel_word_layout"]

WORDS_PER_COPY = 4      # of the assembly register, served by one copy of its enable


def pixel_word_layout() -> data.StructLayout:
    """A word of a row of pixels; `first` and `last` of its row. See `tag_layout`."""
    return data.StructLayout({"valid": 1, "data": 16, "first": 1, "last": 1, "channels": 3, "odd": 1})


class DmaFill(wiring.Component):
    """Assembles routed words, the first in the lowest bits, and writes them; one shift register serves all memories.

    The last word of those that make up one on the chip, read from storage in cycle t, is written in t + `WRITE`; for an
    activation word ``write_grant`` is low `grant` cycles before. ``done`` is high in t + `LOADED` for the last
    word of a command, when it can be read. `pixels` and `fetched` follow a word by a cycle. All outputs are registers.

    Parameters
    ----------
    geometry : Geometry
    grant : int
        Cycles from `write_grant` to the write; if they are fewer, `WRITE` and `LOADED` are as many fewer.

    Members
    -------
    i : ``In(routed_layout(loads(geometry)))``
        Words that are to be decoded are no concern of this.
    writes, write_grant : ``Out(MemoryWrites(geometry))``, ``Out(1)``
    pixels : ``Out(pixel_word_layout())``
    fetched : ``Out(word_layout())``
    done : ``Out(1)``
    """

    def __init__(self, geometry: Geometry, *, grant: int = pipeline.WRITE_GRANT):
        self.geometry, self.grant = geometry, grant
        assert WRITE - ROUTED == 2 + pipeline.WRITE_GRANT
        super().__init__({
            "i": In(routed_layout(loads(geometry))), "writes": Out(MemoryWrites(geometry)), "write_grant": Out(1, init=1),
            "pixels": Out(pixel_word_layout()), "fetched": Out(word_layout()), "done": Out(1)})

    def elaborate(self, platform):
        m = Module()
        i, geometry = self.i, self.geometry
        tag = Signal(tag_layout())
        m.d.comb += tag.eq(i.tag)
        sizes = {one: places(geometry, one) for one in (Opcode.LOAD_WEIGHTS, Opcode.LOAD_PARAMETERS, Opcode.LOAD_ACTIVATIONS)}
        kinds, loaded = dict(zip(loads(geometry), i.load, strict=True)), Signal()
        m.d.comb += loaded.eq(Cat(bit for one, bit in kinds.items() if one is not Opcode.LOAD_CODED).any())

        # Words still to come for the one on the chip; bursts are whole ones.
        begin, final, left = Signal(init=1), Signal(), Signal(range(max(sizes.values())), reset_less=True)
        address = Signal(ADDRESS, reset_less=True)
        with m.If(i.memory):
            m.d.sync += [begin.eq(final), final.eq(left == 2), left.eq(left - 1)]
            with m.If(begin):
                m.d.sync += address.eq(Mux(i.first, tag.chip, address + 1))
                for one, size in sizes.items():
                    with m.If(kinds[one]):
                        m.d.sync += [left.eq(size - 1), final.eq(size == 2)]

        # The data wait until the write port may be used, the address of a word changes after its last word at the earliest.
        way = 2 + self.grant
        word = delayed(m, i.data, way - 1, "data")
        where = delayed(m, address, way - 1, "address")
        shifted = delayed(m, loaded, way - 2, "loaded", reset=True)
        assembly = []
        count = max(sizes.values())
        for n in reversed(range(count)):
            if (count - 1 - n) % WORDS_PER_COPY == 0:
                m.submodules[f"shift{n}"] = copy = Copy()
                m.d.comb += copy.d.eq(shifted)
            stage = Signal(16, name=f"word{n}", reset_less=True)
            with m.If(copy.q):
                m.d.sync += stage.eq(word)
            word = stage
            assembly.append(stage)
        assembly.reverse()

        def newest(one):
            return Cat(assembly[count - sizes[one]:])
        parameters, came = self.writes.parameters.data, newest(Opcode.LOAD_PARAMETERS)
        ports = {Opcode.LOAD_WEIGHTS: self.writes.weights, Opcode.LOAD_PARAMETERS: self.writes.parameters,
                 Opcode.LOAD_ACTIVATIONS: self.writes.activations}
        m.d.comb += [
            ports[Opcode.LOAD_ACTIVATIONS].data.eq(newest(Opcode.LOAD_ACTIVATIONS)),
            ports[Opcode.LOAD_WEIGHTS].data.as_value().eq(newest(Opcode.LOAD_WEIGHTS)),
            parameters.biases.as_value().eq(came[:64]), parameters.scales.multiplier.as_value().eq(came[64:80]),
            parameters.scales.shift[0].eq(came[80:86]), parameters.scales.shift[1].eq(came[88:94])]
        for one, port in ports.items():
            write = delayed(m, kinds[one] & final, way, f"write_{one.name.lower()}", reset=True)
            m.d.comb += [port.addr.eq(where), port.en.eq(write.replicate(len(port.en)))]
        granted = Signal(init=1)            # the writer is far away
        m.d.sync += [granted.eq(~(kinds[Opcode.LOAD_ACTIVATIONS] & final)), self.write_grant.eq(granted)]

        m.d.comb += self.done.eq(delayed(m, loaded & i.last & tag.end, LOADED - WRITE + way, "done", reset=True))
        assert FETCHED == ROUTED + 1
        m.d.sync += [self.fetched.valid.eq(i.fetch), self.pixels.valid.eq(kinds[Opcode.LOAD_PIXELS])]
        pixels = {"data": i.data, "first": tag.first & i.first, "last": tag.last & i.last, "channels": tag.channels,
                  "odd": tag.odd}
        m.d.comb += [self.fetched.data.eq(delayed(m, i.data, 1, "fetched")),
                     *(self.pixels[name].eq(delayed(m, value, 1, f"pixels_{name}")) for name, value in pixels.items())]
        return m
