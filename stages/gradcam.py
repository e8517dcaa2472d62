"""Where the models look: fixed test pictures, and the worst errors of each.

→ plots/gradcam/ (a PNG each), plots/errors.html (the worst errors in tables)
"""

from pathlib import Path

from pawprint.data.datasets import read_class_names, read_labelled_images
from pawprint.evaluation.error_page import render_error_page
from pawprint.evaluation.predictions import read_predictions
from pawprint.evaluation.selection import choose_pictures
from pawprint.networks.runtime import start_engine
from pawprint.registry.models import made_models
from pawprint.runner.files import atomic_directory, atomic_write
from pawprint.runner.params import Params
from pawprint.runner.stage import run_stage


def main(params: Params) -> None:
    start_engine(params.runtime.engine, params.runtime.threads)
    from pawprint.inference.classifier import Classifier
    from pawprint.inference.overlays import render_overlays
    from pawprint.networks.model_files import check_classes

    config, processed, plots = params.gradcam, Path("data/processed"), Path("plots/gradcam")
    test, class_names = read_labelled_images(processed, "test"), read_class_names(processed)
    predictions = read_predictions(Path("metrics/evaluate/predictions.csv"))
    count, page = 0, Path("plots/errors.html")
    wrong: dict[str, dict[str, bytes]] = {}
    with atomic_directory(plots) as out:
        for model in made_models(Path()):
            wrong[model.name] = {}
            chosen = choose_pictures(predictions[model.name], config.fixed, config.worst)
            if not chosen:
                continue
            classifier = Classifier.open(Path(model.file))
            check_classes(Path(model.file), classifier.card.class_names, class_names)
            pictures = test.gather([prediction.path for prediction in chosen.values()])
            classes = [class_names.index(prediction.predicted) for prediction in chosen.values()]
            heatmaps = classifier.heatmaps(pictures, classes)
            captions = {f"{model.name}_{k}": f"{model.name}: {p}" for k, p in chosen.items()}
            render_overlays(out, captions, pictures, heatmaps, config.opacity)
            count += len(chosen)
            wrong[model.name] = {
                prediction.path: (out / f"{model.name}_{name}.png").read_bytes()
                for name, prediction in chosen.items()
                if not prediction.correct
            }
    with atomic_write(page) as file:
        file.write(render_error_page(predictions, wrong, params.evaluate.tta).encode())
    print(f"{count} overlays in {plots}/; the worst errors of each model: {page}")


if __name__ == "__main__":
    run_stage(main)
