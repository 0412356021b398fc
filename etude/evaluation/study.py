"""One evaluation, from a checkpoint and two folders of pieces to its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import AutoTokenizer

from deployments.checkpoints.checkpoint import Checkpoint
from deployments.language_model.config import DecoderConfig
from etude.codec.crops import Crops
from etude.codec.evaluate import random_codec
from etude.codec.metrics import Figures, measure
from etude.evaluation.classifier import Classifier
from etude.evaluation.following import WITH_DRUMS, WITHOUT_DRUMS, Judges, follow
from etude.evaluation.impression import Impression, listen
from etude.evaluation.likeness import likeness
from etude.evaluation.liveliness import differ, liveliness
from etude.evaluation.players import Clip, Player
from etude.evaluation.prompts import is_solo, prompts_of
from etude.evaluation.report import Report, SystemFigures
from etude.evaluation.systems import (
    CODEC,
    MODEL,
    REFERENCE,
    UNTRAINED,
    decoded,
    reconstructions,
    references,
    rendered_sound,
    untrained,
)
from etude.judges.frechet import frechet_distance
from etude.language_model.batches import Batches
from etude.language_model.code_shards import CodeClip
from etude.language_model.encoder import CodeEncoder
from etude.language_model.likelihood import Likelihood, likelihood
from etude.language_model.origin import Origin
from etude.language_model.trainee import Trainee
from etude.shards import read_clips

# Prompts that a second seed is heard of, too.
_TWICE = 10


@dataclass(frozen=True)
class Question:
    """held_out: the folder of pieces whose descriptions are asked, so many as clips. references: another, of which so
    many as judged_by teach the judges. duration_s: of each clip. seed: of the first clip; each has its own.
    """

    held_out: Path
    references: Path
    clips: int = 200
    judged_by: int = 600
    duration_s: float = 10.0
    seed: int = 0


class Study:
    """folder: the checkpoint's. Raises CheckpointError, FileNotFoundError or ValueError for what can't be measured."""

    def __init__(self, folder: Path, question: Question) -> None:
        checkpoint = Checkpoint.open(folder)
        self._question = question
        self._config = DecoderConfig.from_transformers(checkpoint.config)
        self._model = Origin(folder, str(folder), torch.float32).load(dropout=0.0).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self._codec = self._model.audio_encoder
        self._encoder = CodeEncoder(self._codec, channels=self._config.channels)
        self.sample_rate = self._encoder.sample_rate
        self.num_frames = round(question.duration_s * checkpoint.codec_config.frame_rate)
        self._num_samples = self.num_frames * self._encoder.hop
        self._pieces = list(islice(read_clips(question.held_out), question.clips))
        self.prompts = prompts_of(self._pieces)
        self.systems: dict[str, list[Clip]] = {}
        """The clips of every system, in the order of the prompts, once the report is there."""

    def report(self, player: Player) -> Report:
        """Plays, listens and compares."""
        texts = [prompt.text for prompt in self.prompts]
        seed, channels = self._question.seed, self._config.channels
        played = player.play(texts, num_frames=self.num_frames, seed=seed)
        again = player.play(texts[:_TWICE], num_frames=self.num_frames, seed=seed + len(texts))
        rendered = references([self._rendered(piece.pcm) for piece in self._pieces], self._encoder)
        self.systems = {
            MODEL: played,
            UNTRAINED: untrained(len(texts), self.num_frames, self._codec, channels, seed=seed),
            CODEC: reconstructions(rendered, self._codec, channels),
            REFERENCE: rendered,
        }
        return Report(
            systems=self._figures(),
            codec=self._measured_codec(trained=True),
            random_codec=self._measured_codec(trained=False),
            likelihood=self._likelihood(texts, rendered),
            seeds_differ=float(np.mean([differ(a.codes, b.codes) for a, b in zip(played, again, strict=False)])),
        )

    def _figures(self) -> dict[str, SystemFigures]:
        judges = self._judges()
        heard = {name: self._listen(name, [clip.sound for clip in clips]) for name, clips in self.systems.items()}
        described = heard[REFERENCE]
        seconds = np.concatenate([each.seconds for each in described])
        halves = [np.concatenate([each.seconds for each in described[half::2]]) for half in (0, 1)]
        return {
            name: SystemFigures(
                following=follow(self.prompts, own, judges),
                likeness=likeness(own, described),
                liveliness=liveliness(own, [clip.codes for clip in self.systems[name]]),
                frechet=frechet_distance(*halves)
                if name == REFERENCE
                else frechet_distance(np.concatenate([each.seconds for each in own]), seconds),
            )
            for name, own in heard.items()
        }

    def _judges(self) -> Judges:
        """They learn from pieces at the checkpoint's rate and length, none of them held out."""
        question = self._question
        pieces = list(islice(read_clips(question.references), question.judged_by))
        if {piece.attributes["seed"] for piece in pieces} & {piece.attributes["seed"] for piece in self._pieces}:
            raise ValueError(f"{question.references} has pieces of {question.held_out}: take others")
        families = np.array([piece.attributes["families"][0] if is_solo(piece) else "" for piece in pieces])
        drums = [WITH_DRUMS if piece.attributes["has_drums"] else WITHOUT_DRUMS for piece in pieces]
        rendered = [self._rendered(piece.pcm) for piece in pieces]
        coded = [
            decoded(self._encoder.encode(sound[None]), self._codec, self._config.channels)
            for sound in tqdm(rendered, unit="clip", desc="coding references")
        ]
        plain = np.array([each.timbre for each in self._listen("references", rendered)])
        both = np.concatenate([plain, [each.timbre for each in self._listen("coded references", coded)]])
        solo = np.flatnonzero(families != "")
        twice = np.concatenate([solo, solo + len(pieces)])
        return Judges(
            family=Classifier(plain[solo], families[solo].tolist()),
            family_through_codec=Classifier(both[twice], 2 * families[solo].tolist()),
            drums=Classifier(both, 2 * drums),
        )

    def _listen(self, name: str, sounds: Sequence[NDArray[np.float32]]) -> list[Impression]:
        return [listen(sound, self.sample_rate) for sound in tqdm(sounds, unit="clip", desc=f"hearing {name}")]

    def _rendered(self, pcm: NDArray[np.int16]) -> NDArray[np.float32]:
        return rendered_sound(pcm, sample_rate=self.sample_rate, num_samples=self._num_samples)

    def _measured_codec(self, *, trained: bool) -> Figures:
        codec = self._codec if trained else random_codec(self._codec).eval()
        crops = Crops(self._question.held_out, sample_rate=self.sample_rate, num_samples=self._num_samples)
        return measure(codec, crops, pieces=len(self._pieces))

    def _likelihood(self, texts: Sequence[str], rendered: Sequence[Clip]) -> Likelihood:
        clips = [CodeClip(clip.codes, (text,)) for clip, text in zip(rendered, texts, strict=True)]
        batches = Batches(clips, self._tokenizer, self._config, num_frames=self.num_frames)
        trainee = Trainee(self._model, trains_text=True)
        return likelihood(trainee, batches, clips=len(clips), device=torch.device("cpu"))
