"""What the access needs of the records, in memory, and up or down as a test has it."""

from __future__ import annotations

from collections.abc import Sequence

from serve_app.auth import keys as key_text
from serve_app.identity import ApiKey, AuditRecord
from serve_app.stores.store import StoreError, StoreUnreachable

RECORD = AuditRecord(
    at_s=1000.0,
    request_id="r",
    tenant="tenant",
    key_id="0123456789abcdef",
    key_hash="00" * 32,
    method="POST",
    route="/v1/music",
    status=200,
    model="etude",
    audio_s=3.0,
    generation="g",
    prompt="words",
    seconds=0.5,
)


class HeldKeys:
    """num_calls: of the database, had it been one. error: what they raise."""

    def __init__(self) -> None:
        self.num_calls = 0
        self.error: Exception | None = None
        self.keys: list[ApiKey] = []

    def make(self, tenant: str = "tenant") -> key_text.NewKey:
        key = key_text.generate_key()
        self.keys.append(ApiKey(key.id, tenant, "", key.digest, created_s=1.0))
        return key

    def all(self) -> list[ApiKey]:
        self.num_calls += 1
        if self.error is not None:
            raise self.error
        return list(self.keys)


class HeldLines:
    """batches: as they were written. old: how many there are to sweep, two at a time."""

    def __init__(self) -> None:
        self.batches: list[Sequence[AuditRecord]] = []
        self.error: Exception | None = None
        self.old = 0
        self.swept_before_s: list[float] = []

    @property
    def records(self) -> list[AuditRecord]:
        return [record for batch in self.batches for record in batch]

    def write(self, records: Sequence[AuditRecord], /) -> None:
        if self.error is not None:
            raise self.error
        self.batches.append(list(records))

    def sweep(self, before_s: float, /) -> int:
        if self.error is not None:
            raise self.error
        self.swept_before_s.append(before_s)
        taken = min(2, self.old)
        self.old -= taken
        return taken


def unreachable() -> StoreError:
    return StoreUnreachable("records: connection refused")
