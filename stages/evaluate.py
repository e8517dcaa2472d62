"""Three saved models on the same test pictures → metrics/evaluate.json, reports and charts."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from pawprint.core.params import Params
from pawprint.core.stage import run_stage
from pawprint.datasets import read_class_names, read_labelled_images
from pawprint.networks.runtime import start_engine

MODELS = ("baseline", "head", "finetuned")
TRAININGS = ("train_baseline", "train_head", "finetune")


def main(params: Params) -> None:
    start_engine(params.runtime.engine, params.runtime.threads)
    from pawprint.evaluation import read_history, write_charts, write_figures, write_metrics
    from pawprint.inference.predictor import build_predictor, predict
    from pawprint.networks.model_files import load_model

    test = read_labelled_images(Path("data/processed/test"))
    class_names = read_class_names(Path("data/processed"))
    config, predictions = params.evaluate, {}
    for name in MODELS:
        predictor = build_predictor(load_model(Path(f"models/{name}.keras")))
        batches = tqdm(
            test.images.batches(config.batch_size),
            desc=name,
            total=-(-len(test) // config.batch_size),
            unit="batch",
        )
        predictions[name] = np.concatenate([probs for (probs,) in predict(predictor, batches)])

    bins = config.calibration_bins
    metrics = Path("metrics")
    table = write_metrics(metrics, test.paths, test.labels, predictions, class_names, config)
    write_charts(Path("plots/evaluate"), test.labels, predictions, class_names, bins)
    histories = {stage: read_history(Path("plots", stage)) for stage in TRAININGS}
    figures = Path("plots/figures")
    write_figures(figures, test.labels, predictions, class_names, bins, histories)
    print(f"\n{table}\n\nper class: {metrics}/evaluate/report.md; charts: {figures}/")


if __name__ == "__main__":
    run_stage(main)
