"""Several classifiers in one network, whose probabilities are a weighted mean of theirs.

    pixels ─► (resizing ─►) layers of member 1 ─► softmax ─► its share ─┐
    pixels ─► (resizing ─►) layers of member 2 ─► softmax ─► its share ─┴► sum: probs

The unlikeness of those that have it is joined in the same way, and divided by a threshold of its
own, see ``pawprint.unlikeness``.

The network is flat, so that whatever takes a model of the pipeline takes it too. What two members
have in common from the pixels on, such as the frozen part of a head and of the model that was
fine-tuned from it, stands there once and runs once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from pawprint.inference.members import SHARE, member_layer
from pawprint.networks.architectures import FEATURE_MAP, PROBS, UNLIKENESS, build_resizing
from pawprint.networks.config_bounds import MAX_LAYERS
from pawprint.runner.errors import ModelError

_PIXELS = "pixels"


@dataclass(frozen=True)
class JoinedModel:
    """A model that joins in.

    Attributes:
        name: as messages name it.
        model: a saved classifier, pixels → probabilities, and unlikeness where it has that.
        share: its weight in the mean; those of all members sum to 1.
    """

    name: str
    model: keras.Model
    share: float


def join_models(
    members: Sequence[JoinedModel], size_px: int, threshold: float = 1.0
) -> keras.Model:
    """One network of several classifiers, with copies of their weights.

    Args:
        members: at least one; none of them an ensemble. Of a single one, its own layers come back.
        size_px: side of the pictures that it takes; those of a member of another size are resized
            within the network.
        threshold: what the members' mean unlikeness is divided by, see ``weigh_unlikeness``.

    Returns:
        float32 [n, size_px, size_px, 3] in 0...255 → float32 [n, classes], in a layer ``probs``;
        and unlikeness, float32 [n, 1], if a member has it.

    Raises:
        ModelError: there are more layers than a model file may have.
    """
    whole = _Layers(size_px)
    ends: list[str] = []
    ratios: dict[str, float] = {}
    for number, member in enumerate(members, start=1):
        own_px, source = member.model.input_shape[1], _PIXELS
        if own_px != size_px:
            resizing = build_resizing(size_px, own_px)
            (source,) = whole.add(resizing, [_PIXELS], member_layer(number, "input_"))
        prefix = member_layer(number, "") if len(members) > 1 else ""
        end, *ratio = whole.add(member.model, [source], prefix)
        ends.append(end)
        ratios |= dict.fromkeys(ratio, member.share)
    if len(members) > 1:
        mean = _build_mean([member.share for member in members], members[0].model.outputs[0].shape)
        ends = whole.add(mean, ends, "")
    if (len(members) > 1 and ratios) or threshold != 1:
        factors = [share / sum(ratios.values()) / threshold for share in ratios.values()]
        ratios = dict.fromkeys(whole.add(_build_ratio(factors), list(ratios), ""), 1.0)
    if len(whole.configs) > MAX_LAYERS:
        names = ", ".join(member.name for member in members)
        raise ModelError(
            f"ensemble of {names}: {len(whole.configs):,} layers, more than the {MAX_LAYERS:,} "
            "that a model file may have; lower ensemble.picks, or remove files from ensemble.files"
        )
    return whole.build([*ends, *ratios])


def weigh_unlikeness(
    ratios: Sequence[np.ndarray | None], shares: Sequence[float]
) -> np.ndarray | None:
    """The mean of the members' unlikeness by their shares, of those that have it.

    Args:
        ratios: of each member, float32 [n], or None.
        shares: of each member.

    Returns:
        float64 [n]; None where no member has it.

    >>> weigh_unlikeness([np.array([1.0]), None, np.array([4.0])], [0.5, 0.25, 0.25])
    array([2.])
    """
    known = [(r, share) for r, share in zip(ratios, shares, strict=True) if r is not None]
    if not known:
        return None
    return np.average([r for r, _ in known], axis=0, weights=[share for _, share in known])


def _build_mean(shares: Sequence[float], shape: Sequence[int | None]) -> keras.Model:
    inputs = [keras.Input(shape[1:], name=f"probs_{i}") for i, _ in enumerate(shares, 1)]
    parts = [
        layers.Rescaling(share, name=member_layer(i, SHARE))(probs)
        for i, (share, probs) in enumerate(zip(shares, inputs, strict=True), 1)
    ]
    return keras.Model(inputs, layers.Add(name=PROBS)(parts), name="mean")


def _build_ratio(factors: Sequence[float]) -> keras.Model:
    inputs = [keras.Input((1,), name=f"ratio_{i}") for i, _ in enumerate(factors, 1)]
    parts = [
        layers.Rescaling(factor, name=f"{UNLIKENESS}_{SHARE}{i}")(ratio)
        for i, (factor, ratio) in enumerate(zip(factors, inputs, strict=True), 1)
    ]
    mean = layers.Add(name=UNLIKENESS)(parts) if len(parts) > 1 else parts[0]
    return keras.Model(inputs, mean, name="ratio")


class _Layers:
    """The layers of one network, put together from those of several.

    Each is told as Keras' own configuration of a network tells it: what it is, and whose outputs it
    takes by their layers' names.

    Attributes:
        configs: of all layers so far, each behind those whose outputs it takes.
    """

    def __init__(self, size_px: int) -> None:
        pixels = keras.Input((size_px, size_px, 3), name=_PIXELS)
        identity = keras.Model(pixels, layers.Identity()(pixels))
        self.configs: list[dict[str, Any]] = identity.get_config()["layers"][:1]
        self._weights: dict[str, list[Any]] = {}
        self._names: dict[str, str] = {}  # of layers, by what they compute

    def add(self, part: keras.Model, sources: Sequence[str], prefix: str) -> list[str]:
        """Add the layers of a network behind others, but for those that are there already.

        Args:
            part: functional.
            sources: the layers here whose outputs take the place of its inputs.
            prefix: of their names here.

        Returns:
            The names here of the layers of its outputs.
        """
        places = dict(zip((tensor.name for tensor in part.inputs), sources, strict=True))
        weights = {layer.name: layer.get_weights() for layer in part.layers}
        told = part.get_config()
        for config in told["layers"]:
            name = config["name"]
            if name not in places:
                places[name] = self._add(config, weights.get(name, []), places, prefix + name)
        ends = told["output_layers"]
        return [places[name] for name, *_ in ([ends] if isinstance(ends[0], str) else ends)]

    def _add(
        self, config: dict[str, Any], weights: list[Any], places: Mapping[str, str], name: str
    ) -> str:
        inner = {**config["config"], "name": ""}
        new = {**config, "name": "", "config": inner}
        new["inbound_nodes"] = _redirect(config["inbound_nodes"], places)
        digest = hashlib.sha256(json.dumps(new, sort_keys=True).encode())
        for array in weights:
            digest.update(array.tobytes())
        # Grad-CAM looks for a feature map of each member
        key = name if config["name"] == FEATURE_MAP else digest.hexdigest()
        if key not in self._names:
            self._names[key] = new["name"] = inner["name"] = name
            self.configs.append(new)
            self._weights[name] = weights
        return self._names[key]

    def build(self, ends: Sequence[str]) -> keras.Model:
        """The network up to some layers."""
        outputs = [[name, 0, 0] for name in ends]
        model = keras.Model.from_config(
            {
                "name": "ensemble",
                "trainable": True,
                "layers": self.configs,
                "input_layers": [_PIXELS, 0, 0],
                "output_layers": outputs if len(ends) > 1 else outputs[0],
            }
        )
        for name, weights in self._weights.items():
            if weights:
                model.get_layer(name).set_weights(weights)
        return model


def _redirect(value: Any, places: Mapping[str, str]) -> Any:
    """A layer's inputs, with the names of the layers whose outputs they are exchanged."""
    if isinstance(value, dict):
        return {
            key: [places[item[0]], *item[1:]] if key == "keras_history" else _redirect(item, places)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_redirect(item, places) for item in value]
    return value
