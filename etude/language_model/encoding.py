"""A folder of sound into a folder of codes, once."""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from etude.language_model.code_shards import CodeClip, code_shard_path, settle_format, write_code_shard
from etude.language_model.encoder import CodeEncoder
from etude.language_model.sound import Portion, portions


def encode_folder(data: Path, encoder: CodeEncoder, out: Path) -> None:
    """Encodes what `out` lacks of `data`, so that the same call goes on after a kill, or when data was added.

    Raises FileNotFoundError or ValueError for data that is none; ValueError where `out` has another codec's codes, or
    codes of sound that `data` doesn't have (any more).
    """
    wanted = portions(data, sample_rate=encoder.sample_rate, channels=encoder.format.channels)
    settle_format(out, encoder.format)
    strangers = {path.stem for path in out.glob("*.npy")} - {portion.name for portion in wanted}
    if strangers:
        raise ValueError(
            f"{out} has codes of sound that is not in {data}, or has changed there: {sorted(strangers)[0]}.npy and"
            f" {len(strangers) - 1} others. Remove it, or choose another folder"
        )
    missing = [portion for portion in wanted if not code_shard_path(out, portion.name).exists()]
    done = len(wanted) - len(missing)
    for portion in tqdm(missing, total=len(wanted), initial=done, unit="shard", desc=f"encoding {data.name}"):
        write_code_shard(out, portion.name, _encoded(portion, encoder))


def _encoded(portion: Portion, encoder: CodeEncoder) -> list[CodeClip]:
    return [CodeClip(encoder.encode(piece.sound), piece.texts, piece.attributes) for piece in portion.read()]
