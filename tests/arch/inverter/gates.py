"""The inverter."""
from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from arch.unit.invert import InvertConfig

from hw.parts.layout import record_layout, vector_layout

__all__ = ["UNIT", "Invert"]


class Invert(wiring.Component):
    """Passes vectors on in the same cycle, inverted if `InvertConfig` says so; a command when the one before is through."""

    def __init__(self, geometry):
        vector = vector_layout(geometry.output_lanes)
        super().__init__({"command": In(stream.Signature(record_layout(InvertConfig))), "i": In(stream.Signature(vector)),
                          "o": Out(stream.Signature(vector))})

    @staticmethod
    def block_rams(geometry):
        return 0

    @staticmethod
    def cells(geometry):
        return {"lut4": 8 * geometry.output_lanes + 40, "ff": 40}

    def elaborate(self, platform):
        m = Module()
        config, value = Signal(record_layout(InvertConfig)), self.i.payload.as_value()
        runs = config.vectors != 0
        m.d.comb += [self.command.ready.eq(~runs), self.o.valid.eq(runs & self.i.valid), self.i.ready.eq(runs & self.o.ready),
                     self.o.payload.as_value().eq(value ^ config.enable.replicate(len(value)))]
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += config.eq(self.command.payload)
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += config.vectors.eq(config.vectors - 1)
        return m


UNIT = Invert
