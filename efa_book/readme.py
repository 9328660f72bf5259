"""What README.md says was found, computed from results/. `python -m efa_book.readme` writes it; a test compares."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from efa.utils import paths
from efa.utils.files import write_safely
from efa_book import annotations, landing
from efa_book.collect import Results, obtain
from efa_book.estimates import estimate

MARKS = ("<!-- computed by python -m efa_book.readme -->\n", "<!-- until here -->")
TEMPLATE = """\
- **On poses** (`--preset pose`, 50 exercises; {seeds}): balanced accuracy {quality_balanced_acc}, AUC
  {quality_auc}. The text names the true fault with F1 {fault_f1}, the right step in {step_acc} % of the faulty clips,
  and a fault in {hallucinated_faults} % of the faultless ones. Where only the text decides ({text_seeds}): AUC
  {oracle} with the right text, {none} without, {wrong} with another's.
- **A video of your own**: `efa assess` has learnt form from rendered figures alone. It names the exercise of {top1} %
  ({low}-{high}) of {known} clips of real people, mean over {actions} exercises {mean} %; how its figures move was
  extended with misnamed ones of these clips in view. It answers for {answered_known} % of them, of which
  {wrong_of_answered_known} % are wrong, and for {answered_other} % of {others} clips of exercises that it does not
  know. Its verdicts on people's form cannot be relied on, and it says so: AUC {forms}.
- **The paper's data**: the file name alone ({rule}) gives the right verdict for {ruled} % of the {clips} test clips,
  without a video; the paper's EFA {printed} %.
"""


def findings() -> str:
    """The part of README.md between `MARKS`."""
    rows = [f"| {' | '.join(row[:3])} |" for row in landing.claim_rows(landing.read_results())]
    numbers = {name: f"{value:.1f}" if isinstance(value, float) else value for name, value in _numbers().items()}
    return "\n".join(["| claim | here | EFA here |", "|---|---|---|", *rows, "", TEMPLATE.format(**numbers)])


def _numbers() -> dict[str, Any]:
    main, text = (obtain(table, "pose", None, train=False) for table in ("6", "standards"))
    found: dict[str, Any] = {"seeds": _seeds(main), "text_seeds": _seeds(text)}
    for metric in ("quality_balanced_acc", "quality_auc", "fault_f1", "step_acc", "hallucinated_faults"):
        found[metric] = estimate(main, "EFA", metric).mean
    found |= {one: estimate(text, "EFA", "quality_auc", one).mean for one in ("oracle", "none", "wrong")}

    folder = paths.results() / "real-people"
    scores, answers = pd.read_csv(folder / "action_scores.csv"), pd.read_csv(folder / "actions.csv")
    scores = scores[scores["part"] == "all"].set_index("metric")
    found |= dict(zip(scores.index, scores["value"].astype(float), strict=True))
    found |= dict(zip(("low", "high"), scores.loc["top1", ["low", "high"]].astype(float), strict=True))
    found |= {"mean": scores.loc["top1_mean_over_actions", "value"], "actions": answers["action"].nunique()}
    found |= {"known": answers["action"].notna().sum(), "others": answers["action"].isna().sum()}
    forms = json.loads((folder / "actions.json").read_text("utf-8"))["forms"]
    found["forms"] = ", ".join(f"{one['auc']:.2f} on {name.lower()}s" for name, one in forms.items())

    rules, printed = annotations.read("shortcuts"), pd.read_csv(paths.results() / "paper.csv", dtype={"table": str})
    best = rules[rules["metric"] == "quality_acc"].nlargest(1, "value").iloc[0]
    found |= {"rule": best["title"], "ruled": best["value"], "clips": best["clips"]}
    theirs = printed.query("table == '5' and row == 'EFA' and metric == 'quality_acc'")["value"].iloc[0]
    return found | {"printed": float(theirs)}


def _seeds(results: Results) -> str:
    used = results.values("EFA", "quality_auc")
    older = ", results version 2, before the protocol" if landing.older(results) else ""
    return f"{len(used)} seed{'s' * (len(used) != 1)}{older}"


def write(path: Path) -> None:
    """Puts `findings` between the marks of a README."""
    first, last = map(re.escape, MARKS)
    text = re.sub(f"(?<={first}).*?(?={last})", lambda _: findings(), path.read_text("utf-8"), flags=re.DOTALL)
    write_safely(path, lambda partly: partly.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    write(paths.home() / "README.md")
