"""What the benches of the link's parts share: a clock, a deadline, and a frame's words as the parts see them."""
from amaranth.sim import Simulator

DEADLINE = 20_000               # cycles


def run(dut, bench, *others) -> None:
    """Runs `bench(ctx)` to its end, the `others` beside it. Raises TimeoutError after `DEADLINE` cycles."""
    async def watchdog(ctx):
        for _ in range(DEADLINE):
            await ctx.tick()
        raise TimeoutError(f"no end after {DEADLINE} cycles")
    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    for one in (watchdog, *others):
        sim.add_testbench(one, background=True)
    sim.run()


class Frame:
    """The words of a frame behind the receiver's memory: the one in front is not there at once, but some cycles after `start`
    or `next`; until then there is something else."""

    WRONG = 0xBAD

    def __init__(self, words: list[int], latency: int):
        self.words, self.latency, self.at, self.age = words, latency, 0, 0

    def now(self) -> int:
        """The word of this cycle."""
        return self.words[self.at] if self.age > self.latency + 1 and self.at < len(self.words) else self.WRONG

    def tick(self, start: bool, moved: bool) -> None:
        self.age += 1
        if start or moved:
            self.at, self.age = (0 if start else self.at + 1), 1
