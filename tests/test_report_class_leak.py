"""How much of its class a model reads off its text, from predictions of finished runs."""

import pandas as pd
import pytest
from reported import made

from efa.config import build
from efa.data.loader import open_dataset, text_keys
from efa_book import class_leak
from efa_book.class_leak import PROTOCOLS, leak_table, shares


@pytest.fixture(scope="module")
def clips() -> pd.DataFrame:
    """Test clips with the action whose text each gets under the protocol 'wrong'."""
    config = build("smoke")
    dataset = open_dataset(config.data)
    keys = list(dataset.steps)
    table = dataset.table.assign(given=[keys[key] for key in text_keys(dataset, config, wrong=True)])
    return table[table["split"] == "test"][["clip_id", "action", "given"]]


def results_of(clips: pd.DataFrame, row: str, named: dict[str, str], folder):
    """One finished run whose class is the column `named[protocol]` of the clips."""
    parts = [clips.assign(predicted_action=clips[column], protocol=protocol) for protocol, column in named.items()]
    pd.concat(parts).to_parquet(folder / "predictions.parquet")
    return made({row: {0: 1.0}}, "top1", "readings", predictions={(row, 0): folder / "predictions.parquet"})


def test_a_head_that_repeats_its_text_and_one_that_looks(clips, tmp_path):
    assert (clips["given"] != clips["action"]).all()
    row = "Class given the true text"
    leaking = results_of(clips, row, {"predicted": "given", "oracle": "action", "wrong": "given"}, tmp_path)
    assert shares(leaking, row, 0) == [0, 100, 0, 100]
    text = leak_table(leaking).text
    assert f"{row} seeds: 1 | 0.0 | 100.0 | 0.0 | 100.0" in text
    assert "EFA seeds: 0 | not trained yet | not trained yet" in text
    looking = results_of(clips, "EFA", dict.fromkeys(PROTOCOLS, "action"), tmp_path)
    assert shares(looking, "EFA", 0) == [100, 100, 100, 0]


def test_a_run_that_lacks_a_protocol_has_no_shares(clips, tmp_path):
    some = results_of(clips, "EFA", {"predicted": "action", "oracle": "action"}, tmp_path)
    assert shares(some, "EFA", 0) == []
    assert leak_table(some).text.count("not trained yet") == 4 * len(class_leak.ROWS)
