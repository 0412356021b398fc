"""EnCodec's decoder: codes in, sound out, window by window, exactly as the whole clip decoded in one run.

One mono network decodes every channel (`Codec`). Two things make windows exact (`decode_window`). A stack of
convolutions, run on an excerpt, is right wherever nothing it depends on was cut off: so each window is run with as many
frames around it as the receptive field has (`SeanetDecoder.context_*`), and only its own part is used. Where an excerpt
ends because the clip does, the network's own padding is right. And the LSTM's state is carried from window to window,
each frame passing once.

The receptive field of MusicGen's codec has 3 frames on each side before the LSTM and 1 after it: a window can be
decoded once the 4 frames after it are known.

What is carried is a value (`DecoderState`, 24 KB for MusicGen) that no process keeps: any process with the same weights
can decode the next window of any clip, and one that crashes takes nothing with it. Windows are run one by one, each
clip and each channel by itself: a batch changes the last bits (convolutions and LSTMs choose their kernels by it), so
that a clip would depend on its neighbours, and gains little on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from deployments.checkpoints.checkpoint import Checkpoint, check_tensors
from deployments.checkpoints.config import CheckpointError
from deployments.codec_decoder.seanet import SeanetDecoder, SeanetShape
from deployments.codec_decoder.windows import windows
from deployments.messages import CodeWindow, DecodedWindow, DecoderState

if TYPE_CHECKING:
    from transformers import EncodecConfig

# The only values of transformers' EncodecConfig that can be decoded. All of MusicGen's and AudioGen's are so.
_SUPPORTED = {
    "audio_channels": 1,
    "chunk_length_s": None,
    "normalize": False,
    "norm_type": "weight_norm",
    "pad_mode": "reflect",
    "use_causal_conv": False,
}


class Codec:
    """The decoder's weights, for C channels: K = C · (codebooks of the mono codec) rows of codes, 1L 1R 2L 2R …

    Args:
        config: of the mono codec.
        tensors: its decoder's and codebooks', named as in transformers' `EncodecModel`, weight norm fused into
            `weight`; float32 on the CPU.
        num_codebooks: K.
        channels: C.

    Raises:
        CheckpointError: For a codec of another kind, and for tensors that are missing, left over or of a wrong shape.
    """

    def __init__(
        self, config: EncodecConfig, tensors: Mapping[str, Tensor], *, num_codebooks: int, channels: int = 1
    ) -> None:
        for field, supported in _SUPPORTED.items():
            if getattr(config, field) != supported:
                raise CheckpointError(
                    f"the codec has {field}={getattr(config, field)!r}; only {supported!r} can be decoded"
                )
        if num_codebooks != channels * config.num_quantizers:
            raise CheckpointError(
                f"the language model makes {num_codebooks} codebooks for {channels} channels, "
                f"but the codec has {config.num_quantizers} a channel"
            )
        shape = SeanetShape(
            hidden_size=config.hidden_size,
            num_filters=config.num_filters,
            upsampling_ratios=tuple(config.upsampling_ratios),
            kernel_size=config.kernel_size,
            last_kernel_size=config.last_kernel_size,
            residual_kernel_size=config.residual_kernel_size,
            num_residual_layers=config.num_residual_layers,
            dilation_growth_rate=config.dilation_growth_rate,
            compress=config.compress,
            num_lstm_layers=config.num_lstm_layers,
            use_conv_shortcut=config.use_conv_shortcut,
        )
        with torch.device("meta"):
            self.network = SeanetDecoder(shape)
        codebook_names = [f"quantizer.layers.{i}.codebook.embed" for i in range(config.num_quantizers)]
        expected = {f"decoder.{name}": tuple(tensor.shape) for name, tensor in self.network.state_dict().items()}
        expected |= dict.fromkeys(codebook_names, (config.codebook_size, config.hidden_size))
        check_tensors(tensors, expected, "codec")
        weights = {name: tensors[f"decoder.{name}"] for name in self.network.state_dict()}
        self.network.load_state_dict(weights, assign=True)
        self.network.eval().requires_grad_(False)
        self.codebooks = torch.stack([tensors[name] for name in codebook_names])

        self.num_codebooks = num_codebooks
        self.codebook_size: int = config.codebook_size
        self.channels = channels
        self.sample_rate: int = config.sampling_rate
        self.frame_rate: int = config.frame_rate
        self.hop = shape.hop
        """Samples in a frame."""
        self.lookahead = self.network.context_before_lstm[1] + self.network.context_after_lstm[1]
        """Frames after its own that a frame's sound depends on."""

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Codec:
        """The codec of a MusicGen checkpoint.

        Raises:
            CheckpointError: Also when the language model makes codes that the codec doesn't have.
        """
        config, decoder = checkpoint.codec_config, checkpoint.decoder_config
        if decoder.vocab_size > config.codebook_size:
            raise CheckpointError(
                f"the language model makes {decoder.vocab_size} codes, but the codec's codebooks have "
                f"{config.codebook_size}"
            )
        return cls(
            config,
            checkpoint.tensors("codec", torch.float32),
            num_codebooks=decoder.num_codebooks,
            channels=decoder.audio_channels,
        )

    def check(self, codes: np.ndarray) -> None:
        """Checks that these codes can be decoded.

        Raises:
            ValueError: Unless codes are integers [K, any] in [0, codebook size).
        """
        if codes.ndim != 2 or codes.shape[0] != self.num_codebooks or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"codes must be integers of shape [{self.num_codebooks}, frames], not {codes.dtype} {list(codes.shape)}"
            )
        if codes.size and (codes.min() < 0 or codes.max() >= self.codebook_size):
            raise ValueError(f"codes must be in [0, {self.codebook_size - 1}], not in [{codes.min()}, {codes.max()}]")

    def embed(self, codes: np.ndarray) -> Tensor:
        """The sum of the codes' vectors, float32 [1, hidden_size, T].

        Args:
            codes: [codebooks of one channel, T].
        """
        indices = torch.from_numpy(codes.astype(np.int64))
        books = torch.arange(len(self.codebooks)).unsqueeze(1)
        return self.codebooks[books, indices].sum(0).T.unsqueeze(0).contiguous()


def decode(codec: Codec, codes: np.ndarray) -> np.ndarray:
    """The sound of a whole clip, float32 [C, T · hop], by the same windows as a stream.

    Args:
        codes: [K, T].

    Raises:
        ValueError: As `Codec.check`.
    """
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
    """The sound from the end of the window before to this one's end, float32 [C, samples], not clamped, `hop` a frame.

    Its bits depend on the window alone (on one machine, with one number of threads), and not on how many more frames
    than it needs are known.

    Raises:
        ValueError: For codes of a wrong shape or out of range, and when frames are missing.
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
    carried_from = max(0, start - left)
    first = carried_from + before.outputs.shape[-1]
    last = min(end + right, num_frames)
    excerpt_start = max(0, first - left_of_lstm)
    embedded = codec.embed(codes[:, excerpt_start : last + right_of_lstm])
    x = network.before_lstm(embedded)[..., first - excerpt_start : last - excerpt_start]
    passed, lstm = network.lstm(x, before.lstm)

    outputs = torch.cat([before.outputs, passed], dim=-1)
    sound = network.after_lstm(outputs)[0, :, (start - carried_from) * hop : (end - carried_from) * hop]
    return sound, _Carried(lstm, outputs[..., max(0, end - left) - carried_from :].clone())
