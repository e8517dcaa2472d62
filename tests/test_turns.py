from __future__ import annotations

import asyncio

from pawprint.serving.turns import Line, Turns


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Office:
    """Pictures by name, each at work until it is told to end."""

    def __init__(self, places: int) -> None:
        self.turns = Turns(places)
        self.began: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def send(self, line: Line, *names: str) -> None:
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._work(line, name))
        await settle()

    async def _work(self, line: Line, name: str) -> None:
        await self.turns.take(line)
        try:
            self.began.append(name)
            await self.ends[name].wait()
        finally:
            self.turns.give_back(line)

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await settle()

    async def close(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        await settle()


def test_a_request_leaves_places_to_others() -> None:
    async def main() -> None:
        office, many, one = Office(places=2), Line(), Line()
        await office.send(many, "m1", "m2", "m3")
        assert office.began == ["m1"]
        await office.send(one, "o1")
        assert office.began == ["m1", "o1"]
        await office.end("m1")
        assert office.began == ["m1", "o1", "m2"]
        await office.close()

    asyncio.run(main())


def test_requests_take_turns() -> None:
    async def main() -> None:
        office = Office(places=1)
        lines = {name: Line() for name in "abc"}
        await office.send(lines["a"], "a1", "a2", "a3")
        await office.send(lines["b"], "b1", "b2")
        await office.send(lines["c"], "c1")
        for name in ("a1", "a2", "b1", "c1", "b2"):
            if name in office.began:
                await office.end(name)
        while len(office.began) < 6:
            await office.end(office.began[-1])
        assert office.began == ["a1", "a2", "b1", "c1", "a3", "b2"]
        await office.close()

    asyncio.run(main())


def test_who_does_not_wait_any_more_takes_no_place() -> None:
    async def main() -> None:
        office, line = Office(places=1), Line()
        await office.send(line, "first", "gone", "last")
        office.tasks["gone"].cancel()
        await settle()
        await office.end("first")
        assert office.began == ["first", "last"]
        office.tasks["last"].cancel()
        await settle()
        await office.send(Line(), "other")
        assert office.began == ["first", "last", "other"]
        await office.close()

    asyncio.run(main())


def test_who_gives_up_in_the_moment_of_its_turn_hands_it_on() -> None:
    async def main() -> None:
        office, line = Office(places=1), Line()
        await office.send(line, "first", "gone", "last")
        office.ends["first"].set()
        await asyncio.sleep(0)
        assert office.tasks["first"].done()  # so it is gone's turn, which has not run since
        assert (line.at_work, office.began) == (True, ["first"])
        office.tasks["gone"].cancel()
        await settle()
        assert office.began == ["first", "last"]
        await office.close()

    asyncio.run(main())
