"""Every network of the zoo by name: its builder, the options it takes, and what it reads."""
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial

from nets.graph import Graph
from nets.zoo.alexnet import alexnet, alexnet_torchvision, zfnet
from nets.zoo.densenet import densenet
from nets.zoo.fractalnet import fractalnet
from nets.zoo.googlenet import googlenet, googlenet_bn
from nets.zoo.lenet import lenet5
from nets.zoo.mobilenet import mobilenet_v1, mobilenet_v2
from nets.zoo.nin import nin, nin_cifar
from nets.zoo.resnet import preact_resnet, resnet, stochastic_resnet, wide_resnet
from nets.zoo.shufflenet import shufflenet_v1, shufflenet_v2
from nets.zoo.squeezenet import V1_0, V1_1, Bypass, SqueezeNetConfig, squeezenet
from nets.zoo.vgg import vgg

__all__ = ["COMMON", "FAMILIES", "SQUEEZENET_OPTIONS", "Family", "Option"]

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Option:
    """An option of a name, as in `NAME:option=value`: what it means, and how its text is read (ValueError where it cannot be)."""

    meaning: str
    parse: Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A builder, `build(name, shape, classes, **options)`, and its usual input and classes. It raises ValueError or TypeError
    for options with which there is no network."""

    build: Callable[..., Graph]
    shape: Shape = (3, 224, 224)
    classes: int = 1000
    options: Mapping[str, Option] = field(default_factory=dict)


def _natural(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError(text)
    return value


def _size(text: str) -> tuple[int, int]:
    height, x, width = text.partition("x")
    return _natural(height), _natural(width if x else height)


def _one_of(*names: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text
    return parse


def _flag(text: str) -> bool:
    return bool(("0", "1").index(text))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 16:
        raise ValueError(text)
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 0 < value <= 4096:
        raise ValueError(text)
    return value


COMMON = {
    "classes": Option("a number of classes, at least 1", _natural),
    "size": Option("an input size in pixels, such as 224 or 224x320", _size),
}
SQUEEZENET_OPTIONS = {
    "base_e": Option("expand channels of the first Fire modules", int),
    "incr_e": Option("expand channels added every freq modules", int),
    "pct3x3": Option("share of 3x3 among the expand channels", float),
    "freq": Option("modules between two increments", int),
    "sr": Option("squeeze ratio: squeeze channels over expand channels", float),
    "modules": Option("number of Fire modules", int),
    "bypass": Option("none, simple or complex", str),
    "pools": Option("layers followed by a pool, such as 1+4+8", lambda text: tuple(int(n) for n in text.split("+") if n)),
    "conv1_channels": Option("output channels of conv1", int),
    "conv1_kernel": Option("kernel size of conv1", int),
    "conv1_stride": Option("stride of conv1", int),
}
assert SQUEEZENET_OPTIONS.keys() <= {entry.name for entry in fields(SqueezeNetConfig)}
_WIDTH = {"width": Option("factor of all channels, such as 0.25", _positive)}
_GROWTH = {"growth": Option("channels that each dense layer adds", _count)}
CIFAR = {"shape": (3, 32, 32), "classes": 10}


def _squeezenet(base: SqueezeNetConfig) -> Family:
    def build(name: str, shape: Shape, classes: int, **options: object) -> Graph:
        return squeezenet(replace(base, input_shape=shape, classes=classes, **options), name=name)
    return Family(build=build, shape=base.input_shape, classes=base.classes, options=SQUEEZENET_OPTIONS)


def _resnet(*blocks: int, bottleneck: bool = True, build: Callable[..., Graph] = resnet, **how: int) -> Family:
    return Family(build=partial(build, blocks=blocks, bottleneck=bottleneck, **how))


FAMILIES: dict[str, Family] = {
    "squeezenet1_0": _squeezenet(V1_0),
    "squeezenet1_1": _squeezenet(V1_1),
    "squeezenet1_0_simple_bypass": _squeezenet(replace(V1_0, bypass=Bypass.SIMPLE)),
    "squeezenet1_0_complex_bypass": _squeezenet(replace(V1_0, bypass=Bypass.COMPLEX)),
    "alexnet": Family(build=alexnet),
    "alexnet_torchvision": Family(build=alexnet_torchvision),
    "zfnet": Family(build=zfnet),
    "vgg16": Family(build=partial(vgg, convolutions=(2, 2, 3, 3, 3))),
    "vgg19": Family(build=partial(vgg, convolutions=(2, 2, 4, 4, 4))),
    "resnet18": _resnet(2, 2, 2, 2, bottleneck=False),
    "resnet34": _resnet(3, 4, 6, 3, bottleneck=False),
    "resnet50": _resnet(3, 4, 6, 3),
    "resnet101": _resnet(3, 4, 23, 3),
    "resnet152": _resnet(3, 8, 36, 3),
    "preact_resnet18": _resnet(2, 2, 2, 2, bottleneck=False, build=preact_resnet),
    "preact_resnet50": _resnet(3, 4, 6, 3, build=preact_resnet),
    "wrn16_4": Family(build=partial(wide_resnet, depth=16, width=4), **CIFAR),
    "wide_resnet50_2": _resnet(3, 4, 6, 3, group_width=128),
    "resnext50_32x4d": _resnet(3, 4, 6, 3, groups=32, group_width=4),
    "resnet110_stochastic": Family(build=stochastic_resnet, **CIFAR, options={
        "shortcut": Option("conv or pad, where a block changes shape", _one_of("conv", "pad"))}),
    "fractalnet": Family(build=fractalnet, **CIFAR, options={"columns": Option("columns of each block", _count)}),
    "densenet121": Family(build=partial(densenet, blocks=(6, 12, 24, 16)), options=_GROWTH),
    "densenet169": Family(build=partial(densenet, blocks=(6, 12, 32, 32)), options=_GROWTH),
    "googlenet": Family(build=googlenet),
    "googlenet_bn": Family(build=googlenet_bn, options={
        "transform_input": Option("1: torchvision's own normalisation of the image first", _flag)}),
    "nin": Family(build=nin),
    "nin_cifar": Family(build=nin_cifar, **CIFAR),
    "mobilenet_v1": Family(build=mobilenet_v1, options=_WIDTH),
    "mobilenet_v2": Family(build=mobilenet_v2, options=_WIDTH),
    "shufflenet_v1": Family(build=shufflenet_v1, options={"groups": Option("1, 2, 3, 4 or 8", _count)}),
    "shufflenet_v2": Family(build=shufflenet_v2, options={
        "width": Option("factor of all channels: 0.5, 1.0, 1.5 or 2.0", _positive)}),
    "lenet5": Family(build=lenet5, shape=(1, 32, 32), classes=10, options={
        "activation": Option("tanh, scaled as in 1998, or relu", _one_of("tanh", "relu"))}),
}
