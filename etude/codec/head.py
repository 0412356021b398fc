"""What turns an encoder's channels into the envelope's latents: its LSTM and the rows of its last convolution.

Both are trained away from the encoder, on what comes before them, which is computed once: at 50 frames a second that
costs next to nothing. The LSTM adds to the spare channels only, so that the transform's latents stay what they were.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecLSTM

from etude.codec.weights import convolutions, write_filters

_TAPS = 7
_RIDGE = 10.0
_CLIPS = 32
_RATES = (3e-3, 3e-4)


class Head(nn.Module):
    """channels: of the encoder before its last convolution; kept: the first of them, which are not added to.

    width: of the latents that come out.
    """

    def __init__(self, channels: int, kept: int, width: int) -> None:
        super().__init__()
        self.kept = kept
        self.first = nn.LSTM(channels, channels, batch_first=True)
        self.second = nn.LSTM(channels, channels - kept, batch_first=True)
        self.conv = nn.Conv1d(channels, width, _TAPS, padding=_TAPS // 2, padding_mode="reflect")

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, T, channels] → [B, T, width]."""
        added = self.second(self.first(hidden)[0])[0]
        together = torch.cat([hidden[..., : self.kept], hidden[..., self.kept :] + added], dim=-1)
        latents: Tensor = self.conv(F.elu(together).transpose(1, 2)).transpose(1, 2)
        return latents

    @torch.no_grad()
    def begin(self, hidden: Tensor, wanted: Tensor) -> None:
        """The convolution by least squares, as if the LSTM added nothing; every third frame is enough for that."""
        # The transform's components are small, and what is read of energies is large.
        into = self.first.get_parameter("weight_ih_l0")
        into[:, : self.kept] *= 4
        into[:, self.kept :] *= 0.1
        around = F.pad(F.elu(hidden).transpose(1, 2), (_TAPS // 2, _TAPS // 2), mode="reflect").unfold(2, _TAPS, 1)
        rows = around.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)[::3]
        rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
        products = (rows.T @ rows).double() + _RIDGE * torch.eye(rows.shape[1], dtype=torch.float64)
        solution = torch.linalg.solve(products, (rows.T @ wanted.flatten(0, 1)[::3]).double()).float()
        self.conv.weight.copy_(solution[:-1].T.reshape(self.conv.weight.shape))
        if self.conv.bias is not None:
            self.conv.bias.copy_(solution[-1])


def train_head(
    head: Head,
    hidden: Tensor,
    wanted: Tensor,
    *,
    steps: int,
    seed: int,
    minutes: float | None,
    log: Callable[[str], None],
) -> float:
    """Trains on all but a tenth of the clips; returns what share of that tenth's variance is not told.

    hidden: [N, T, channels]. wanted: [N, T, width]. minutes: after which it ends anyway.
    """
    draw = torch.Generator().manual_seed(seed)
    kept_back = max(1, len(hidden) // 10)
    learned = len(hidden) - kept_back
    lstms = [*head.first.parameters(), *head.second.parameters()]
    groups = [{"params": each, "lr": rate} for each, rate in zip((lstms, head.conv.parameters()), _RATES, strict=True)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, list(_RATES), total_steps=steps + 1, pct_start=0.1)
    began_s = time.monotonic()
    for step in range(steps):
        if minutes is not None and time.monotonic() - began_s > 60 * minutes:
            break
        chosen = torch.randint(learned, (_CLIPS,), generator=draw)
        loss = (head(hidden[chosen]) - wanted[chosen]).square().sum(-1).mean() / wanted.shape[-1]
        loss.backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if (step + 1) % 25 == 0:
            log(f"step {step + 1}: {float(loss.detach()):.4f}")
    with torch.no_grad():
        missed = (head(hidden[learned:]) - wanted[learned:]).square().sum(-1).mean()
    return float(missed / wanted[learned:].flatten(0, 1).var(0).sum())


@torch.no_grad()
def write_head(model: EncodecModel, head: Head, components: int) -> None:
    """Puts it into an encoder whose first `components` latents are the transform's, and the rest the envelope's."""
    (lstm,) = (layer.lstm for layer in model.encoder.layers if isinstance(layer, EncodecLSTM))
    size, kept = lstm.hidden_size, head.kept
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(lstm, f"{name}_l0").copy_(getattr(head.first, f"{name}_l0"))
        small, whole = getattr(head.second, f"{name}_l0"), getattr(lstm, f"{name}_l1")
        # Units that add nothing: a candidate of zero whatever comes in.
        whole.zero_()
        for gate, own in enumerate(small.chunk(4)):
            rows = whole[gate * size + kept : (gate + 1) * size]
            (rows[:, kept:] if name == "weight_hh" else rows).copy_(own)
    write_filters(convolutions(model.encoder)[-1], slice(components, None), head.conv.weight, head.conv.bias)
