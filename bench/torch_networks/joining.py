"""Networks whose branches meet again, in PyTorch: DenseNet, FractalNet, GoogLeNet."""
from collections.abc import Callable

import torch
from torch import Tensor, nn
import torch.nn.functional as F

__all__ = ["DenseNet", "FractalNet", "GoogLeNet", "GoogLeNetBN"]


class DenseLayer(nn.Module):
    """Adds `growth` channels to what it reads."""

    def __init__(self, before: int, growth: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(before), nn.Conv2d(before, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        y = self.conv1(F.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(F.relu(self.norm2(y)))


class DenseBlock(nn.Module):
    """Every layer reads what all before it made."""

    def __init__(self, before: int, count: int, growth: int):
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(before + n * growth, growth) for n in range(count))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return torch.cat(features, 1)


class DenseNet(nn.Module):
    """DenseNet-BC for ImageNet, or, `small`, for images of 32x32 and below."""

    def __init__(self, blocks: tuple[int, ...], growth: int = 32, classes: int = 1000, colours: int = 3, small: bool = False):
        super().__init__()
        before = 2 * growth
        layers: list[nn.Module] = [nn.Conv2d(colours, before, 3, padding=1, bias=False)] if small else [
            nn.Conv2d(colours, before, 7, 2, 3, bias=False), nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
        for number, count in enumerate(blocks, 1):
            layers.append(DenseBlock(before, count, growth))
            before += count * growth
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
            if number < len(blocks):
                layers += [nn.Conv2d(before, before // 2, 1, bias=False), nn.AvgPool2d(2, 2)]
                before //= 2
        self.features, self.classifier = nn.Sequential(*layers), nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(self.features(x), (1, 1)), 1))


def _conv(before: int, out: int, kernel: int, **how: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, out, kernel, bias=False, **how), nn.BatchNorm2d(out, eps=0.001),
                         nn.ReLU(inplace=True))


class FractalNet(nn.Module):
    """The paper's network for CIFAR. `join`: how the mean of columns is written, "sum" (and scale), "stack" (and mean), or
    "mean" (of sums, divided)."""

    WIDTHS = 64, 128, 256, 512, 512

    def __init__(self, columns: int = 3, join: str = "sum", classes: int = 10):
        super().__init__()
        self.columns, self.join = columns, join
        self.blocks, before = nn.ModuleList(), 3
        for width in self.WIDTHS:
            rows = 1 << columns - 1
            self.blocks.append(nn.ModuleDict({
                f"{row}-{column}": _conv(before if row == rows >> column else width, width, 3, padding=1)
                for row in range(1, rows + 1) for column in self._ending(row)}))
            before = width
        self.fc = nn.Linear(before, classes)

    def _ending(self, row: int) -> list[int]:
        return [column for column in range(self.columns) if row % ((1 << self.columns - 1) >> column) == 0]

    def _joined(self, tensors: list[Tensor]) -> Tensor:
        match self.join:
            case "sum":
                return sum(tensors[1:], tensors[0]) * (1 / len(tensors))
            case "stack":
                return torch.stack(tensors).mean(dim=0)
        return sum(tensors[1:], tensors[0]) / len(tensors)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            heads = [x] * self.columns
            for row in range(1, (1 << self.columns - 1) + 1):
                ending = self._ending(row)
                made = [block[f"{row}-{column}"](heads[column]) for column in ending]
                joined = self._joined(made) if len(made) > 1 else made[0]
                for column in ending:
                    heads[column] = joined
            x = F.max_pool2d(heads[0], 2)
        return self.fc(x.squeeze(-1).squeeze(-1))


def _plain(before: int, out: int, kernel: int, **how: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, out, kernel, **how), nn.ReLU(inplace=True))


class Inception(nn.Module):
    """Four branches side by side, of convolutions that `conv` makes; the third one has a kernel of `side`."""

    def __init__(self, conv: Callable[..., nn.Module], side: int, before: int, one: int, three_reduced: int, three: int,
                 five_reduced: int, five: int, pooled: int):
        super().__init__()
        self.branch1 = conv(before, one, 1)
        self.branch2 = nn.Sequential(conv(before, three_reduced, 1), conv(three_reduced, three, 3, padding=1))
        self.branch3 = nn.Sequential(conv(before, five_reduced, 1), conv(five_reduced, five, side, padding=side // 2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(before, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


def _inceptions(conv: Callable[..., nn.Module], side: int, last_pool: int) -> list[nn.Module]:
    """The nine modules and the two pools between them, the second one of `last_pool` x `last_pool`."""
    return [Inception(conv, side, 192, 64, 96, 128, 16, 32, 32), Inception(conv, side, 256, 128, 128, 192, 32, 96, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Inception(conv, side, 480, 192, 96, 208, 16, 48, 64), Inception(conv, side, 512, 160, 112, 224, 24, 64, 64),
            Inception(conv, side, 512, 128, 128, 256, 24, 64, 64), Inception(conv, side, 512, 112, 144, 288, 32, 64, 64),
            Inception(conv, side, 528, 256, 160, 320, 32, 128, 128), nn.MaxPool2d(last_pool, 2, ceil_mode=True),
            Inception(conv, side, 832, 256, 160, 320, 32, 128, 128), Inception(conv, side, 832, 384, 192, 384, 48, 128, 128)]


class GoogLeNet(nn.Module):
    """That of 2014, with normalisations of neighbouring channels; pools in ceil mode."""

    def __init__(self, classes: int = 1000):
        super().__init__()
        self.features = nn.Sequential(
            _plain(3, 64, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, ceil_mode=True), nn.LocalResponseNorm(5),
            _plain(64, 64, 1), _plain(64, 192, 3, padding=1), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2, ceil_mode=True),
            *_inceptions(_plain, 5, 3))
        self.classifier = nn.Sequential(nn.AvgPool2d(7), nn.Flatten(), nn.Dropout(0.4), nn.Linear(1024, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class GoogLeNetBN(nn.Module):
    """With batch normalisation and pools in ceil mode. `transform_input`: the image is normalised anew by channel first."""

    def __init__(self, transform_input: bool = False, classes: int = 1000):
        super().__init__()
        self.transform_input = transform_input
        self.features = nn.Sequential(
            _conv(3, 64, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, ceil_mode=True), _conv(64, 64, 1),
            _conv(64, 192, 3, padding=1), nn.MaxPool2d(3, 2, ceil_mode=True), *_inceptions(_conv, 3, 2))
        self.dropout, self.fc = nn.Dropout(0.2), nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        if self.transform_input:
            planes = [torch.unsqueeze(x[:, n], 1) * (std / 0.5) + (mean - 0.5) / 0.5
                      for n, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225)))]
            x = torch.cat(planes, 1)
        x = torch.flatten(F.adaptive_avg_pool2d(self.features(x), (1, 1)), 1)
        return self.fc(self.dropout(x))
