"""The whole accelerator but its storage and its link: a program in, results out."""
from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from arch import control, pipeline
from arch.geometry import Geometry
from arch.instruction import QUEUES, STORAGE
from hw.dma import Dma
from hw.engine import Engine
from hw.primitives import Copy
from hw.reset import own_reset
from hw.sequencer import Sequencer, error_layout
from hw.sequencer_counters import counters_layout
from hw.slot import Slot
from hw.storage_arbiter import request_layout, word_layout

__all__ = ["Machine"]


class Machine(wiring.Component):
    """Sequencer, DMA and engine in front of a storage of 16-bit words.

    `start` runs the program at `program`: everything but memories and storage is reset first, so it does not matter what was
    before. `running` is high until nothing is under way any more; then `finished` or `error.valid` tells how it went, until the
    next `start` or `clear`. `clear` stops whatever runs. Words of storage that were on their way then are swallowed, and those
    that a store still owed are arbitrary.

    While nothing runs, storage is the host's, through ports of the same kind. Its requests wait while something runs, one of
    them in a register. A `start` waits for the host's words.

    Parameters
    ----------
    geometry : Geometry
    address_bits, storage_words : int
        Of storage, see `hw.dma.Dma`.
    silence : int
        See `hw.sequencer.Sequencer`.

    Members
    -------
    start, clear : ``In(1)``
        Pulses.
    program : ``In(24)``
        Address of the program; stays until `running`.
    running, finished, error, cycles, counters :
        As `hw.sequencer.Sequencer` has them; cycles are those from the start of the program, after the reset.
    digest : ``Out(64)``
        Of the geometry.
    host_request, host_w, host_r :
        The host's way to storage, as `hw.sdram.Sdram` has it.
    request, w, r :
        Storage.
    """

    def __init__(self, geometry: Geometry, *, address_bits: int, storage_words: int | None = None,
                 silence: int = control.SILENCE):
        self.geometry, self.address_bits = geometry, address_bits
        requests = stream.Signature(request_layout(address_bits))
        super().__init__({
            "start": In(1), "clear": In(1), "program": In(STORAGE), "running": Out(1), "finished": Out(1),
            "error": Out(error_layout()), "cycles": Out(32), "counters": Out(data.ArrayLayout(counters_layout(), len(QUEUES))),
            "digest": Out(64), "host_request": In(requests), "host_w": In(stream.Signature(16)), "host_r": Out(word_layout()),
            "request": Out(requests), "w": Out(stream.Signature(16)), "r": In(word_layout())})
        self.engine, self.sequencer = Engine(geometry), Sequencer(geometry, silence=silence)
        self.dma = Dma(geometry, address_bits=address_bits, storage_words=storage_words)

    def elaborate(self, platform):
        m = Module()
        held = Signal(init=1)           # what `clear` resets
        engine, sequencer, dma = self.engine, self.sequencer, self.dma
        own_reset(m, "engine", engine, held)
        own_reset(m, "sequencer", sequencer, held)
        m.submodules.dma = dma

        for name in ("load", "store", "fetch"):
            connect(m, getattr(sequencer, name), getattr(dma, name))
        connect(m, sequencer.compute, engine.command)
        connect(m, sequencer.gather, engine.gather_command)
        connect(m, dma.pixels, engine.pixels)
        m.d.comb += [getattr(engine, name).eq(getattr(dma, name)) for name in (
            "a_addr", "a_data", "a_en", "w_addr", "w_data", "w_en", "p_addr", "biases", "scales", "p_en", "h_addr", "read_grant",
            "write_grant")]
        strobes = {"load": dma.load_done, "store": dma.store_done}
        for name, count in (("gather", engine.gathered), ("compute", engine.done)):
            before = Signal(name=f"{name}_before")          # at most one more a cycle
            m.d.engine += before.eq(count[0])
            strobes[name] = count[0] ^ before
        m.d.comb += [
            dma.h_data.eq(engine.h_data), dma.store_base.eq(sequencer.region.base), dma.store_words.eq(sequencer.region.words),
            sequencer.fetched.eq(dma.fetched), sequencer.fault.eq(dma.fault), sequencer.program.eq(self.program)]
        m.d.comb += [sequencer.done[n].eq(strobes[name]) for n, name in enumerate(QUEUES)]
        moves, alive = Signal(4), Signal()
        m.d.sync += [moves.eq(Cat(self.r.valid, self.w.valid & self.w.ready, dma.pixels.valid & dma.pixels.ready,
                                  engine.gather.w_en)), alive.eq(moves.any())]
        m.d.comb += [sequencer.alive.eq(alive), self.finished.eq(sequencer.finished), self.error.eq(sequencer.error),
                     self.cycles.eq(sequencer.cycles), self.counters.eq(sequencer.counters),
                     self.digest.eq(Const(self.geometry.digest, 64))]
        owner, host_idle = self._storage(m)
        self._control(m, held, owner, host_idle)
        return m

    def _storage(self, m):
        """Storage belongs to the host or to the DMA. Returns the register that says to the host, and whether no word of its
        requests is to come."""
        dma, host, asks = self.dma, Signal(), Signal()
        # Payloads are chosen a cycle late; the host is not heard before.
        late, guests = Signal(), {}
        m.d.sync += late.eq(host & asks)
        for name in ("request", "w"):
            outer, own = getattr(self, name), getattr(dma, name)
            m.submodules[f"host_{name}"] = slot = Slot(own.payload.shape())
            connect(m, flipped(getattr(self, f"host_{name}")), slot.i)
            guests[name] = guest = slot.o
            # Nothing new is taken from a host that must leave, but the words of its requests.
            may = late & asks if name == "request" else host
            m.submodules[f"{name}_is_hosts"] = choice = Copy()
            m.d.comb += [choice.d.eq(host), outer.payload.eq(Mux(choice.q, guest.payload, own.payload)),
                         own.ready.eq(outer.ready & ~host),
                         outer.valid.eq(Mux(host, guest.valid & may, own.valid)), guest.ready.eq(outer.ready & may)]
        m.d.comb += [dma.r.data.eq(self.r.data), dma.r.valid.eq(self.r.valid & ~host), self.host_r.data.eq(self.r.data),
                     self.host_r.valid.eq(self.r.valid & host)]
        owed, more, less = Signal(20), Signal(len(self.host_request.payload.length)), Signal()
        guest = guests["request"]
        asked = guest.valid & guest.ready
        moved = self.host_r.valid | guests["w"].valid & guests["w"].ready
        m.d.sync += [more.eq(Mux(asked, guest.payload.length, 0)), less.eq(moved), owed.eq(owed + more - less)]
        idle = Signal()
        m.d.sync += idle.eq((owed == 0) & (more == 0) & ~asks)
        return (host, asks), idle

    def _control(self, m, held, owner, host_idle):
        """start -> the host leaves -> reset -> what is on its way is swallowed -> run -> what was fetched in vain likewise."""
        sequencer, dma, (host, asks) = self.sequencer, self.dma, owner
        hold = pipeline.vector(self.geometry) + 2
        left, go, clears = Signal(range(hold + 1), init=hold), Signal(), Signal(init=1)
        wanted, start = Signal(), Signal()
        m.d.comb += [dma.clear.eq(clears), self.running.eq(go), sequencer.start.eq(start)]
        m.d.sync += [held.eq(0), clears.eq(0), start.eq(0)]
        with m.If(self.start & ~go):
            m.d.sync += wanted.eq(1)
        with m.FSM():
            with m.State("RESET"):              # the first state too: the engine needs a long one
                m.d.sync += [left.eq(left - 1), held.eq(1), clears.eq(1)]
                with m.If(left == 0):
                    m.next = "SWALLOW"
                with m.If(self.clear):
                    m.d.sync += [left.eq(hold), go.eq(0)]
                    m.next = "RESET"
            with m.State("SWALLOW"):
                with m.If(~(held | clears) & dma.idle):
                    with m.If(go):
                        m.d.sync += start.eq(1)
                        m.next = "RUN"
                    with m.Else():
                        m.d.sync += [host.eq(1), asks.eq(1)]
                        m.next = "IDLE"
                with m.If(self.clear):
                    self._clear(m, left, hold, go, host, asks)
            with m.State("IDLE"):
                with m.If(wanted | self.clear):
                    m.d.sync += [asks.eq(0), go.eq(wanted & ~self.clear), wanted.eq(0)]
                    m.next = "LEAVE"
            with m.State("LEAVE"):
                with m.If(self.clear):
                    m.d.sync += go.eq(0)
                with m.If(host_idle):
                    m.d.sync += [host.eq(0), left.eq(hold)]
                    m.next = "RESET"
            with m.State("RUN"):
                with m.If(sequencer.finished | sequencer.error.valid):
                    m.d.sync += clears.eq(1)
                    m.next = "END"
                with m.If(self.clear):
                    self._clear(m, left, hold, go, host, asks)
            with m.State("END"):
                with m.If(~clears & dma.idle):
                    m.d.sync += [go.eq(0), host.eq(1), asks.eq(1)]
                    m.next = "IDLE"
                with m.If(self.clear):
                    self._clear(m, left, hold, go, host, asks)

    @staticmethod
    def _clear(m, left, hold, go, host, asks):
        m.d.sync += [left.eq(hold), go.eq(0), host.eq(0), asks.eq(0)]
        m.next = "RESET"
