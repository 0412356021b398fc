"""Of everything Serve reports about a failure, a person gets the sentence."""

from __future__ import annotations

import pytest

from serve_app.launcher.service import root_cause

REPLICA_FAILED = """The deployment failed to start 3 times in a row. See controller logs for details. Error:
\x1b[36mray::ServeReplica:x:LanguageModel.initialize_and_get_metadata()\x1b[39m (pid=1, ip=10.0.0.1, actor_id=5)
  File "/usr/lib/python3.11/concurrent/futures/_base.py", line 449, in result
    return self.__get_result()
           ^^^^^^^^^^^^^^^^^^^
  File "/site-packages/ray/serve/_private/replica.py", line 1928, in initialize
    raise RuntimeError(traceback.format_exc()) from None
RuntimeError: Traceback (most recent call last):
  File "/site-packages/ray/serve/_private/replica.py", line 1867, in initialize
    await self._user_callable_wrapper.initialize_callable()
  File "/srv/deployments/language_model/deployment.py", line 14, in __init__
    raise {kind}("…")
           ^^^^^^^^^^^
{kind}: {message}"""


@pytest.mark.parametrize(
    ("kind", "message", "said"),
    [
        ("deployments.checkpoints.config.CheckpointError", "there is no folder /srv/x", "there is no folder /srv/x"),
        ("RuntimeError", "CUDA error: out of memory", "RuntimeError: CUDA error: out of memory"),
        ("KeyError", "'x'", "KeyError: 'x'"),
        ("ValueError", "two\nlines of it", "ValueError: two lines of it"),
    ],
)
def test_the_cause_of_a_failed_replica_is_what_was_raised_in_it(kind: str, message: str, said: str) -> None:
    assert root_cause(REPLICA_FAILED.replace("{kind}", kind).replace("{message}", message)) == said


def test_settings_that_build_refuses_come_out_whole() -> None:
    report = """Deploying app 'musicgen' failed with exception:
Traceback (most recent call last):
  File "/srv/serve_app/graph.py", line 20, in build
    settings = Settings.model_validate(args)
               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
pydantic_core._pydantic_core.ValidationError: 1 validation error for Settings
models.etude
  Value error, unknown key 'slot' [type=value_error, input_value={'slot': 1}, input_type=dict]
    For further information visit https://errors.pydantic.dev/2.14/v/value_error
"""
    assert "unknown key 'slot'" in root_cause(report)


def test_a_report_without_a_traceback_is_its_own_cause() -> None:
    report = "Deployment 'LanguageModel' has 1 replicas that have taken\nmore than 30s to be scheduled."
    assert (
        root_cause(report) == "Deployment 'LanguageModel' has 1 replicas that have taken more than 30s to be scheduled."
    )
