"""The size of an engine: one small record that compiler, reference, generator and host share."""
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
import hashlib
import json

__all__ = ["Geometry", "OPTION_WORDS", "PRESETS"]

# Of parameters, that options have for constants of their own; the others have none.
OPTION_WORDS = {"depthwise": 1536, "lrn": 512, "table": 256}


# Weight words at most beside options with memories of their own.
_MOST_WEIGHTS = {("depthwise",): 4096, ("depthwise", "lrn"): 4096, ("lrn", "table"): 4096, ("depthwise", "table"): 3584,
                 ("depthwise", "lrn", "table"): 3072, ("decoder", "table"): 4096, ("decoder", "depthwise", "table"): 3072}


def _check(name: str, value, low: int, high: int, multiple: int = 1):
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high or value % multiple:
        rule = f"{low}..{high}" + (f" and a multiple of {multiple}" if multiple > 1 else "")
        raise ValueError(f"{name} must be {rule}, not {value}")


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Lanes and memories of an engine. Raises TypeError or ValueError for values outside the ranges given here.

    Parameters:
    - `input_lanes` (PI): input channels taken a cycle, 4..16, a multiple of `output_lanes`; PI / PO must be a power of two. With
      the decoder 4, 8 or 16.
    - `output_lanes` (PO): output channels made a cycle, 2..16, even.
    - `lut_pairs`: column pairs (of PO / 2) whose multipliers are made of LUTs instead of MULT18X18D, the last ones.
    - `requantise_multipliers`: one MULT18X18D per requantising lane; otherwise LUTs.
    - `activation_words`: activation memory in words of PI bytes, 512..32768, a multiple of 512.
    - `weight_words`: weight memory in words of PI pairs of weights, 512..16384, a multiple of 512.
    - `parameter_words`: parameter memory in pairs of output channels, 512..8192, a multiple of 512.
    - `band_pixels`: output pixels of a command at most, the depth of each column's partial sums, 64..512, a multiple of 64.
    - `pool_words`: places of the pool's line memory (one per output block and pooled column), 512..2048, a multiple of 512.
    - `fifo_words`: requantised vectors that wait for the pool, 32..512, a multiple of 16.
    - `line_pixels`: pixels of an image row that the gather's line buffers hold, 512..2048, a multiple of 512.
    - `depthwise_words`: places of the depthwise convolution's line memory (one per output block and column), 512..2048, a
      multiple of 512; of no meaning without it.
    - `decoder_lanes`: symbols that the decoder of compressed weights decodes a cycle, 2 or 4; of no meaning without it.
    - `options`: names of the options of `arch.units` that the engine has, in alphabetical order.
    """

    input_lanes: int
    output_lanes: int
    lut_pairs: int = 0
    requantise_multipliers: bool = True
    activation_words: int
    weight_words: int
    parameter_words: int = 512
    band_pixels: int = 512
    pool_words: int = 512
    fifo_words: int = 64
    line_pixels: int = 512
    depthwise_words: int = 512
    decoder_lanes: int = 2
    options: tuple[str, ...] = ()

    def __post_init__(self):
        _check("output_lanes", self.output_lanes, 2, 16, 2)
        _check("input_lanes", self.input_lanes, 4, 16, self.output_lanes)
        if self.blocks_per_word & self.blocks_per_word - 1:
            raise ValueError(f"input_lanes must be output_lanes times a power of two, "
                             f"not {self.input_lanes} for {self.output_lanes} output lanes")
        if "decoder" in self.options and self.input_lanes not in (4, 8, 16):
            raise ValueError(f"input_lanes must be 4, 8 or 16 for the decoder, not {self.input_lanes}")
        _check("lut_pairs", self.lut_pairs, 0, self.pairs)
        if not isinstance(self.requantise_multipliers, bool):
            raise TypeError(f"requantise_multipliers must be a boolean, not {self.requantise_multipliers!r}")
        _check("activation_words", self.activation_words, 512, 32768, 512)
        _check("weight_words", self.weight_words, 512, 16384, 512)
        _check("parameter_words", self.parameter_words, 512, 8192, 512)
        _check("band_pixels", self.band_pixels, 64, 512, 64)
        _check("pool_words", self.pool_words, 512, 2048, 512)
        _check("fifo_words", self.fifo_words, 32, 512, 16)
        _check("line_pixels", self.line_pixels, 512, 2048, 512)
        _check("depthwise_words", self.depthwise_words, 512, 2048, 512)
        _check("decoder_lanes", self.decoder_lanes, 2, 4, 2)
        if not isinstance(self.options, tuple) or not all(isinstance(name, str) for name in self.options):
            raise TypeError(f"options must be a tuple of names, not {self.options!r}")
        if list(self.options) != sorted(set(self.options)):
            raise ValueError(f"options must be different names in alphabetical order, not {', '.join(self.options)}")

    @property
    def pairs(self) -> int:
        """Column pairs: two output channels share a multiplier, and a weight word serves one pair."""
        return self.output_lanes // 2

    @property
    def blocks_per_word(self) -> int:
        """Output blocks (of PO channels) in an activation word (of PI channels)."""
        return self.input_lanes // self.output_lanes

    @property
    def parameter_places(self) -> int:
        """Words that loads of parameters reach: those of the parameter memory, and behind them the optional units', see
        `option_words`."""
        return self.parameter_words + sum(OPTION_WORDS.get(name, 0) for name in self.options)

    def option_words(self, name: str) -> range:
        """Words of an option that the engine has, as loads of parameters count them: behind those of the ones before it."""
        before = self.options[:self.options.index(name)]
        first = self.parameter_words + sum(OPTION_WORDS.get(option, 0) for option in before)
        return range(first, first + OPTION_WORDS.get(name, 0))

    def with_options(self, names: Iterable[str]) -> "Geometry":
        """The same with these options beside those that it has, and the memories that go with them.

        Depthwise convolutions and normalisations take vectors more slowly than the last pass of a band makes them: all of these
        may wait, so that the array does not. The line memory of the former is as large as chips have room for, half as large in
        an engine of 16 lanes beside further units; the weight memory is at most what is then left of an 85F's block RAMs. The
        decoder of an engine of 16 lanes has four, others two.
        """
        found = replace(self, options=tuple(sorted({*self.options, *names})))
        if found == self:
            return self
        if not {"depthwise", "lrn"}.isdisjoint(found.options):
            found = replace(found, fifo_words=max(self.fifo_words, self.band_pixels))
        if "depthwise" in found.options:
            alone = set(found.options) <= {"carry", "depthwise"}
            found = replace(found, depthwise_words={8: 1024, 16: 2048 if alone else 1024}.get(self.output_lanes, 512))
        if "decoder" in found.options:
            found = replace(found, decoder_lanes=4 if self.output_lanes == 16 else 2)
        beside = [name for name in found.options if name in OPTION_WORDS]
        decoder = ["decoder"] if "decoder" in found.options else []
        most = [_MOST_WEIGHTS.get(tuple(names), self.weight_words) for names in (beside, decoder + beside)]
        return replace(found, weight_words=min(found.weight_words, *most))

    @property
    def macs(self) -> int:
        """Multiply-accumulates a cycle."""
        return self.input_lanes * self.output_lanes

    @property
    def multipliers(self) -> int:
        """MULT18X18D used."""
        return (self.pairs - self.lut_pairs) * self.input_lanes + self.output_lanes * self.requantise_multipliers

    def to_json(self) -> str:
        """Canonical JSON: keys sorted, no spaces, and no options if there are none, nor sizes of those that are not there: such
        engines are older than these."""
        values = asdict(self)
        if not self.options:
            del values["options"]
        if "depthwise" not in self.options:
            del values["depthwise_words"]
        if "decoder" not in self.options:
            del values["decoder_lanes"]
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Geometry":
        """Geometry from a JSON object with the parameters' names. Raises ValueError for unknown or missing names, TypeError
        for anything but an object."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"geometry must be JSON, not {text[:40]!r} ({error})") from None
        if not isinstance(values, dict):
            raise TypeError(f"geometry must be a JSON object, not {text[:40]!r}")
        names = {field.name for field in fields(cls)}
        if unknown := sorted(values.keys() - names):
            raise ValueError(f"geometry must hold only {', '.join(sorted(names))}, not {', '.join(unknown)}")
        required = {"input_lanes", "output_lanes", "activation_words", "weight_words"}
        if missing := sorted(required - values.keys()):
            raise ValueError(f"geometry must hold {', '.join(missing)}")
        if isinstance(values.get("options"), list):
            values["options"] = tuple(values["options"])
        return cls(**values)

    @property
    def digest(self) -> int:
        """First 64 bits of the SHA-256 of the canonical JSON. The engine shows it, the host compares it."""
        return int.from_bytes(hashlib.sha256(self.to_json().encode()).digest()[:8], "big")


# What gives most frames of SqueezeNet v1.1 a second, predicted, of what each chip has beside sequencer, SDRAM and link:
# 85F 208 block RAMs and 156 multipliers, 45F 108 and 72, 25F 56 and 28. 8x8 lanes on a 25F would need a pair on lookup tables,
# and more of those than there are. That of the 12F is the same engine with less memory, for boards whose storage is block RAM.
PRESETS = {
    "85f": Geometry(input_lanes=16, output_lanes=16, activation_words=8192, weight_words=5120),
    "45f": Geometry(input_lanes=16, output_lanes=8, activation_words=6144, weight_words=1024),
    "25f": Geometry(input_lanes=8, output_lanes=4, activation_words=4096, weight_words=1024),
    "12f": Geometry(input_lanes=8, output_lanes=4, activation_words=2048, weight_words=1024),
}
