"""The machines of a cluster: which there are, and what they are."""

from __future__ import annotations

import time
from operator import itemgetter
from typing import Any, cast

from pawprint.cluster.machines import Machine, this_machine
from pawprint.cluster.messages import Node
from pawprint.runner.errors import PawprintError, one_line

INTRODUCED_S = 10.0  # until the first machines begin without those that have not answered
NO_CODE = "a machine of it cannot take up Pawprint's code ({})"
_WAIT_S = 0.05


def _introduce() -> Machine:
    return this_machine()


class Nodes:
    """Machines with at least one core for us.

    Args:
        ray: the module, connected.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._names: dict[str, str] = {}  # by id

    def list_all(self) -> list[tuple[str, int]]:
        """Id and cores of all machines that have some, by address; their names are remembered."""
        nodes = sorted(self._ray.nodes(), key=itemgetter("NodeManagerAddress", "NodeID"))
        nodes = [node for node in nodes if node["Alive"]]
        nodes = [node for node in nodes if node["Resources"].get("CPU", 0) >= 1]
        addresses = [node["NodeManagerAddress"] for node in nodes]
        for node, address in zip(nodes, addresses, strict=True):
            alone = addresses.count(address) == 1
            name = address if alone else f"{address} ({node['NodeID'][:6]})"
            self._names.setdefault(node["NodeID"], name)
        return [(node["NodeID"], int(node["Resources"]["CPU"])) for node in nodes]

    def name(self, node: str) -> str:
        if node not in self._names:
            self.list_all()
        return self._names.get(node, node[:6])

    def introduce_all(self) -> list[Node]:
        """Ask each machine what it is; one that is late is judged by its first answer."""
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        ask, listed = self._ray.remote(num_cpus=0, max_retries=1)(_introduce), self.list_all()
        asked = {
            ask.options(scheduling_strategy=strategy(number, soft=False)).remote(): (number, cores)
            for number, cores in listed
        }
        found: dict[str, Node] = {}
        waiting, end = list(asked), time.monotonic() + INTRODUCED_S
        while waiting and not (found and time.monotonic() > end):
            answered, waiting = self._ray.wait(waiting, timeout=_WAIT_S)
            for answer in answered:
                number, cores = asked[answer]
                if machine := self._read_introduction(answer):
                    found[number] = Node(self.name(number), cores, machine)
        return [found[number] for number, _ in listed if number in found]

    def _read_introduction(self, answer: Any) -> Machine | None:
        """What a machine said; None: it is lost.

        Raises:
            PawprintError: it cannot work for us.
        """
        errors = self._ray.exceptions
        try:
            return cast(Machine, self._ray.get(answer))
        except (errors.RayTaskError, errors.RuntimeEnvSetupError) as error:
            cause = getattr(error, "cause", None) or error
            raise PawprintError(NO_CODE.format(one_line(cause))) from error
        except errors.RayError:
            pass
        return None
