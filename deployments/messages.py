"""What crosses processes: small frozen dataclasses, and nothing else.

Arrays are numpy, C-contiguous, and read-only by agreement (through Ray's object store they really are).
Shapes: K codebooks, T frames (50 a second), S text tokens, D width, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

# How a request uses the cache: `refresh` writes and does not read, `off` does neither.
CacheMode = Literal["use", "refresh", "off"]
# Whether a client waits for it. `batch` may run on machines that start late and are taken away early (spot).
QueueClass = Literal["realtime", "batch"]
# Where a request's codes came from: the cache, where they were as long as wanted (hit), longer (cut) or shorter
# (extended); a generation under way (joined); the model (miss).
Outcome = Literal["hit", "cut", "extended", "joined", "miss"]


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn from its logits, applied in the order of the fields.

    Attributes:
        guidance_scale: classifier-free guidance, `uncond + (cond - uncond) * scale`; 1 means none.
        temperature: divides the logits; 0 means greedy.
        top_k: keep the k most likely tokens; 0 means off.
        top_p: keep the smallest set of tokens whose probability reaches p; 0 or 1 means off.
    """

    guidance_scale: float = 3.0
    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0


@dataclass(frozen=True)
class MusicRequest:
    """One request to the pipeline, validated and canonical.

    Attributes:
        prompt: NFC, white space folded.
        seed: 0 <= seed < 2**64; None: that of the last request like it, or a random one.
        scope: of the cache; what is cached or under way in one is never found from another.
        queue: which language models make it; the codes do not depend on that.
    """

    request_id: str
    model: str
    prompt: str
    duration_ms: int
    seed: int | None
    sampling: Sampling
    cache: CacheMode = "use"
    scope: str = ""
    queue: QueueClass = "realtime"


@dataclass(frozen=True)
class Clip:
    """A finished piece of sound.

    Attributes:
        pcm: float32 [C, samples] in [-1, 1].
        codes: int16 [K, T].
    """

    pcm: np.ndarray
    sample_rate: int
    codes: np.ndarray


@dataclass(frozen=True)
class PcmChunk:
    """The next piece of a streamed clip.

    Attributes:
        pcm: float32 [C, samples].
        codes: int16 [K, n], the frames it is made of.
    """

    pcm: np.ndarray
    sample_rate: int
    codes: np.ndarray


@dataclass(frozen=True)
class EngineIdentity:
    """All that codes depend on beside the request: engines with equal identities make the same bits.

    Attributes:
        fingerprint: of the checkpoint.
        numerics: instruction set, library, numeric type.
        vocab_size: codes a codebook has.
    """

    fingerprint: str
    numerics: str
    vocab_size: int


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life from an engine or a pipeline.

    Attributes:
        running: the request has a slot; else it waits for one.
    """

    running: bool


@dataclass(frozen=True)
class GenerationStart:
    """What is known of a generation when its first frames are there, and what another pipeline needs to resume it.

    Attributes:
        key: of the generation, 64 hexadecimal digits.
        outcome: of this subscriber's request.
        age_s: of cached codes, for `hit` and `cut`.
        text_states: float32 [S, D], None where no frame had to be generated.
    """

    key: str
    seed: int
    outcome: Outcome
    identity: EngineIdentity
    age_s: int | None = None
    text_states: np.ndarray | None = None


@dataclass(frozen=True)
class Resumption:
    """What a subscriber has whose pipeline was lost.

    Attributes:
        codes: int16 [K, n], n >= 0, from the first frame on.
    """

    start: GenerationStart
    codes: np.ndarray


@dataclass(frozen=True)
class CodeRequest:
    """What the language model needs to make frames.

    Attributes:
        text_states: float32 [S, D_text], the encoder's states of the prompt's own tokens (no padding).
        num_frames: how many frames the whole generation has, prompt codes included.
        prompt_codes: int16 [K, N], frames made before (a resumed generation, a continuation), or None.
        chunk_ends: the numbers of frames, in order, at which chunks are to end, as suits a reader that works in
            windows. Empty: as suits the engine. The last frame always ends a chunk.
        identity: of the only engines that may make them; None: of any.
        priority: it was running before and lost its engine, so it is never refused because too many wait, and waits
            before new requests.
        caller: tells whether the frames are still wanted (`CallerHeartbeat.call`).
        queue: of which language models.
    """

    request_id: str
    text_states: np.ndarray
    num_frames: int
    seed: int
    sampling: Sampling
    prompt_codes: np.ndarray | None = None
    chunk_ends: tuple[int, ...] = ()
    identity: EngineIdentity | None = None
    priority: bool = False
    caller: str = ""
    queue: QueueClass = "realtime"


@dataclass(frozen=True)
class CodeFrames:
    """Complete frames of one generation, in order.

    Attributes:
        codes: int16 [K, n], the delay pattern undone.
        first_frame: the index of codes[:, 0].
        finished: these are the last.
    """

    request_id: str
    first_frame: int
    codes: np.ndarray
    finished: bool


@dataclass(frozen=True)
class DecoderState:
    """What a codec decoder carries from one window of a clip to the next; the rest depends on it and the codes only.

    Attributes:
        num_frames: decoded so far.
        lstm: float32 [C, 2, layers, D], hidden and cell states of each channel.
        outputs: float32 [C, D, n], the LSTM's last outputs, which the next window's sound depends on.
    """

    num_frames: int
    lstm: np.ndarray
    outputs: np.ndarray


@dataclass(frozen=True)
class CodeWindow:
    """The next piece of a clip to decode: from the state's frame to frame `end`.

    Attributes:
        codes: int16 [K, n], the clip's from its first frame on: all of them, or at least `SoundFormat.lookahead` beyond
            `end`.
        state: after the window before; None for the first.
    """

    codes: np.ndarray
    end: int
    state: DecoderState | None = None


@dataclass(frozen=True)
class DecodedWindow:
    """A window's sound.

    Attributes:
        pcm: float32 [C, frames · hop].
        state: for the next window.
    """

    pcm: np.ndarray
    state: DecoderState


@dataclass(frozen=True)
class SoundFormat:
    """What a codec makes.

    Attributes:
        frame_rate: frames a second.
        hop: samples a frame, so sample_rate = frame_rate · hop.
        lookahead: how many frames after its own a frame's sound depends on.
    """

    sample_rate: int
    channels: int
    frame_rate: int
    lookahead: int

    @property
    def hop(self) -> int:
        return self.sample_rate // self.frame_rate


@dataclass(frozen=True)
class ModelCard:
    """What clients are told of a model.

    Attributes:
        license: the licence of its weights, an SPDX id where there is one.
        sound: None until the model's codec has been loaded for the first time.
        accepted: whether the operator has accepted the licence; else the model is not loaded.
    """

    name: str
    source: str
    revision: str | None
    license: str
    max_duration_ms: int
    sound: SoundFormat | None = None
    accepted: bool = True
