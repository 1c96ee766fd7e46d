"""AlexNet and VGG, as torchvision writes them, in PyTorch."""
from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["VGG", "AlexNet"]


class _Connected(nn.Module):
    """Features, pooled to `side` x `side` positions, and three fully connected layers."""

    def __init__(self, features: Sequence[nn.Module], channels: int, side: int, classes: int):
        super().__init__()
        self.features, self.avgpool = nn.Sequential(*features), nn.AdaptiveAvgPool2d((side, side))
        self.classifier = nn.Sequential(
            nn.Linear(channels * side * side, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(4096, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class AlexNet(_Connected):
    """Of one tower, without normalisation."""

    def __init__(self, classes: int = 1000):
        layers: list[nn.Module] = []
        before = 3
        for out, kernel, stride, padding in ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)):
            layers += [nn.Conv2d(before, out, kernel, stride, padding), nn.ReLU(inplace=True)]
            before = out
        pool = nn.MaxPool2d(3, 2)
        super().__init__([*layers[:2], pool, *layers[2:4], pool, *layers[4:], pool], before, 6, classes)


class VGG(_Connected):
    """So many 3x3 convolutions in each of five stages."""

    def __init__(self, convolutions: tuple[int, ...], classes: int = 1000):
        layers: list[nn.Module] = []
        before = 3
        for count, out in zip(convolutions, (64, 128, 256, 512, 512), strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(before, out, 3, padding=1), nn.ReLU(inplace=True)]
                before = out
            layers.append(nn.MaxPool2d(2, 2))
        super().__init__(layers, before, 7, classes)
