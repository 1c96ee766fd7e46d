"""Residual networks in PyTorch: ResNet, ResNeXt, Wide ResNet, pre-activation, stochastic depth."""
from torch import Tensor, nn
import torch.nn.functional as F

__all__ = ["PreactResNet", "ResNet", "StochasticResNet", "WideResNet"]


# Scale of the last normalisation of a branch that is added, as training leaves it: where branches count as much as what they are
# added to, 152 random layers make a ten-thousandth of float32's rounding, whoever computes them.
BRANCH = 0.1, 0.4


def _norm_conv(before: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, out, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(out))


class Basic(nn.Module):
    """Two 3x3 convolutions."""

    def __init__(self, before: int, out: int, stride: int):
        super().__init__()
        self.conv1, self.conv2 = _norm_conv(before, out, 3, stride), _norm_conv(out, out, 3)
        nn.init.uniform_(self.conv2[1].weight, *BRANCH)
        self.downsample = _norm_conv(before, out, 1, stride) if stride != 1 or before != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; the stride is the 3x3's."""

    def __init__(self, before: int, width: int, out: int, stride: int, groups: int):
        super().__init__()
        self.conv1, self.conv2 = _norm_conv(before, width, 1), _norm_conv(width, width, 3, stride, groups)
        self.conv3 = _norm_conv(width, out, 1)
        nn.init.uniform_(self.conv3[1].weight, *BRANCH)
        self.downsample = _norm_conv(before, out, 1, stride) if stride != 1 or before != out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        y += self.downsample(x)
        return F.relu(y)


class ResNet(nn.Module):
    """`blocks` in each of four stages; ResNeXt by `groups` of `group_width` channels, Wide ResNet by a `group_width` of 128."""

    def __init__(self, blocks: tuple[int, ...], *, bottleneck: bool = True, groups: int = 1, group_width: int = 64,
                 classes: int = 1000):
        super().__init__()
        self.stem = nn.Sequential(_norm_conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))
        layers, before = [], 64
        for stage, count in enumerate(blocks):
            planes = 64 << stage
            out = planes * (4 if bottleneck else 1)
            for n in range(count):
                stride = 2 if stage and not n else 1
                layers.append(Bottleneck(before, planes * group_width // 64 * groups, out, stride, groups) if bottleneck
                              else Basic(before, out, stride))
                before = out
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.adaptive_avg_pool2d(self.layers(self.stem(x)), 1).flatten(1))


class Preact(nn.Module):
    """Batch normalisation and ReLU before each convolution."""

    def __init__(self, before: int, planes: int, out: int, stride: int, bottleneck: bool):
        super().__init__()
        shapes = ((before, planes, 1, 1), (planes, planes, 3, stride), (planes, out, 1, 1)) if bottleneck else (
            (before, planes, 3, stride), (planes, out, 3, 1))
        self.norms = nn.ModuleList(nn.BatchNorm2d(shape[0]) for shape in shapes)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False) for a, b, kernel, step in shapes)
        self.downsample = nn.Conv2d(before, out, 1, stride, bias=False) if stride != 1 or before != out else None

    def forward(self, x: Tensor) -> Tensor:
        ready = y = F.relu(self.norms[0](x))
        y = self.convs[0](y)
        for norm, conv in zip(self.norms[1:], self.convs[1:], strict=True):
            y = conv(F.relu(norm(y)))
        return y + (x if self.downsample is None else self.downsample(ready))


class PreactResNet(nn.Module):
    """For ImageNet."""

    def __init__(self, blocks: tuple[int, ...], *, bottleneck: bool, classes: int = 1000):
        super().__init__()
        self.stem = nn.Sequential(_norm_conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        layers, before = [], 64
        for stage, count in enumerate(blocks):
            out = (64 << stage) * (4 if bottleneck else 1)
            for n in range(count):
                layers.append(Preact(before, 64 << stage, out, 2 if stage and not n else 1, bottleneck))
                before = out
        self.layers, self.norm, self.fc = nn.Sequential(*layers), nn.BatchNorm2d(before), nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.layers(self.stem(x))))
        return self.fc(x.mean((2, 3)))


class WideResNet(nn.Module):
    """WRN-`depth`-`width` for CIFAR."""

    def __init__(self, depth: int, width: int, classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        layers, before = [], 16
        for stage in range(3):
            out = (16 << stage) * width
            for n in range((depth - 4) // 6):
                layers.append(Preact(before, out, out, 2 if stage and not n else 1, False))
                before = out
        self.layers, self.norm, self.fc = nn.Sequential(*layers), nn.BatchNorm2d(before), nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(F.relu(self.norm(self.layers(self.conv1(x)))), 8)
        return self.fc(x.view(-1, x.shape[1]))


class Surviving(nn.Module):
    """A block whose residual branch counts with its survival probability; `shortcut`: "conv", or "pad" for every second pixel
    with zero channels behind."""

    def __init__(self, before: int, out: int, stride: int, survival: float, shortcut: str):
        super().__init__()
        self.conv1, self.conv2 = _norm_conv(before, out, 3, stride), _norm_conv(out, out, 3)
        self.survival, self.stride, self.missing = survival, stride, out - before
        self.downsample = _norm_conv(before, out, 1, stride) if before != out and shortcut == "conv" else None

    def _around(self, x: Tensor) -> Tensor:
        if self.downsample is not None:
            return self.downsample(x)
        if not self.missing:
            return x
        return F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, 0, self.missing))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self._around(x) + self.survival * self.conv2(F.relu(self.conv1(x))))


class StochasticResNet(nn.Module):
    """CIFAR ResNet-`depth` as it is after training with stochastic depth; of a `survival` of 1, as it always is."""

    def __init__(self, depth: int = 110, shortcut: str = "conv", survival: float = 0.5, classes: int = 10, colours: int = 3):
        super().__init__()
        self.stem = nn.Sequential(_norm_conv(colours, 16, 3), nn.ReLU())
        layers, before, count = [], 16, (depth - 2) // 6
        for stage in range(3):
            for n in range(count):
                kept = 1 - (stage * count + n + 1) / (3 * count) * (1 - survival)
                layers.append(Surviving(before, 16 << stage, 2 if stage and not n else 1, kept, shortcut))
                before = 16 << stage
        self.layers, self.fc = nn.Sequential(*layers), nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.stem(x))
        return self.fc(F.avg_pool2d(x, int(x.shape[-1])).flatten(1))
