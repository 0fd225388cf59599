"""Rows of three scenes with a config that has a tower for each of them (domain_input_name)."""

import numpy as np
import pyarrow as pa

SCENES = ["search", "home", "cart"]  # the domains 0, 1 and 2, in the order of the vocabulary
CONFIG = """
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.1 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { lr: 0.02 } constant_learning_rate {} }
  num_epochs: 2
}
data_config { batch_size: 32 dataset_type: ParquetDataset fg_mode: FG_DAG
  label_fields: ["click", "scene"] num_workers: 1 }
feature_configs { id_feature { feature_name: "user" expression: "user:user"
  num_buckets: 20 embedding_dim: 4 } }
feature_configs { id_feature { feature_name: "where" expression: "context:scene" embedding_dim: 4
  vocab_list: ["search", "home", "cart"] } }
model_config {
  feature_groups { group_name: "all" feature_names: ["user", "where"] }
  pepnet {
    domain_input_name: "scene" task_domain_num: 3
    task_towers { tower_name: "click" label_name: "click" mlp { hidden_units: [4] }
      losses { binary_cross_entropy {} } }
  }
}
"""


def scene_rows(count: int = 200) -> pa.Table:
    draw = np.random.default_rng(6)
    scene = draw.integers(0, 3, count)
    return pa.table(
        {
            "click": (draw.random(count) < 0.2 + 0.2 * scene).astype(np.int64),
            "user": draw.integers(0, 20, count),
            "scene": [SCENES[one] for one in scene],
        }
    )
