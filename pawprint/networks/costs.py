"""What a network takes for one picture, told before it runs: memory for its outputs, and work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

# Twice what VGG16 takes at 1024 px; the other backbones fit at 2048 px
MAX_HELD = 1 << 28  # numbers in all outputs that are needed at a time
MAX_MULTIPLICATIONS = 650_000_000_000
MAX_OUTPUTS = 1 << 33  # numbers in all outputs together; ResNet50 at 2048 px has 7.7 billion


@dataclass(frozen=True)
class StepCost:
    """One operation of a network.

    Attributes:
        name: of its own.
        takes: the names of the steps whose outputs it needs.
        numbers: in its outputs.
        per_number: how many multiplications or comparisons one of them needs; 0: few.
    """

    name: Hashable
    takes: Sequence[Hashable]
    numbers: int
    per_number: int = 0


def check_costs(steps: Sequence[StepCost], pictures: int) -> None:
    """See that a network is no larger than those of the pipeline may be.

    Args:
        steps: in the order in which they run; an output is held until its last use.
        pictures: how many they work on at a time.

    Raises:
        ValueError: it takes too much memory, or too much time.
    """
    uses = Counter(name for step in steps for name in set(step.takes))
    sizes = {step.name: step.numbers for step in steps}
    held = most = work = total = 0
    for step in steps:
        total += step.numbers
        work += step.numbers * step.per_number
        held += step.numbers
        most = max(most, held)
        for name in set(step.takes):
            uses[name] -= 1
            if not uses[name]:
                held -= sizes.get(name, 0)
    for name, found, limit in (
        ("numbers held at a time", most, MAX_HELD),
        ("numbers in all outputs", total, MAX_OUTPUTS),
        ("multiplications", work, MAX_MULTIPLICATIONS),
    ):
        each = -(-found // pictures)
        if each > limit:
            raise ValueError(f"{each:,} {name} for one picture, more than {limit:,}")
