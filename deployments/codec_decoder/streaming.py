"""Codes to sound, window by window, exactly: what comes out is the decoding of the whole clip in one run.

Two things make it so. A stack of convolutions, run on an excerpt, is right wherever nothing it depends on was cut off:
so each window is run with as many frames around it as the network reaches (`SeanetDecoder.context_*`), and only its
own part is kept. Where an excerpt ends because the clip does, the network's own padding is right. And the LSTM's state
is carried from window to window, each frame passing once.

MusicGen's codec reaches 3 frames to each side before the LSTM and 1 after it: a window can be decoded once the 4
frames after it are known.

What is carried is a value (`DecoderState`, 24 KB for MusicGen), not a place: any process with the same weights can
decode the next window of any clip, and one that is lost takes nothing with it. Windows are run one by one, each clip
and each channel by itself: a batch changes the last bits (convolutions and LSTMs choose their kernels by it), so that
a clip would sound by its neighbours, and gains little on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from deployments.codec_decoder.codec import Codec
from deployments.codec_decoder.windows import windows
from deployments.messages import CodeWindow, DecodedWindow, DecoderState


def decode(codec: Codec, codes: np.ndarray) -> np.ndarray:
    """A whole clip, by the same windows as a stream. codes: [K, T] → float32 [C, T · hop]. Raises: ValueError."""
    codec.check(codes)
    state = None
    sounds = [np.empty((codec.channels, 0), np.float32)]
    for _, end in windows(codes.shape[1], codec.lookahead):
        decoded = decode_window(codec, CodeWindow(codes[:, : end + codec.lookahead], end, state))
        state = decoded.state
        sounds.append(decoded.pcm)
    return np.concatenate(sounds, axis=1)


@torch.inference_mode()
def decode_window(codec: Codec, window: CodeWindow) -> DecodedWindow:
    """The sound from where the state stands to the window's end, float32 [C, samples], not clamped, `hop` a frame.

    Its bits depend on the window alone (on one machine, with one number of threads), and not on how many more frames
    than it needs are known.
    Raises: ValueError for codes of a wrong shape or out of range, and when frames are missing.
    """
    codes, end, state = window.codes, window.end, window.state
    codec.check(codes)
    known, start = codes.shape[1], 0 if state is None else state.num_frames
    if not start < end <= known or end < known < end + codec.lookahead:
        raise ValueError(
            f"frames {start} to {end} can't be decoded of {known}: it takes all of a clip, or {codec.lookahead} more"
        )
    before = [_Carried.start(codec)] * codec.channels if state is None else _Carried.of(state)
    sounds, carried = [], []
    for i, channel in enumerate(before):
        sound, after = _decode_channel(codec, codes[i :: codec.channels], start, end, channel)
        sounds.append(sound)
        carried.append(after)
    return DecodedWindow(torch.cat(sounds).numpy(), _Carried.state(carried, end))


@dataclass(frozen=True)
class _Carried:
    """One channel's part of the state: the LSTM's hidden and cell states [layers, 1, D], None before the first frame,
    and its last outputs [1, D, n]."""

    lstm: tuple[Tensor, Tensor] | None
    outputs: Tensor

    @classmethod
    def start(cls, codec: Codec) -> _Carried:
        return cls(None, torch.empty(1, codec.network.width, 0))

    @classmethod
    def of(cls, state: DecoderState) -> list[_Carried]:
        # Copies: what came from another process is read-only, which torch does not know.
        lstm, outputs = torch.tensor(state.lstm), torch.tensor(state.outputs)
        return [
            cls((hidden.unsqueeze(1), cell.unsqueeze(1)), own_outputs.unsqueeze(0))
            for hidden, cell, own_outputs in zip(lstm[:, 0], lstm[:, 1], outputs, strict=True)
        ]

    @staticmethod
    def state(channels: list[_Carried], num_frames: int) -> DecoderState:
        lstm = torch.stack([torch.stack(channel.lstm)[:, :, 0] for channel in channels if channel.lstm is not None])
        return DecoderState(num_frames, lstm.numpy(), torch.cat([channel.outputs for channel in channels]).numpy())


def _decode_channel(codec: Codec, codes: np.ndarray, start: int, end: int, before: _Carried) -> tuple[Tensor, _Carried]:
    """The sound [1, samples] of frames start … end. codes: of this channel from the clip's start, [K/C, T]."""
    network, hop = codec.network, codec.hop
    num_frames = codes.shape[1]
    left_of_lstm, right_of_lstm = network.context_before_lstm
    left, right = network.context_after_lstm

    # The frames whose LSTM outputs are carried, those the LSTM is to pass now, and the codes these depend on.
    kept_from = max(0, start - left)
    first = kept_from + before.outputs.shape[-1]
    last = min(end + right, num_frames)
    excerpt_start = max(0, first - left_of_lstm)
    embedded = codec.embed(codes[:, excerpt_start : last + right_of_lstm])
    x = network.before_lstm(embedded)[..., first - excerpt_start : last - excerpt_start]
    passed, lstm = network.lstm(x, before.lstm)

    outputs = torch.cat([before.outputs, passed], dim=-1)
    sound = network.after_lstm(outputs)[0, :, (start - kept_from) * hop : (end - kept_from) * hop]
    return sound, _Carried(lstm, outputs[..., max(0, end - left) - kept_from :].clone())
