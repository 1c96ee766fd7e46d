"""Claims about loads that are completed in order, wherever their words go."""
from amaranth.hdl import Array, Assert, Assume, Cat, Cover, Mux, Signal

from arch.transfer import JOINED
from formal.stages import StageClaim
from hw.dma.load_order import LoadOrder
from hw.parts.delay import delayed

__all__ = ["CLAIMS", "LoadOrderClaim"]


class LoadOrderClaim(StageClaim):
    """Each load is completed once, in the order in which they were taken, `JOINED` cycles after it was through or in the cycle
    behind the load before; the fault is shown exactly while the oldest load is a coded one whose block is damaged, and then none
    is completed any more; one more may be taken exactly while fewer than so many are under way.

    Given that loads are taken only then, that those that are through were taken, the oldest of each kind first, and that a
    damaged block is the last one that is decoded.
    """

    faults = ("order", "late", "overflow", "fault")
    AT_ONCE = 2

    def state(self, m):
        m.submodules.order = order = LoadOrder(at_once=self.AT_ONCE)
        taken, coded, plain, decoded, fails = (self.free(1, name) for name in ("taken", "coded", "plain", "decoded", "fails"))
        failed = Signal()
        m.d.sync += failed.eq(failed | fails)
        m.d.comb += [order.taken.eq(taken), order.coded.eq(coded ^ (self.fault == "order")), order.plain.eq(plain),
                     order.decoded.eq(decoded), order.failed.eq(failed)]

        # Loads under way, the oldest first: of which kind, and whether it is through. One leaves when it is completed in the next
        # cycle; its place is there again in the one after that.
        most = self.AT_ONCE + (self.fault == "overflow")
        kinds, through = (Array(Signal(name=f"{name}{n}") for n in range(most)) for name in ("kind", "through"))
        count, inside = Signal(range(most + 1)), Signal(range(most + 1))
        there = [count > n for n in range(most)]
        leaves = there[0] & through[0]
        waits = {kind: [there[n] & ~through[n] & (kinds[n] == kind) for n in range(most)] for kind in (0, 1)}
        m.d.comb += [Assume(~event | Cat(waits[kind]).any()) for kind, event in ((0, plain), (1, decoded))]
        m.d.comb += [Assume(~(failed | fails) | ~decoded), Assume(~failed | Cat(waits[1]).any()),
                     Assume(~taken | (inside < most))]
        now = [Mux(through[n], 1, self._first(waits[0], n) & plain | self._first(waits[1], n) & decoded) for n in range(most)]
        for n in range(most):
            following = min(n + 1, most - 1)
            m.d.sync += [kinds[n].eq(Mux(leaves, kinds[following], kinds[n])),
                         through[n].eq(Mux(leaves, now[following] if following > n else 0, now[n]))]
            with m.If(taken & (count - leaves == n)):
                m.d.sync += [kinds[n].eq(coded), through[n].eq(0)]
        done = delayed(m, leaves, 1 + (self.fault == "late"), "done", reset=True)
        m.d.sync += [count.eq(count + taken - leaves), inside.eq(inside + taken - done)]
        damage = there[0] & kinds[0] & ~through[0] & (failed | (self.fault == "fault"))
        assert JOINED == 2
        m.d.comb += [
            Assert(order.done == done), Assert(order.fault == delayed(m, damage, 1, "damage", reset=True)),
            Assert(order.may == (inside < self.AT_ONCE)), Cover(order.fault), Cover(~order.may),
            Cover(order.done & kinds[0] & ~through[0])]

    @staticmethod
    def _first(waiting, n: int):
        """The oldest of these is number n."""
        return waiting[n] & ~Cat(waiting[:n]).any() if n else waiting[0]


CLAIMS: dict[str, type[StageClaim]] = {"load order": LoadOrderClaim}
