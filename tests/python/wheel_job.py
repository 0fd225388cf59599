"""Runs in the fresh environment of wheel_test.py: an own DataFrame, from pandas to a model and back
to scores."""

import importlib.metadata
import pathlib
import sys

import numpy as np
from shop_frame import shop_frame

import pepnet_trainer as pt

scratch = pathlib.Path(sys.argv[1])
assert pathlib.Path(pt.__file__).is_relative_to(sys.prefix), pt.__file__
assert pt.find_program().is_relative_to(sys.prefix), pt.find_program()
assert pt.version() == importlib.metadata.version("pepnet-trainer"), pt.version()
frame, later = pt.split(shop_frame(), 0.2, time="time")
config = pt.Config.from_dataframe(frame, ["click", "buy"], "scene")
run = pt.train(config, frame, later, model_dir=scratch / "shop")
assert run.newest.values["auc_click"] > 0.65, run.newest
scores = run.predict(later)
export = run.export()
np.testing.assert_allclose(pt.Scorer(export)(later), scores, rtol=1e-5, atol=1e-5)
np.testing.assert_allclose(pt.load_torch(export).predict(later), scores, rtol=1e-5, atol=1e-5)
assert len(pt.read_table(run, "user_id")) == 60
workers = pt.train(
    config,
    frame,
    later,
    {"data_config.batch_size": 32},
    scratch / "workers",
    workers=2,
    progress=False,
)
print("two workers:", workers.newest.values["auc_click"], "one:", run.newest.values["auc_click"])


def stop(record):
    raise pt.StopTraining


stopped = pt.train(config, frame, edits={"train_config.num_epochs": 2000,
                                         "train_config.log_step_count_steps": 10},
                   model_dir=scratch / "stopped", workers=2, progress=stop)  # fmt: skip
assert 0 < stopped.newest.step < 10000, stopped
config.save(scratch / "shop.config")
