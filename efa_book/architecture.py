"""The paper's Figures 5 and 6, drawn from a model: shapes are read from a forward pass of its modules."""

from dataclasses import dataclass, field

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from efa.config import Config, EncoderConfig
from efa.model.assessor import EFAModel
from efa_book.figures import Box, chains, diagram


@dataclass(frozen=True)
class Traced:
    """A model whose tensors have sizes and no content, and the shapes, without the batch, that its modules saw."""

    model: EFAModel
    given: dict[str, list[str]] = field(default_factory=dict)  # name of a module -> of its inputs
    made: dict[str, list[str]] = field(default_factory=dict)  # of its outputs


def trace(config: Config, actions: int, words: int, text_dim: int) -> Traced:
    """One clip through EFA on PyTorch's device 'meta', for so many actions, word pieces and numbers a text vector."""

    def shapes(value: object) -> list[str]:
        parts = value if isinstance(value, tuple) else (getattr(value, "fused", value),)
        return [str(list(part.shape[1:])) for part in parts if isinstance(part, Tensor)]

    with torch.device("meta"):
        model = EFAModel(config.with_({"text.frozen": True}), actions, words, text_dim).eval()
        traced, data = Traced(model), config.data
        for name, module in model.named_modules():

            def note(_: nn.Module, inputs: tuple[object, ...], output: object, name: str = name) -> None:
                traced.given[name], traced.made[name] = shapes(inputs), shapes(output)

            module.register_forward_hook(note)
        frames, texts = torch.empty(1, data.frames, 3, data.size, data.size), torch.empty(1, 6, text_dim)
        tokens = torch.ones(1, config.decoder.max_tokens, dtype=torch.long)
        model(model.encode_video(frames), texts[:, :5], texts[:, 5:], None, tokens)
    return traced


def overview(traced: Traced) -> Figure:
    """Figure 5: from video and text to class, verdict and explanation."""
    model, config, (video, *texts) = traced.model, traced.model.config, traced.given["fusion"]

    def widths(head: str) -> str:
        layers = [part for part in getattr(model, head) if isinstance(part, nn.Linear)]
        return " → ".join(map(str, [layers[0].in_features, *(layer.out_features for layer in layers)]))

    reader = f"text encoder\n{config.text.model}" if model.fusion.text_in else "learnt vectors,\nno text"
    assert isinstance(config.encoder, EncoderConfig)  # the paper's figure
    depths, grid = " + ".join(map(str, config.encoder.depths)), " × ".join(map(str, model.grid))
    boxes = {
        "frames": Box(0, 2, f"video\n{traced.given['encoder'][0]}"),
        "swin": Box(1, 2, f"Video Swin, blocks\n{depths}", "model"),
        "F_v": Box(2, 2, f"$F_v$ {video}\n{grid} patches"),
        "sentences": Box(0, 0.85, "five standard steps\nand an instruction"),
        "reader": Box(1, 0.85, reader, "model"),
        "fusion": Box(3, 0.95, "fusion\n(Figure 6)", "model", height=1.8),
        "F_f": Box(4, 0.95, f"$F_f$ {traced.made['fusion'][0]}"),
        "MLP_c": Box(5, 2, f"MLP$_c$\n{widths('class_head')}", "model", 1.0),
        "MLP_q": Box(5, 1.25, f"MLP$_q$\n{widths('quality_head')}", "model", 1.0),
        "decoder": Box(5, 0.5, f"text generator,\ndepth {config.decoder.depth}", "model", 1.0),
        "class": Box(6, 2, f"class\n{traced.made['class_head'][0]}", width=0.76),
        "verdict": Box(6, 1.25, f"verdict\n{traced.made['quality_head'][0]}", width=0.76),
        "explanation": Box(6, 0.5, f"explanation\n{traced.made['decoder'][0]}", width=0.76),
    }
    links = "frames>swin>F_v>fusion>F_f sentences>reader F_f>MLP_q>verdict F_f>decoder>explanation MLP_c>class "
    links += "F_v>MLP_c" if config.fusion.class_from == "video" else "F_f>MLP_c"
    for (name, branch, y), shape in zip((("F_t^s", "step", 1.2), ("F_t^g", "global", 0.5)), texts, strict=True):
        if hasattr(model.fusion, f"{branch}_branch"):
            boxes[name] = Box(2, y, f"${name}$ {shape}")
            links += f" reader>{name}>fusion"
    return diagram(boxes, chains(links))


def fusion(traced: Traced) -> Figure:
    """Figure 6: both branches, equations 1 to 8, and how they are merged, equations 9 and 10."""
    part, config, given, made = traced.model.fusion, traced.model.config.fusion, traced.given, traced.made
    boxes = {"F_v": Box(2.5, 0, f"$F_v$ {made['fusion.video_in'][0]}, from {given['fusion'][0]}", width=3.76)}
    boxes["F_f"] = Box(6, 0, f"$F_f$ {made['fusion'][0]}", width=0.76)
    arrows: list[tuple[str, str, str]] = []
    into = "merge" if config.global_branch and config.step_branch else "F_f"
    for branch, letter, y, first in (("global", "g", 0.8, 1), ("step", "s", -0.8, 3)):
        if not hasattr(part, f"{branch}_branch"):
            continue
        text, read, end = f"F_t^{letter}", f"F_t^{{{letter}*}}", f"F_v^{letter}"
        boxes[text] = Box(1.5, 2 * y, f"${text}$ {given[f'fusion.{branch}_branch'][1]}", width=1.76)
        halves = [("text", 1, text, "F_v", read)] if config.query != "video" else []
        halves.append(("video", 3, "F_v", read if halves else text, end))
        for number, (half, x, queries, keys, out) in enumerate(halves, first + 2 - len(halves)):
            path, sigma, labels = f"fusion.{branch}_branch.{half}", f"$\\sigma_{number}$", ["", ""]
            if f"{path}_attention" in made:
                q, k = (made[f"{path}_attention.{what}"][0] for what in ("query", "key"))
                boxes[path] = Box(x, y, f"Attn$_{number}$, heads: {config.heads}\n$Q$ {q}\n$K, V$ {k}", "model", 0.76)
                arrows += [(queries, path, "$Q$"), (keys, path, "$K, V$")]
            size = list(traced.model.get_parameter(f"{path}_residual.sigma").shape) or "scalar"
            boxes[out] = Box(x + 1, y, f"${out}$ {made[f'{path}_residual'][0]}\n{sigma} {size}", width=0.76)
            labels[config.residual == "printed"] = sigma  # on the input, else on the attention's result
            arrows += [(path if path in boxes else keys, out, labels[0]), (queries, out, labels[1])]
        arrows.append((end, into, ""))
    if into == "merge":
        linear = getattr(part.merge, "linear", part.merge)  # None for 'add'
        weight = f"{[linear.in_features, linear.out_features]}" if linear else ""
        gate = f"gate $G$ {made.get('fusion.merge', [''])[-1]}\n$W_g$ {weight}"
        merges = {"gate": gate, "add": "sum", "concatenate": f"concatenation,\nlinear {weight}"}
        boxes["merge"] = Box(5, 0, merges[config.merge], "model")
        arrows.append(("merge", "F_f", ""))
    return diagram(boxes, arrows)
