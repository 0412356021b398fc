from __future__ import annotations

import asyncio
import threading

import pytest

from serve_app.tasks import finish_in_thread
from tests.serve_app.api.middleware.test_hangup import assert_no_task_is_left


def test_a_result_and_an_error_come_through() -> None:
    assert asyncio.run(finish_in_thread(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(finish_in_thread(divmod, 7, 0))


@pytest.mark.parametrize("fails", [False, True])
def test_who_is_cancelled_however_often_waits_for_the_end_of_the_call(fails: bool) -> None:
    began, may_end = threading.Event(), threading.Event()

    def call() -> None:
        began.set()
        may_end.wait()
        if fails:
            raise ValueError("nobody hears this")

    async def scenario() -> None:
        task = asyncio.create_task(finish_in_thread(call))
        await asyncio.to_thread(began.wait)
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert_no_task_is_left()

    asyncio.run(scenario())
