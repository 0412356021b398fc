from __future__ import annotations

import numpy as np
import pytest

from serve_app.sound.containers import CONTAINER_FORMATS, ContainerFormat, Tags, container_key, encode
from serve_app.sound.streams import SoundStream

TAGS = Tags(generation_id="0" * 32, seed=1, duration_ms=100, model="etude", license="MIT")


@pytest.mark.parametrize("container", CONTAINER_FORMATS.values(), ids=list(CONTAINER_FORMATS))
def test_one_key_stands_for_one_files_bytes(container: ContainerFormat) -> None:
    pcm = np.sin(np.arange(3200, dtype=np.float32) / 10)[None]
    whole = encode(pcm, 32_000, container, TAGS)
    stream = SoundStream(32_000, 1, pcm.shape[1], container, TAGS)
    streamed = stream.write(pcm[:, :1000]) + stream.write(pcm[:, 1000:]) + stream.close()
    assert (whole == streamed) == (container_key(container) == container_key(container, streamed=True))


def test_no_two_forms_share_a_key_but_those() -> None:
    keys = {
        container_key(container, streamed=streamed)
        for container in CONTAINER_FORMATS.values()
        for streamed in (False, True)
    }
    assert keys == {"wav", "pcm", "flac", "mp3", "ogg", "flac stream", "mp3 stream", "ogg stream"}
