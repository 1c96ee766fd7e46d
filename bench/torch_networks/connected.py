"""AlexNet of 2012, ZFNet, and AlexNet and VGG as torchvision writes them, in PyTorch."""
from collections.abc import Sequence

import torch
from torch import Tensor, nn
import torch.nn.functional as F

__all__ = ["VGG", "AlexNet", "AlexNet2012", "ZFNet"]


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


class AlexNet2012(nn.Module):
    """Of two towers that meet in the third convolution, with normalisations of neighbouring channels before the first two pools;
    the mean of squares is taken, so alpha is five times the paper's."""

    def __init__(self, classes: int = 1000):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 96, 11, 4, 2), nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3, self.conv4 = nn.Conv2d(256, 384, 3, padding=1), nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6, self.fc7, self.fc8 = nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, classes)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        for conv in (self.conv1, self.conv2):
            x = F.max_pool2d(F.local_response_norm(F.relu(conv(x)), 5, alpha=5e-4, beta=0.75, k=2.0), 3, 2)
        for conv in (self.conv3, self.conv4, self.conv5):
            x = F.relu(conv(x))
        x = F.max_pool2d(x, 3, 2)
        x = x.view(x.size(0), -1)
        for linear in (self.fc6, self.fc7):
            x = self.dropout(F.relu(linear(x)))
        return self.fc8(x)


class ZFNet(nn.Module):
    """With normalisations of neighbouring channels behind the first two pools, which are in ceil mode."""

    def __init__(self, classes: int = 1000):
        super().__init__()
        layers: list[nn.Module] = []
        for conv in (nn.Conv2d(3, 96, 7, 2, 1), nn.Conv2d(96, 256, 5, 2)):
            layers += [conv, nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), nn.LocalResponseNorm(5)]
        for before, out in ((256, 384), (384, 384), (384, 256)):
            layers += [nn.Conv2d(before, out, 3, padding=1), nn.ReLU()]
        self.net = nn.Sequential(
            *layers, nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, 4096),
            nn.ReLU(), nn.Dropout(0.5), nn.Linear(4096, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


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
