"""The audit as data: each difference between the paper, its released code and this book, with where to look.

`book/audit.md` says the same in prose, and a test keeps the two in step. What the release does was read in its code
(GitHub MICLAB-BUPT/EFA, commit 69acb6a); 'run' means that it was run with random weights, since no checkpoint is
released. What is measured in this book is measured on our code and on `efa_book.audit.release`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from efa_book.audit import costs, cuts, measures, practice
from efa_book.audit.measured import Measured


@dataclass(frozen=True)
class Finding:
    """One difference.

    Attributes:
        number, title: as on the page.
        where: the paper's equation, table or part.
        paper, release, ours: what each does, in a sentence or two.
        settings: keys of `efa.config` that switch it, 'key' or 'key=value'.
        unswitched: why there is no setting; '' where there is one.
        code: 'file#object', ours first.
        measures: what can be measured without the release; none where a table of another part shows it.
    """

    number: int
    title: str
    where: str
    paper: str
    release: str
    ours: str
    settings: tuple[str, ...]
    unswitched: str
    code: tuple[str, ...]
    measures: tuple[Callable[[], Measured], ...] = ()


FINDINGS: tuple[Finding, ...] = (
    Finding(
        1,
        "The true class picks the steps",
        "eq. 1 and 5, the class from F_f",
        "The predicted class picks the steps. As printed that is circular: the class is read from F_f, which already "
        "holds the text of the class.",
        "Captions are written with the text of the true class. Run: changing that class alone moves the logits.",
        "The class is read from F_v, before any text. Every score names who picked the steps.",
        ("prediction.protocol",),
        "",
        ("efa/predict.py#predict", "efa/model/assessor.py#EFAModel.classify", "efa_book/audit/measures.py#class_moves"),
    ),
    Finding(
        2,
        "Clips read the prompts of their batch mates",
        "eq. 1-8",
        "A clip attends to the text of its own action.",
        "Every clip attends to the prompts of all clips in its batch, so an answer depends on the company. Run: one "
        "clip's output moves by 2.4 % when only the others change.",
        "A clip sees its own text only; tests hold every system to it.",
        (),
        "An answer that depends on its neighbours cannot be reproduced clip by clip.",
        ("efa/model/fusion.py#Fusion.forward", "efa_book/audit/release.py#of_all_clips"),
        (measures.batch_mates,),
    ),
    Finding(
        3,
        "At test time class and verdict take a path that was not trained",
        "Table V",
        "Class and verdict are read from the fused features.",
        "In training they are. At test time they come from attention stacks that no loss ever reaches, added with a "
        "scale of 0.001. Run: within 0.06 % of the same heads on plain video features. If Table V was made so, it "
        "measures Video Swin and a perceptron.",
        "One path for training and prediction; Video Swin with heads stands in Table V as a system of its own.",
        ("system.name=Video Swin",),
        "",
        ("efa/model/assessor.py#EFAModel.forward", "efa_book/audit/release.py#ReleasedFusion.at_test"),
        (measures.heads_at_test,),
    ),
    Finding(
        4,
        "A quarter of the parameters gets no gradient",
        "eq. 1-8",
        "Every part is trained.",
        "Run: 166.8 of 665.6 million parameters get no gradient.",
        "Every parameter is reached. Those of finding 7 are reached by zero.",
        (),
        "There is nothing to switch: idle parameters do not change an answer.",
        ("efa/model/assessor.py#EFAModel", "efa_book/audit/costs.py#without_gradient"),
        (costs.without_gradient,),
    ),
    Finding(
        5,
        "The step branch discards its text side",
        "eq. 5-8",
        "The five steps read the video, and the video reads the five steps that have read it.",
        "The text side is discarded. The steps go into the video one after the other, in a loop through a sigmoid "
        "gate, so that their order matters.",
        "Both directions, all five steps at once.",
        (),
        "The loop is another model than eq. 5-8; it stands in efa_book/audit/release.py for measuring.",
        ("efa/model/fusion.py#Branch.forward", "efa_book/audit/release.py#ReleasedFusion.forward"),
        (measures.step_order,),
    ),
    Finding(
        6,
        "Sigma scales the input, or the attention",
        "eq. 1, 3, 5, 7",
        "Attention + sigma x input with sigma = 0.001, which all but removes the input.",
        "Input + sigma x attention, in the global branch only.",
        "Both readings. The paper's is the default; the preset laptop starts its sigma at 1.",
        ("fusion.residual=released", "fusion.sigma", "fusion.learn_sigma"),
        "",
        ("efa/model/fusion.py#Residual.forward",),
        (measures.residuals,),
    ),
    Finding(
        7,
        "Equation 4 has weights that cannot learn",
        "eq. 4",
        "The video attends to one vector, the instruction. A softmax over one score is 1 whatever the score, so the "
        "weights of queries and keys get no gradient.",
        "The same in a batch of one clip. In a larger batch the prompts of the others are keys as well: finding 2.",
        "Kept as printed, since it is the paper's equation.",
        ("fusion.query=text",),
        "",
        ("efa/model/fusion.py#Branch", "efa/model/fusion.py#Attention.forward"),
        (measures.constant_softmax,),
    ),
    Finding(
        8,
        "Six stacks of eight layers stand for four attentions",
        "eq. 2, 4, 6, 8",
        "Four single attentions.",
        "Six stacks of eight layers each.",
        "Four single attentions.",
        (),
        "A stack of layers is another model; fusion.dim changes the width alone.",
        ("efa/model/fusion.py#Attention", "efa_book/audit/release.py#Stack"),
        (costs.single_attentions,),
    ),
    Finding(
        9,
        "Padding counts as words",
        "F_t^g and F_t^s",
        "One shared text encoder for steps and instruction.",
        "Three BERTs, each with five learnt tokens before the text, no attention mask, and a mean over words and "
        "padding. Run: a short prompt's vector moves by 87 % beside a longer one.",
        "One shared encoder; attention and mean over the real tokens.",
        ("text.model", "text.pooling"),
        "",
        ("efa/model/text.py#TextEncoder.forward", "efa_book/audit/release.py#Released.embed_text"),
        (measures.padding,),
    ),
    Finding(
        10,
        "Texts are cut at 256 characters",
        "F_t^g and F_t^s",
        "Nothing is said of a limit.",
        "Steps and instruction are cut at 256 characters, headings included.",
        "Texts are read up to a number of word pieces that none of them reaches by default.",
        ("text.max_tokens",),
        "",
        ("efa/model/text.py#TextEncoder.tokenize", "efa_book/audit/cuts.py#cut_share"),
        (cuts.texts,),
    ),
    Finding(
        11,
        "The explanation is a masked language model",
        "the decoder, the text's loss of eq. 11",
        "An auto-regressive decoder, trained with label smoothing.",
        "A masked language model: 15 % of the words are hidden, twice over. Words are written by appending [MASK] and "
        "running everything again. Label smoothing is asked of a dictionary by getattr, so it is always 0.",
        "A causal decoder with a cache. The compared system LAVENDER learns by masked words.",
        ("system.name=LAVENDER", "training.label_smoothing"),
        "",
        (
            "efa/model/decoder.py#Decoder.generate",
            "efa/baselines/masked_lm.py#mask_words",
            "efa_book/audit/release.py#Released.write",
        ),
        (costs.decoding, practice.masked_twice),
    ),
    Finding(
        12,
        "The test split is scored every third epoch",
        "data split, 70/15/15",
        "A validation split of 15 %.",
        "The test split is scored every third epoch, and there is no other held-out split. Of the splits only the ids "
        "of the test clips are released.",
        "The validation split picks the epoch, the test split is read once. For CoT-AFA the other two are drawn here.",
        ("training.select_every",),
        "",
        ("efa/train.py#validate", "efa_datasets/cot_afa.py#draw_splits", "efa_book/audit/practice.py#optimism"),
        (practice.selection_on_test,),
    ),
    Finding(
        13,
        "Frames of one clip are flipped and cropped apart",
        "augmentation",
        "Nothing is said of it.",
        "Flip and crop are drawn for each frame. Frames are resized to 398 x 224 without regard to their shape; of "
        "the height a square is kept, the middle one at test time.",
        "One flip and one crop a clip. A video's frames keep their shape, on a black ground.",
        ("data.flip", "data.crop"),
        "",
        ("efa/data/loader.py#augment", "efa/data/sampling.py#resize", "efa_book/audit/practice.py#augmentation"),
        (practice.augmentation,),
    ),
    Finding(
        14,
        "Six frames of the first 108",
        "six frames a clip",
        "Six frames a clip.",
        "Frames 0, 18, ..., 90 of the first 108. A shorter clip repeats its last frame.",
        "The middle frame of each sixth of the whole clip, or the release's rule.",
        ("data.sampling=release", "data.frames"),
        "",
        (
            "efa/data/sampling.py#release_indices",
            "efa/data/sampling.py#uniform_indices",
            "efa_book/audit/cuts.py#coverage",
        ),
        (cuts.clips,),
    ),
    Finding(
        15,
        "Batches never change",
        "training",
        "Nothing is said of the order. Top-5 is reported.",
        "The distributed sampler is never told the epoch, so each epoch repeats the batches of the first. Metrics are "
        "those of one process's share; Top-5 is never computed. Its optimizer is AdamW with a learning rate of 2e-5, "
        "5e-4 for the heads, weight decay 1e-3, a tenth of warm-up, linear decay, batches of 24.",
        "A new order each epoch from seed and epoch; every metric over all test clips. The optimizer's numbers are "
        "the defaults here.",
        ("training.seed", "training.lr", "training.head_lr", "training.weight_decay", "training.warmup"),
        "",
        ("efa/data/loader.py#EpochSampler", "efa/train.py#build_optimizer", "efa/config.py#TrainingConfig"),
        (practice.batches,),
    ),
    Finding(
        16,
        "Video Swin takes single steps in time",
        "the video encoder",
        "Video Swin on six frames. The stock model takes frames in pairs.",
        "A stride of 1 in time with one zero frame at the end, so that six frames give six positions.",
        "Both; the release's is the default.",
        ("encoder.temporal_stride",),
        "",
        ("efa/model/swin.py#PatchEmbed", "efa/model/swin.py#VideoSwin.grid"),
        (costs.temporal_stride,),
    ),
    Finding(
        17,
        "What the release costs",
        "not in the paper",
        "Nothing is said of it.",
        "Its parameters and operations were counted on its code.",
        "The same structure, counted again on our re-creation.",
        (),
        "A count has no setting; every size of ours has one.",
        ("efa_book/audit/release.py#Released", "efa_book/audit/costs.py#whole"),
        (costs.whole,),
    ),
    Finding(
        18,
        "A clip's number tells the verdict",
        "data set",
        "Nothing is said of it.",
        "Clips are numbered within their class, and high numbers are non-standard as a rule. Whoever reads no file "
        "name cannot use the number itself; whether what lies behind it shows in the pictures was not looked at.",
        "The number is part of a clip's name and reaches no system.",
        (),
        "The data are taken as they were released.",
        ("efa_datasets/cot_afa_files.py#CLIP", "efa_datasets/cot_afa.py#read_release"),
    ),
    Finding(
        19,
        "Some texts contradict their label",
        "data set",
        "An explanation fits its clip's label.",
        "Nearly every text opens by calling the action good or bad; in some that word and the label differ, in "
        "references of the test split as well.",
        "Each is listed when the data are converted; label and text are kept.",
        (),
        "Which of the two is right cannot be told from the files.",
        ("efa_datasets/cot_afa.py#written_verdict",),
    ),
    Finding(
        20,
        "A text written without looking scores high",
        "Table IV",
        "Explanations are scored by shared words.",
        "Its numbers stand in the paper alone: no checkpoint and no predictions are released.",
        "Such texts are scored beside the systems that write, and named faults are counted.",
        (),
        "A floor is computed, not set.",
        ("efa_book/blind.py#blind_texts",),
    ),
    Finding(
        21,
        "Lambda stands in two places",
        "eq. 11, Algorithm 1",
        "Equation 11 weighs the action's loss, Algorithm 1 the verdict's.",
        "The action's loss is weighed by 3.",
        "Each loss has a weight; the action's is 3 by default. Five weights are tried in the book's Table VII.",
        ("training.weight_class", "training.weight_quality"),
        "",
        ("efa/model/assessor.py#losses",),
    ),
)


def finding(number: int) -> Finding:
    """The finding of that number; KeyError where there is none."""
    for one in FINDINGS:
        if one.number == number:
            return one
    raise KeyError(number)
