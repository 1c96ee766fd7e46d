"""cocotb drivers and monitors for valid/ready streams.

Inputs change just after the rising edge and everything is sampled at the falling edge, when the cycle has settled; so the
order in which simulators run callbacks at the rising edge does not matter. Cycle n ends with the n-th rising edge after reset.
Monitors sleep until `valid` rises: idle cycles cost no Python.
"""
from collections.abc import Iterable, Iterator

import cocotb
from cocotb.clock import Clock
from cocotb.simtime import get_sim_time
from cocotb.triggers import Event, FallingEdge, RisingEdge

__all__ = ["Bench", "Monitor", "drive", "feed"]

PERIOD_NS = 10


class Bench:
    """Clock, reset and cycle count of a design with ports `clk` and `rst`."""

    def __init__(self, dut):
        self.dut = dut
        self._origin_ns = 0.0

    async def start(self) -> None:
        """Starts the clock and resets the design; cycle 0 begins when this returns."""
        self.dut.rst.value = 1
        Clock(self.dut.clk, PERIOD_NS, unit="ns").start(start_high=False)
        for _ in range(2):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        self._origin_ns = get_sim_time("ns")

    @property
    def cycle(self) -> int:
        """Number of the current cycle."""
        return int((get_sim_time("ns") - self._origin_ns) // PERIOD_NS)

    async def wait_until(self, cycle: int) -> None:
        """Returns at the beginning of the given cycle (at once if it has begun)."""
        while self.cycle < cycle:
            await RisingEdge(self.dut.clk)


class Monitor:
    """Collects `beats`, a list of (cycle, payload), at a boundary; `ready` is None where beats cannot be refused."""

    def __init__(self, bench: Bench, valid, payload, ready=None):
        self.bench, self.valid, self.ready, self.payload = bench, valid, ready, payload
        self.beats: list[tuple[int, int]] = []
        self._wanted = 0
        self._arrived = Event()
        cocotb.start_soon(self._watch())

    @classmethod
    def of(cls, bench: Bench, name: str) -> "Monitor":
        """Monitor of the stream or probe whose ports begin with `name`."""
        dut = bench.dut
        ready = getattr(dut, f"{name}__ready", None)
        return cls(bench, getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__payload"), ready)

    async def _watch(self) -> None:
        while True:
            await FallingEdge(self.bench.dut.clk)
            if not int(self.valid.value):
                await RisingEdge(self.valid)
                if int(self.bench.dut.clk.value):       # risen just after the clock edge: look when the cycle has settled
                    continue
            if self.ready is None or int(self.ready.value):
                self.beats.append((self.bench.cycle, int(self.payload.value)))
                if len(self.beats) >= self._wanted:
                    self._arrived.set()

    async def until(self, count: int) -> list[tuple[int, int]]:
        """The beats, once there are `count` of them."""
        self._wanted = count
        self._arrived.clear()
        if len(self.beats) < count:
            await self._arrived.wait()
        return self.beats


async def feed(bench: Bench, name: str, payloads: Iterable[int], allow: Iterator[bool] | None = None) -> None:
    """Offers payloads to the input stream `name`, one after the other; returns when the last is taken.

    `allow` gives one value a cycle: a beat is offered only in a cycle in which it is true, and then stays until taken.
    """
    dut = bench.dut
    valid, ready, payload = (getattr(dut, f"{name}__{part}") for part in ("valid", "ready", "payload"))
    for value in payloads:
        while allow is not None and not next(allow):
            await RisingEdge(dut.clk)
        payload.value = value
        valid.value = 1
        while True:
            await FallingEdge(dut.clk)
            taken = int(ready.value)
            await RisingEdge(dut.clk)
            if taken:
                break
            if allow is not None:
                next(allow)             # patterns advance with the clock, whether asked or not
        valid.value = 0


async def drive(bench: Bench, signal, values: Iterable[int]) -> None:
    """Gives an input one value a cycle, for as long as there are values."""
    for value in values:
        signal.value = int(value)
        await RisingEdge(bench.dut.clk)
