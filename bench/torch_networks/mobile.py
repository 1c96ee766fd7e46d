"""Networks of depthwise and grouped convolutions in PyTorch: MobileNets, ShuffleNets."""
import torch
from torch import Tensor, nn
import torch.nn.functional as F

__all__ = ["MobileNetV1", "MobileNetV2", "ShuffleNetV1", "ShuffleNetV2"]


def _divisible(channels: float) -> int:
    found = max(8, int(channels + 4) // 8 * 8)
    return found + 8 if found < 0.9 * channels else found


def _conv(before: int, out: int, kernel: int, stride: int = 1, groups: int = 1,
          activation: type[nn.Module] | None = nn.ReLU6) -> nn.Sequential:
    layers = [nn.Conv2d(before, out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation else []))


class MobileNetV1(nn.Module):
    """Depthwise separable convolutions; `width` scales all channels."""

    def __init__(self, width: float = 1.0, classes: int = 1000):
        super().__init__()
        before = _divisible(32 * width)
        layers = [_conv(3, before, 3, 2)]
        for out, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)):
            out = _divisible(out * width)
            layers += [_conv(before, before, 3, stride, before), _conv(before, out, 1)]
            before = out
        self.features, self.fc = nn.Sequential(*layers), nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.fc(F.avg_pool2d(x, int(x.shape[-1])).flatten(1))


class InvertedResidual(nn.Module):
    """1x1 up, depthwise, 1x1 down."""

    def __init__(self, before: int, out: int, stride: int, expansion: int):
        super().__init__()
        hidden = before * expansion
        self.added = stride == 1 and before == out
        self.conv = nn.Sequential(*([_conv(before, hidden, 1)] if expansion > 1 else []),
                                  _conv(hidden, hidden, 3, stride, hidden), _conv(hidden, out, 1, activation=None))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.added else self.conv(x)


class MobileNetV2(nn.Module):
    """`width` scales all channels; `small`, for images of 32x32 and below: the first two strides are 1."""

    def __init__(self, width: float = 1.0, classes: int = 1000, colours: int = 3, small: bool = False):
        super().__init__()
        before, first = _divisible(32 * width), 1 if small else 2
        layers: list[nn.Module] = [_conv(colours, before, 3, first)]
        for expansion, channels, count, stride in ((1, 16, 1, 1), (6, 24, 2, first), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                                                   (6, 160, 3, 2), (6, 320, 1, 1)):
            for n in range(count):
                out = _divisible(channels * width)
                layers.append(InvertedResidual(before, out, 1 if n else stride, expansion))
                before = out
        last = _divisible(1280 * max(1.0, width))
        self.features = nn.Sequential(*layers, _conv(before, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


def shuffle(x: Tensor, groups: int) -> Tensor:
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    return torch.transpose(x, 1, 2).contiguous().view(batch, -1, height, width)


class ShuffleUnitV1(nn.Module):
    """Grouped 1x1 convolutions with a shuffle between them."""

    def __init__(self, before: int, out: int, groups: int, stride: int, first: bool):
        super().__init__()
        self.groups, self.stride, middle = groups, stride, out // 4
        self.compress = _conv(before, middle, 1, groups=1 if first else groups, activation=nn.ReLU)
        self.depthwise = _conv(middle, middle, 3, stride, middle, activation=None)
        self.expand = _conv(middle, out - before if stride == 2 else out, 1, groups=groups, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(self.depthwise(shuffle(self.compress(x), self.groups)))
        return F.relu(torch.cat([F.avg_pool2d(x, 3, 2, 1), y], 1) if self.stride == 2 else x + y)


class ShuffleNetV1(nn.Module):
    """With three groups."""

    def __init__(self, classes: int = 1000):
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 24, 3, 2, activation=nn.ReLU), nn.MaxPool2d(3, 2, 1))
        units, before = [], 24
        for stage, (out, count) in enumerate(((240, 4), (480, 8), (960, 4))):
            for n in range(count):
                units.append(ShuffleUnitV1(before, out, 3, 1 if n else 2, stage == n == 0))
                before = out
        self.units, self.fc = nn.Sequential(*units), nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.units(self.stem(x)), 1)
        return self.fc(x.view(x.size(0), -1))


class ShuffleUnitV2(nn.Module):
    """Half of the channels passes by; with a stride, both branches read all of them."""

    def __init__(self, before: int, out: int, stride: int):
        super().__init__()
        half = out // 2
        self.branch1 = nn.Sequential(_conv(before, before, 3, stride, before, activation=None),
                                     _conv(before, half, 1, activation=nn.ReLU)) if stride > 1 else None
        self.branch2 = nn.Sequential(_conv(before if stride > 1 else half, half, 1, activation=nn.ReLU),
                                     _conv(half, half, 3, stride, half, activation=None),
                                     _conv(half, half, 1, activation=nn.ReLU))

    def forward(self, x: Tensor) -> Tensor:
        if self.branch1 is None:
            around, through = x.chunk(2, dim=1)
            return shuffle(torch.cat((around, self.branch2(through)), dim=1), 2)
        return shuffle(torch.cat((self.branch1(x), self.branch2(x)), dim=1), 2)


class ShuffleNetV2(nn.Module):
    """`channels` of the three stages."""

    def __init__(self, channels: tuple[int, int, int] = (116, 232, 464), last: int = 1024, classes: int = 1000):
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 24, 3, 2, activation=nn.ReLU), nn.MaxPool2d(3, 2, 1))
        units, before = [], 24
        for out, count in zip(channels, (4, 8, 4), strict=True):
            for n in range(count):
                units.append(ShuffleUnitV2(before, out, 1 if n else 2))
                before = out
        self.units, self.last = nn.Sequential(*units), _conv(before, last, 1, activation=nn.ReLU)
        self.fc = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.last(self.units(self.stem(x))).mean([2, 3]))
