"""FormSim's colours, proportions, anchors and words, as tables.yaml has them."""

from pathlib import Path

import yaml

TABLES = yaml.safe_load(Path(__file__).with_name("tables.yaml").read_text(encoding="utf-8"))
