"""A service like ours to everyone who only knows its HTTP: a sine for every prompt, without a model.

args: `failure` is raised when the replica starts; `error` is what every clip ends with; `kept_s` is how many seconds
ago every clip was made that need not be made anew.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile
from ray import serve
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

SAMPLE_RATE = 8000


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Tone:
    def __init__(self, failure: str | None = None, error: str | None = None, kept_s: int | None = None) -> None:
        if failure is not None:
            raise ValueError(failure)
        self.error = error
        self.kept_s = kept_s

    async def __call__(self, request: Request) -> Response:
        if request.url.path == "/ready":
            return JSONResponse({"ready": True, "deployments": {"Tone": True}})
        asked = await request.json()
        if self.error is not None:
            return JSONResponse({"error": {"type": "internal", "message": self.error, "param": None}}, 500)
        pcm = np.sin(np.arange(asked["music_length_ms"] * SAMPLE_RATE // 1000) / 5)
        wav = io.BytesIO()
        soundfile.write(wav, pcm, SAMPLE_RATE, format="WAV")
        headers = {"X-Seed": str(asked.get("seed", 7)), "X-Model": "tone", "X-Model-License": "CC0-1.0"}
        if self.kept_s is not None and asked.get("cache", "use") == "use":
            headers |= {"X-Cache": "hit", "Age": str(self.kept_s)}
        else:
            headers["X-Cache"] = "miss"
        return Response(wav.getvalue(), media_type="audio/wav", headers=headers)


def build(args: dict[str, Any]) -> Application:
    return Tone.bind(**args)
