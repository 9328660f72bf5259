"""book/protocol.md: frozen by the seed of the sealed split, older than what it rules, and its power table is true."""

import datetime
import hashlib
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import norm

from efa.config import build
from efa_book.claims import ALPHA, read_claims
from efa_book.table_specs import KNOWN

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "book" / "protocol.md"
TEXT = FILE.read_text("utf-8")
SEEDS, ROWS = 10, 9  # a table's, for the degrees of freedom of the pooled variance
TITLES = {metric.title: metric for metric in KNOWN.values()}
POWER = [[cell.strip() for cell in line.split("|")[1:-1]] for line in TEXT.splitlines() if line.count("|") == 6][2:]


def test_the_sealed_seed_is_the_hash_of_the_protocol():
    seed = int(hashlib.sha256(FILE.read_bytes()).hexdigest()[:8], 16)
    for preset in ("laptop", "pose", "gpu"):
        data = build(preset).data
        assert (data.sealed, data.sealed_seed) == (9300, seed), preset


def test_every_published_run_is_younger_than_the_protocol():
    asked = ["git", "-C", str(ROOT), "log", "-1", "--format=%cI", "--", "book/protocol.md"]
    try:
        written = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git history here")
    if not written:
        pytest.skip("the protocol is not committed")
    frozen, files = datetime.datetime.fromisoformat(written), ROOT.glob("results/formsim-*/provenance.json")
    runs = [run for file in files for run in json.loads(file.read_text()).values() if run["results_version"] >= 3]
    assert runs
    assert all(datetime.datetime.fromisoformat(run["finished"]) > frozen for run in runs)


@pytest.mark.parametrize("title", [row[0] for row in POWER])
def test_the_power_table_follows_from_its_deviations(title):
    tolerance, deviation, no_effect, decided = next(row[1:] for row in POWER if row[0] == title)
    limit, error = float(tolerance), float(deviation) / np.sqrt(SEEDS)
    half = stdtrit((ROWS - 1) * (SEEDS - 1), 0.95) * error
    claims = sum(claim.table == "6" for claim in read_claims())
    needed = norm.isf(ALPHA / claims / 2) * error
    true = np.linspace(-2 * limit, 2 * limit, 401)

    def share(true, low, high):  # of estimates between
        return norm.cdf((high - true) / error) - norm.cdf((low - true) / error)

    inner = max(0.0, limit - half)
    within = share(true, -inner, inner)
    beyond = 1 - share(true, -max(needed, inner), max(needed, inner))
    assert round(100 * share(0.0, -inner, inner)) == int(no_effect.rstrip(" %"))
    assert round(100 * float(np.mean(within + beyond))) == int(decided.rstrip(" %"))


def test_tolerances_are_the_ones_that_are_used():
    (table,) = re.findall(r"\| metric \| tolerance \|\n\|---\|---\|\n((?:\|.*\n)+)", TEXT)
    said = {}
    for line in table.splitlines():
        names, tolerance = (cell.strip() for cell in line.split("|")[1:-1])
        value, relative = float(tolerance.split()[0]), "%" in tolerance
        said |= {name.strip().lower(): (value, relative) for name in names.split(",")}
    for metric in {claim.metric for claim in read_claims()} | {"quality_balanced_acc", "quality_auc", "fault_f1"}:
        spec = KNOWN[metric]
        assert said[spec.title.lower().replace("auc of form", "auc")] == (spec.tolerance, spec.relative)
