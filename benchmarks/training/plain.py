"""The baseline: training as a public script writes it. A DataLoader, a module, Adam as it comes, `loss.item()`.

Written to be fair: the same model, initialisation and loss as `training`, PyTorch's defaults where a script has them
(Adam, threads, no loader processes on a CPU), and no work a reader would call wasteful. What a row is made of decides a
third of it, so there are two loops: from `ImageRows`, as published scripts have it, and from float32 rows in a
TensorDataset, which is as fast as a DataLoader gets and few scripts do.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset


class PlainVae(nn.Module):
    """Straight-through Gumbel-softmax over bits (`num_categories` 2) or categories; fully connected."""

    def __init__(self, mean: Tensor, hidden: tuple[int, ...], num_latents: int, num_categories: int) -> None:
        super().__init__()
        self.num_latents, self.num_categories = num_latents, num_categories
        num_code = num_latents if num_categories == 2 else num_latents * num_categories
        self.register_buffer("mean", mean)
        self.encoder = _mlp(len(mean), *hidden, num_code)
        self.decoder = _mlp(num_code, *reversed(hidden), len(mean))
        with torch.no_grad():
            self.decoder[-1].bias.copy_(torch.logit(mean.clamp(1e-3, 1 - 1e-3)))

    def forward(self, x: Tensor, tau: float) -> Tensor:
        """-ELBO of each row, from one discrete sample."""
        logits = self.encoder(x - self.mean)
        if self.num_categories == 2:
            u = torch.rand_like(logits).clamp(1e-7, 1 - 1e-7)
            soft = torch.sigmoid((logits + torch.log(u) - torch.log(1 - u)) / tau)
            code = (soft > 0.5).float() - soft.detach() + soft
            outputs = self.decoder(2 * code - 1)
            kl = torch.sigmoid(logits) * logits - F.softplus(logits) + F.softplus(torch.zeros_like(logits))
        else:
            logits = logits.view(-1, self.num_latents, self.num_categories)
            code = F.gumbel_softmax(logits, tau=tau, hard=True)
            outputs = self.decoder(code.flatten(1))
            log_q = F.log_softmax(logits, dim=-1)
            kl = (log_q.exp() * (log_q + torch.log(torch.tensor(float(self.num_categories))))).sum(-1)
        reconstruction = F.binary_cross_entropy_with_logits(outputs, x, reduction="none").sum(-1)
        return reconstruction + kl.sum(-1)


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class ImageRows(Dataset[tuple[Tensor, int]]):
    """Each row an image with its class, made a tensor when it is asked for: what `torchvision.datasets.MNIST` and its
    `ToTensor` do, which published scripts train from (`pytorch/examples:vae/main.py` for one).

    Written from their description, step by step, because torchvision is not installed here: a row of bytes becomes a
    Pillow image, that an array, that a tensor [1, 28, 28] of floats in [0, 1]. The bits are grey values 0 and 255.
    """

    def __init__(self, values: NDArray[np.uint8]) -> None:
        self.images = torch.from_numpy(values.reshape(-1, 28, 28) * np.uint8(255))
        self.classes = torch.zeros(len(values), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image, label = Image.fromarray(self.images[row].numpy()), int(self.classes[row])
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
        pixels = pixels.view(image.size[1], image.size[0], 1).permute(2, 0, 1).contiguous()
        return pixels.float().div(255), label


class PlainLoop:
    """`step()` takes one step; epochs follow each other without end."""

    def __init__(
        self,
        rows: Dataset[tuple[Tensor, ...]] | Dataset[tuple[Tensor, int]],
        mean: Tensor,
        *,
        hidden: tuple[int, ...],
        num_latents: int,
        num_categories: int,
        batch_size: int,
        learning_rate: float,
        device: torch.device,
        num_workers: int,
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self.model = PlainVae(mean, hidden, num_latents, num_categories).to(device)
        self.device = device
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=learning_rate)
        self.loader = DataLoader(
            rows,
            batch_size=batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=device.type == "cuda",
        )
        self.batches = self._epochs()
        self.num_steps = 0
        self.total = 0.0

    def _epochs(self) -> Iterator[Tensor]:
        while True:
            for x, *_ in self.loader:
                yield x.view(len(x), -1)

    def step(self, tau: float) -> None:
        x = next(self.batches).to(self.device, non_blocking=True)
        self.optimizer.zero_grad()
        loss = self.model(x, tau).mean()
        loss.backward()
        self.optimizer.step()
        self.total += loss.item()
        self.num_steps += 1

    @torch.no_grad()
    def validation(self, rows: Tensor) -> float:
        """-ELBO in nats a row, one discrete sample each."""
        return float(torch.cat([self.model(x.to(self.device), 0.5) for x in rows.split(1000)]).double().mean())
