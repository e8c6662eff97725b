import asyncio

from configs.kernel.tasks import TaskSupervisor


async def test_a_failed_task_is_counted_and_leaves_the_others_alone() -> None:
    tasks = TaskSupervisor()
    release = asyncio.Event()

    async def fails() -> None:
        raise ValueError("broken")

    async def lives() -> None:
        await release.wait()

    failed = tasks.spawn("fails", fails())
    alive = tasks.spawn("lives", lives())
    await failed

    assert tasks.failures == 1
    assert not alive.done()
    release.set()
    await alive
    assert len(tasks) == 0


async def test_a_kept_task_starts_again_after_a_failure() -> None:
    tasks = TaskSupervisor()
    starts = 0
    third = asyncio.Event()

    async def fails_twice() -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise ValueError("broken")
        third.set()
        await asyncio.Event().wait()

    tasks.keep_running("kept", fails_twice)
    await asyncio.wait_for(third.wait(), 10)

    assert tasks.failures == 2
    await tasks.close()
    assert len(tasks) == 0
