"""How the runs learnt: losses by epoch, where sigma and the gate go, and what a run costs."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from efa.experiments import TABLES
from efa_book import html
from efa_book.collect import Results
from efa_book.figures import FAINT, curve_colours, draw_grid, styled
from efa_book.html import Cell, Html

PARTS = {"class": "action, $L_c$", "quality": "verdict, $L_q$", "text": "text, $L_t$"}
SIGMAS = {
    "fusion.global_branch.text_residual": "eq. 1, instruction",
    "fusion.global_branch.video_residual": "eq. 3, video",
    "fusion.step_branch.text_residual": "eq. 5, steps",
    "fusion.step_branch.video_residual": "eq. 7, video",
}
GATE = "val_gate"  # mean over the validation clips, their tokens and channels


def histories(results: Results, row: str) -> pd.DataFrame:
    """All seeds of a row below one another: `seed`, `epoch` and the columns of history.csv."""
    found = [history.assign(seed=seed) for (name, seed), history in results.histories.items() if name == row]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["seed", "epoch"])


@styled
def losses(results: Results, row: str = "EFA") -> Figure | None:
    """The three losses of eq. 11 by epoch: training (lines) and validation (dots), one colour a seed."""
    history = histories(results, row)
    if history.empty:
        return None
    figure = Figure(figsize=(8.6, 2.6))
    axes = figure.subplots(1, len(PARTS), squeeze=False)[0]
    seeds = sorted(set(history["seed"]))
    for ax, (part, title) in zip(axes, PARTS.items(), strict=True):
        for seed, colour in zip(seeds, curve_colours(len(seeds)), strict=True):
            one = history[history["seed"] == seed]
            ax.plot(one["epoch"], one[f"train_{part}"], "-", lw=1.3, color=colour, label=f"seed {seed}, training")
            if f"val_{part}" in one:
                known = one.dropna(subset=[f"val_{part}"])
                ax.plot(known["epoch"], known[f"val_{part}"], "o", ms=4, color=colour, label=f"seed {seed}, validation")
        ax.set_title(title)
        _draw_epochs(ax, history)
        ax.set_ylim(bottom=0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


@styled
def sigmas(results: Results, row: str = "EFA") -> Figure | None:
    """Left the mean absolute sigma of the four residuals by epoch, mean over seeds; right the gate, one line a seed.

    Only where a history holds them: runs made before the gate was recorded have sigma alone.
    """
    history = histories(results, row)
    known = [column for column in SIGMAS if column in history and history[column].notna().any()]
    seeds = seeds_with_gate(results, row)
    if not known and not seeds:
        return None
    figure = Figure(figsize=(8.6, 3.0) if known and seeds else (6.0, 2.6))
    axes = figure.subplots(1, bool(known) + bool(seeds), squeeze=False)[0]
    if known:
        means = history.groupby("epoch")[known].mean()
        for column, style in zip(known, ("o-", "s--", "D-.", "^:"), strict=False):
            axes[0].plot(means.index, means[column], style, ms=4, lw=1.2, label=SIGMAS[column])
        axes[0].set_ylabel("|sigma|, mean over channels")
    if seeds:
        for seed, colour in zip(seeds, curve_colours(len(seeds)), strict=True):
            one = history[history["seed"] == seed].dropna(subset=[GATE])
            axes[-1].plot(one["epoch"], one[GATE], "o-", ms=4, lw=1.2, color=colour, label=f"gate, seed {seed}")
        axes[-1].axhline(0.5, color=FAINT, lw=0.8, ls=":")
        axes[-1].set(ylabel="gate of eq. 9", ylim=(0, 1))
    for ax in axes:
        _draw_epochs(ax, history)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def seeds_with_gate(results: Results, row: str = "EFA") -> list[int]:
    """Seeds whose history holds the gate."""
    history = histories(results, row)
    return sorted(set(history.loc[history[GATE].notna(), "seed"])) if GATE in history else []


def sigmas_caption(results: Results, row: str = "EFA") -> str:
    """What `sigmas` shows, and for which seeds it can show the gate."""

    def seed_names(seeds: list[int]) -> str:
        return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"

    having = seeds_with_gate(results, row)
    text = "Mean over channels and seeds. It starts at 1."
    if having:
        text = (
            f"Left: sigma, mean over channels and seeds; it starts at 1. Right: the gate, mean over the validation "
            f"clips, their tokens and channels, {seed_names(having)}; 1: the instruction's branch alone, 0: the steps'."
        )
    if lacking := sorted(set(histories(results, row)["seed"]) - set(having)):
        text += f" The gate by epoch was not recorded for {seed_names(lacking)}."
    return text


def _draw_epochs(ax: Axes, history: pd.DataFrame) -> None:
    last = int(history["epoch"].max())
    ax.set(xlabel="epoch", xticks=range(1, last + 1, max(1, last // 8)))
    draw_grid(ax)


def costs_table(results: Results) -> Html:
    """What each row cost: parameters, those that learn, seconds, memory; mean over seeds."""
    rows: list[list[str | Cell]] = []
    for row in results.rows:
        facts = [fact for (name, _), fact in results.facts.items() if name == row]
        if not facts:
            continue
        trained = facts[0].get("parameters_trained")
        numbers = [
            f"{facts[0]['parameters'] / 1e6:.2f}",
            "–" if trained is None else f"{trained / 1e6:.2f}",
            f"{np.mean([sum(fact['seconds'].values()) for fact in facts]):.0f}",
            f"{np.mean([fact['peak_memory_mb'] for fact in facts]) / 1024:.1f}",
        ]
        rows.append([row, *(Cell(number, number=True) for number in numbers)])
    if not rows:
        return html.note("There is no run whose cost could be shown yet.")
    head = ["", "parameters, millions", "of them trained, millions", "seconds a run", "peak memory, GiB"]
    notes = (
        "One run on one core. What is frozen is computed before: the features of all clips take a minute or two, once. "
        "Memory is that of the process, which may have trained other rows before.",
    )
    return html.table(f"What a row costs: {TABLES[results.table].title}", head, rows, notes)
