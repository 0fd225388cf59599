"""A small job for the tests of this folder: a config, rows from a seed, and the built binary."""

import os
import pathlib
import random
import subprocess

CONFIG = """
train_input_path: "{directory}/train.csv"
eval_input_path: "{directory}/eval.csv"
model_dir: "{directory}/model"
train_config {{
  sparse_optimizer {{ adagrad_optimizer {{ lr: 0.05 }} constant_learning_rate {{}} }}
  dense_optimizer {{ adam_optimizer {{ lr: 0.01 }} constant_learning_rate {{}} }}
  num_steps: 20
  save_checkpoints_steps: 10
  log_step_count_steps: 5
  {train}
}}
data_config {{
  batch_size: 16 dataset_type: CsvDataset fg_mode: FG_DAG with_header: true delimiter: ","
  label_fields: ["clk", "buy"]
}}
feature_configs {{
  id_feature {{ feature_name: "uid" expression: "user:uid" num_buckets: 50 embedding_dim: 4 }} }}
feature_configs {{
  id_feature {{ feature_name: "iid" expression: "item:iid" num_buckets: 40 embedding_dim: 4 }} }}
model_config {{
  feature_groups {{ group_name: "all" feature_names: ["uid", "iid"] group_type: DEEP }}
  feature_groups {{ group_name: "uia" feature_names: ["uid"] group_type: DEEP }}
  pepnet {{
    ppnet_hidden_units: [8]
    task_towers {{ tower_name: "ctr" label_name: "clk" mlp {{ hidden_units: [6] }}
      metrics {{ auc {{}} }}
      train_metrics {{ auc {{}} decay_step: 5 }} losses {{ binary_cross_entropy {{}} }} }}
    task_towers {{ tower_name: "cvr" label_name: "buy"
      metrics {{ auc {{}} }} losses {{ binary_cross_entropy {{}} }} }}
  }}
}}
"""


class SmallJob:
    def __init__(self, directory, train="", seed=1):
        self.directory = pathlib.Path(directory)
        self.model_dir = self.directory / "model"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config = self.directory / "job.config"
        self.config.write_text(CONFIG.format(directory=directory, train=train))
        draw = random.Random(seed)
        print("seed", seed)
        for name, rows in (("train.csv", 200), ("eval.csv", 60)):
            with open(self.directory / name, "w") as out:
                out.write("clk,buy,uid,iid\n")
                for _ in range(rows):
                    click = int(draw.random() < 0.4)
                    buy = int(click and draw.random() < 0.5)
                    out.write(f"{click},{buy},{draw.randrange(50)},{draw.randrange(40)}\n")


def pepnet(*arguments, status=0):
    """Runs the binary; returns its result. Another exit status than `status` is an error with what
    the program said."""
    result = subprocess.run([os.environ["PEPNET"], *map(str, arguments)],
                            capture_output=True, text=True, timeout=120)
    if result.returncode != status:
        raise AssertionError(f"pepnet {arguments} ended with {result.returncode}:\n"
                             f"{result.stdout}\n{result.stderr}")
    return result
