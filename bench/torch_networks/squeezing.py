"""SqueezeNet with additions, Network in Network and LeNet-5 in PyTorch."""
from collections.abc import Callable

import torch
from torch import Tensor, nn
import torch.nn.functional as F

__all__ = ["LeNet5", "NiN", "NiNCifar", "SqueezeNet"]


class Fire(nn.Module):
    """A Fire module; `bypass`: "", "simple", or "complex" (a 1x1 convolution where channels change)."""

    def __init__(self, before: int, squeeze: int, expand: int, bypass: str):
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeeze, 1)
        self.expand1x1, self.expand3x3 = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)
        self.same = bool(bypass) and before == 2 * expand
        self.around = nn.Conv2d(before, 2 * expand, 1) if bypass == "complex" and not self.same else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.squeeze(x))
        y = torch.cat([F.relu(self.expand1x1(y)), F.relu(self.expand3x3(y))], dim=1)
        if self.around is not None:
            return y + self.around(x)
        return y + x if self.same else y


class SqueezeNet(nn.Module):
    """Version 1.0."""

    def __init__(self, bypass: str = "", classes: int = 1000):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 96, 7, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, ceil_mode=True)]
        before = 96
        for n in range(8):
            squeeze = 16 * (n // 2 + 1)
            layers.append(Fire(before, squeeze, 4 * squeeze, bypass))
            before = 8 * squeeze
            if n in (2, 6):
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(before, classes, 1), nn.ReLU(inplace=True),
                                        nn.AdaptiveAvgPool2d((1, 1)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


def _mlpconv(before: int, channels: tuple[int, int, int], kernel: int, **how: int) -> list[nn.Module]:
    first, second, third = channels
    return [nn.Conv2d(before, first, kernel, **how), nn.ReLU(), nn.Conv2d(first, second, 1), nn.ReLU(),
            nn.Conv2d(second, third, 1), nn.ReLU()]


class NiN(nn.Module):
    """For ImageNet."""

    def __init__(self, classes: int = 1000):
        super().__init__()
        self.features = nn.Sequential(
            *_mlpconv(3, (96, 96, 96), 11, stride=4), nn.MaxPool2d(3, 2),
            *_mlpconv(96, (256, 256, 256), 5, padding=2), nn.MaxPool2d(3, 2),
            *_mlpconv(256, (384, 384, 384), 3, padding=1), nn.MaxPool2d(3, 2), nn.Dropout(0.5),
            *_mlpconv(384, (1024, 1024, classes), 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).mean([2, 3])


class NiNCifar(nn.Module):
    """For CIFAR; its second pool is an average, and so is the one as large as the map."""

    def __init__(self, classes: int = 10):
        super().__init__()
        self.features = nn.Sequential(
            *_mlpconv(3, (192, 160, 96), 5, padding=2), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Dropout(0.5),
            *_mlpconv(96, (192, 192, 192), 5, padding=2), nn.AvgPool2d(3, 2, ceil_mode=True), nn.Dropout(0.5),
            *_mlpconv(192, (192, 192, classes), 3, padding=1), nn.AvgPool2d(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return x.view(x.size(0), -1)


def scaled_tanh(x: Tensor) -> Tensor:
    """The activation of LeNet-5 in 1998."""
    return 1.7159 * torch.tanh(2 / 3 * x)


class LeNet5(nn.Module):
    """All maps connected in C3; `size` 32, or 28 with padding; the activation of 1998, or another."""

    def __init__(self, size: int = 32, classes: int = 10, *, activation: Callable[[Tensor], Tensor] = scaled_tanh):
        super().__init__()
        self.activation = activation
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=(32 - size) // 2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(self.activation(self.conv1(x)), 2)
        x = F.avg_pool2d(self.activation(self.conv2(x)), 2)
        x = x.reshape(x.size(0), 16 * 5 * 5)
        return self.fc3(self.activation(self.fc2(self.activation(self.fc1(x)))))
