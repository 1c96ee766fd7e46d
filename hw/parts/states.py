"""State machines for units that must be quick but not small."""
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from operator import or_

from amaranth import Module, Signal

__all__ = ["States"]


class States:
    """As `Module.FSM`, with a register for each state: what happens in one, and which is next, takes little logic.

    The first state is that after a reset. Within ``with States(m, names) as states``: ``with states.at(name)`` has what happens
    in a state, ``states.go(name)`` there the next one; without it the state stays.
    """

    def __init__(self, m: Module, names: Iterable[str]):
        self._m, self._number = m, {name: n for n, name in enumerate(names)}
        self._on = [Signal(name=f"at_{name.lower()}", init=n == 0) for name, n in self._number.items()]
        self._next: list[Signal] = []

    def __enter__(self) -> "States":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self._m.d.sync += [on.eq(reduce(or_, (one[n] for one in self._next))) for n, on in enumerate(self._on)]

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        self._next.append(Signal(len(self._on), name=f"after_{name.lower()}"))       # 0 elsewhere
        with self._m.If(self._on[self._number[name]]):
            self.go(name)
            yield

    def go(self, name: str) -> None:
        self._m.d.comb += self._next[-1].eq(1 << self._number[name])
