"""All that stands between a request and the service: put together, begun and ended as one."""

from __future__ import annotations

import logging
import time
from contextlib import AsyncExitStack

from serve_app.access.admission import Admission
from serve_app.access.audit import Audit, AuditLines
from serve_app.access.failures import Failures
from serve_app.access.keyring import Keyring, Keys
from serve_app.access.policy import Policy, load
from serve_app.access.settings import AccessSettings
from serve_app.access.shared_redis import TIMEOUT_S, SharedRedis
from serve_app.cache.faults import Faults
from serve_app.records.threads import Threads

_log = logging.getLogger("ray.serve.access")  # below Serve's own, whose files and format it shares

_POLICY_THREADS = 4


class Gate:
    """keyring: None where no keys are asked for. policy: None where there is none. faults: what went wrong, counted.

    keys, lines: where API keys and audit records are kept; nothing is read or connected to before `start`. timeout_s,
    redis_timeout_s: of a call of theirs, and of Redis.
    Raises: PolicyError where the policy's function is not there.
    """

    def __init__(
        self,
        settings: AccessSettings,
        keys: Keys,
        lines: AuditLines,
        *,
        timeout_s: float,
        redis_timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.settings = settings
        self.faults = Faults(time.monotonic, _log, of="access")
        self.failures = Failures()
        self.keyring: Keyring | None = None
        if settings.keys == "required":
            # Each with a thread of its own: where one waits for the records, the others need not.
            self.keyring = Keyring(keys, Threads(1, "keys"), self.faults, timeout_s=timeout_s)
        self.policy: Policy | None = None
        if settings.policy is not None:
            self.policy = Policy(load(settings.policy), Threads(_POLICY_THREADS, "policy"), self.faults)
        storage = settings.limits.storage
        redis = (
            None
            if storage.get_secret_value() == "memory"
            else SharedRedis(storage, self.faults, timeout_s=redis_timeout_s)
        )
        self.admission = Admission(settings.limits, redis, _log)
        self.audit = Audit(lines, Threads(1, "audit"), self.faults, settings.audit)

    def start(self) -> None:
        """Begins what runs beside the requests, in the event loop that serves them."""
        self.admission.start()
        self.audit.start()
        if self.keyring is not None:
            self.keyring.start()

    async def close(self) -> None:
        """Ends it; what is to be written down is written, as far as that can be done now."""
        async with AsyncExitStack() as closing:
            closing.push_async_callback(self.audit.close)
            closing.push_async_callback(self.admission.close)
            for each in (self.policy, self.keyring):
                if each is not None:
                    closing.push_async_callback(each.close)
