# covers: B1, R17, R20
"""What a process that runs networks starts with: the same engine, seed and settings."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILD = """
import sys
from pathlib import Path
from pawprint.networks.runtime import start_engine
start_engine("openvino", 2, int(sys.argv[2]))
import keras
from pawprint.networks.model_files import ModelInfo, save_model
layers = [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
network = keras.Sequential([keras.Input((8, 8, 3), name="pixels"), *layers], name="network")
save_model(network, Path(sys.argv[1]), ModelInfo([], 8))
assert "tensorflow" not in sys.modules
"""
CHOOSE = """
from pathlib import Path
from pawprint.networks import runtime
runtime.NVIDIA_DRIVER = Path("{driver}")
print(runtime.start_engine("auto", 2))
"""


def run(code: str, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def build(path: Path, seed: int, **variables: str) -> str:
    """The SHA-256 of a network with random weights, built in a process of its own."""
    run(BUILD, str(path), str(seed), **variables)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_random_weights_follow_from_the_seed_alone(tmp_path):
    (tmp_path / "keras.json").write_text(
        '{"floatx": "float64", "epsilon": 0.1, "image_data_format": "channels_first"}'
    )
    first = build(tmp_path / "first.keras", 0)
    assert build(tmp_path / "again.keras", 0, KERAS_HOME=str(tmp_path)) == first
    assert build(tmp_path / "other.keras", 1) != first


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        ("nowhere", "no NVIDIA GPU"),
        (__file__, "there is an NVIDIA driver, but no GPU that TensorFlow can use"),
    ],
)
def test_without_a_gpu_that_tensorflow_can_use_networks_run_on_openvino(driver, reason):
    printed = run(CHOOSE.format(driver=driver), CUDA_VISIBLE_DEVICES="")
    assert printed == f"networks run on openvino: {reason}\nopenvino\n"
