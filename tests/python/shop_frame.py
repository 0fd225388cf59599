"""An own DataFrame, as a shop has it: times, users as text, item ids, tags, a price, a scene, and
two labels."""

from __future__ import annotations

import numpy as np
import pandas as pd

SCENES = ["home", "search", "cart"]
TAGS = ["home", "food", "toys", "books", "garden", "sport"]


def shop_frame(rows: int = 6000, seed: int = 11, users: int = 60, items: int = 150) -> pd.DataFrame:
    """Rows in which users like some tags and items sell by a hidden quality; `paid` is known only
    after `buy`."""
    print("seed", seed)
    draw = np.random.default_rng(seed)
    user, item = draw.integers(0, users, rows), draw.integers(0, items, rows)
    taste = draw.normal(0, 1.5, (users, len(TAGS)))
    tag_sets = [
        sorted(draw.choice(len(TAGS), draw.integers(1, 4), replace=False)) for _ in range(items)
    ]
    quality, price = draw.normal(0, 1, items), np.round(np.exp(draw.normal(3, 1, items)), 2)
    scene = draw.integers(0, len(SCENES), rows)
    affinity = np.array([taste[u, tag_sets[i]].mean() for u, i in zip(user, item)])
    click = draw.random(rows) < 1 / (
        1 + np.exp(-(affinity + quality[item] - 0.5 + 0.8 * (scene == 1)))
    )
    buy = click & (draw.random(rows) < 1 / (1 + np.exp(-(quality[item] - np.log(price[item]) + 2))))
    tags = [[TAGS[tag] for tag in tag_sets[i]] for i in item]
    frame = pd.DataFrame(
        {
            "time": pd.Timestamp("2026-01-01")
            + pd.to_timedelta(np.sort(draw.integers(0, 30 * 86400, rows)), unit="s"),
            "user_id": [f"user-{u:04d}" for u in user],
            "item_id": item + 10_000,
            "tags": tags,
            "keywords": ["|".join(cell) for cell in tags],
            "price": np.where(draw.random(rows) < 0.05, np.nan, price[item]),
            "scene": pd.Categorical([SCENES[s] for s in scene]),
            "new_customer": draw.random(rows) < 0.3,
            "country": "AT",
            "paid": np.where(buy, price[item], 0.0),
            "click": click,
            "buy": buy.astype(np.int64),
        }
    )
    return frame
