"""The whole accelerator but its storage and its link: a program in, results out."""
from amaranth import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch import control, units
from arch.geometry import Geometry
from arch.instruction import QUEUES
from hw.dma.dma import Dma
from hw.engine.engine import Engine
from hw.parts.reset import own_reset
from hw.parts.states import States
from hw.sequencer.counters import BITS, WHAT
from hw.sequencer.sequencer import Sequencer, error_layout
from hw.storage.arbiter import request_layout, word_layout
from hw.storage.share import StorageShare

__all__ = ["Machine"]


class Machine(wiring.Component):
    """Sequencer, DMA and engine in front of a storage of 16-bit words.

    `start` runs the program at `program`: everything but memories and storage is reset first, so it does not matter what was
    before. `running` is high until nothing is under way any more; then `finished` or `error.valid` tells how it went, until the
    next `start` or `clear`. `clear` stops whatever runs. Words of storage that were on their way then are swallowed, and those
    that a store still owed are arbitrary.

    While nothing runs, storage is the host's, see `hw.storage.share`. Its requests wait while something runs. A `start` waits for
    the host's words.

    Parameters
    ----------
    geometry : Geometry
    address_bits, storage_words : int
        Of storage, see `hw.dma.dma.Dma`.
    silence : int
        See `hw.sequencer.sequencer.Sequencer`.

    Members
    -------
    start, clear : ``In(1)``
        Pulses.
    program : ``In(dma.storage_bits)``
        Address of the program; stays until `running`.
    running, finished, error, cycles, index, counter :
        As `hw.sequencer.sequencer.Sequencer` has them; cycles are those from the start of the program, after the reset.
    digest : ``Out(64)``
        Of the geometry.
    host_request, host_w, host_r :
        The host's way to storage, as `hw.storage.share.StorageShare` has it.
    request, take, w, r :
        Storage, as `hw.storage.sdram.Sdram` has it.
    """

    def __init__(self, geometry: Geometry, *, address_bits: int, storage_words: int | None = None,
                 silence: int = control.SILENCE):
        self.geometry, self.address_bits = geometry, address_bits
        requests = stream.Signature(request_layout(address_bits))
        self.dma = Dma(geometry, address_bits=address_bits, storage_words=storage_words)
        bits = self.dma.storage_bits
        super().__init__({
            "start": In(1), "clear": In(1), "program": In(bits), "running": Out(1), "finished": Out(1),
            "error": Out(error_layout()), "cycles": Out(32), "index": In(range(len(QUEUES) * len(WHAT))), "counter": Out(BITS),
            "digest": Out(64), "host_request": In(requests), "host_w": In(stream.Signature(16)), "host_r": Out(word_layout()),
            "request": Out(requests), "take": In(1), "w": Out(16), "r": In(word_layout())})
        self.engine, self.sequencer = Engine(geometry), Sequencer(geometry, storage_bits=bits, silence=silence)

    def elaborate(self, platform):
        m = Module()
        held = Signal(init=1)           # what `clear` resets
        engine, sequencer, dma = self.engine, self.sequencer, self.dma
        own_reset(m, "engine", engine, held)
        own_reset(m, "sequencer", sequencer, held)
        own_reset(m, "dma", dma)

        for name in ("load", "store", "fetch"):
            connect(m, getattr(sequencer, name), getattr(dma, name))
        connect(m, sequencer.compute, engine.command)
        connect(m, sequencer.gather, engine.gather_command)
        connect(m, dma.pixels, engine.pixels)
        connect(m, dma.memories, engine.memories)
        strobes = {"load": dma.load_done, "store": dma.store_done}
        for name, count in (("gather", engine.gathered), ("compute", engine.done)):
            before = Signal(name=f"{name}_before")          # at most one more a cycle
            m.d.engine += before.eq(count[0])
            strobes[name] = count[0] ^ before
        m.d.comb += [
            dma.store_base.eq(sequencer.region.base), dma.store_words.eq(sequencer.region.words),
            sequencer.fetched.eq(dma.fetched), sequencer.fault.eq(dma.fault), sequencer.program.eq(self.program)]
        m.d.comb += [sequencer.done[n].eq(strobes[name]) for n, name in enumerate(QUEUES)]
        moves, alive = Signal(4), Signal()
        m.d.sync += [moves.eq(Cat(self.r.valid, self.take, dma.pixels.valid & dma.pixels.ready,
                                  engine.gather.w_en)), alive.eq(moves.any())]
        m.d.comb += [sequencer.alive.eq(alive), self.finished.eq(sequencer.finished), self.error.eq(sequencer.error),
                     self.cycles.eq(sequencer.cycles), sequencer.index.eq(self.index), self.counter.eq(sequencer.counter),
                     self.digest.eq(Const(self.geometry.digest, 64))]
        owner, host_idle = self._storage(m)
        self._control(m, held, owner, host_idle)
        return m

    def _storage(self, m):
        """Storage belongs to the host or to the DMA. Returns the registers that say so, and whether no word of the host's
        requests is to come."""
        m.submodules.share = share = StorageShare(self.address_bits)
        dma, host, asks = self.dma, Signal(), Signal()
        for outer, inner in ((flipped(self.request), share.request), (dma.request, share.own_request),
                             (flipped(self.host_request), share.host_request), (flipped(self.host_w), share.host_w)):
            connect(m, outer, inner)
        m.d.comb += [
            share.take.eq(self.take), self.w.eq(share.w), share.r.eq(self.r), dma.take.eq(share.own_take), share.own_w.eq(dma.w),
            dma.r.eq(share.own_r), self.host_r.eq(share.host_r), share.host.eq(host), share.asks.eq(asks)]
        return (host, asks), share.idle

    def _control(self, m, held, owner, host_idle):
        """start -> the host leaves -> reset -> what is on its way is swallowed -> run -> what was fetched in vain likewise."""
        sequencer, dma, (host, asks) = self.sequencer, self.dma, owner
        hold = units.vector(self.geometry) + 2
        left, go, clears = Signal(range(hold + 1), init=hold), Signal(), Signal(init=1)
        wanted, start = Signal(), Signal()
        m.d.comb += [dma.clear.eq(clears), self.running.eq(go), sequencer.start.eq(start)]
        m.d.sync += [held.eq(0), clears.eq(0), start.eq(0)]
        with m.If(self.start & ~go):
            m.d.sync += wanted.eq(1)

        def stop():
            m.d.sync += [left.eq(hold), go.eq(0), host.eq(0), asks.eq(0)]
            states.go("RESET")

        with States(m, ("RESET", "SWALLOW", "IDLE", "LEAVE", "RUN", "END")) as states:
            with states.at("RESET"):              # the first state too: the engine needs a long one
                m.d.sync += [left.eq(left - 1), held.eq(1), clears.eq(1)]
                with m.If(left == 0):
                    states.go("SWALLOW")
                with m.If(self.clear):
                    m.d.sync += [left.eq(hold), go.eq(0)]
                    states.go("RESET")
            with states.at("SWALLOW"):
                with m.If(~(held | clears) & dma.idle):
                    with m.If(go):
                        m.d.sync += start.eq(1)
                        states.go("RUN")
                    with m.Else():
                        m.d.sync += [host.eq(1), asks.eq(1)]
                        states.go("IDLE")
                with m.If(self.clear):
                    stop()
            with states.at("IDLE"):
                with m.If(wanted | self.clear):
                    m.d.sync += [asks.eq(0), go.eq(wanted & ~self.clear), wanted.eq(0)]
                    states.go("LEAVE")
            with states.at("LEAVE"):
                with m.If(self.clear):
                    m.d.sync += go.eq(0)
                with m.If(host_idle):
                    m.d.sync += [host.eq(0), left.eq(hold)]
                    states.go("RESET")
            with states.at("RUN"):
                with m.If(sequencer.finished | sequencer.error.valid):
                    m.d.sync += clears.eq(1)
                    states.go("END")
                with m.If(self.clear):
                    stop()
            with states.at("END"):
                with m.If(~clears & dma.idle):
                    m.d.sync += [go.eq(0), host.eq(1), asks.eq(1)]
                    states.go("IDLE")
                with m.If(self.clear):
                    stop()
