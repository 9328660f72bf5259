"""How fast, and how large: wall clock and memory of this book's code on one machine, beside what it is held against.

    python -m benchmarks                      # everything, at the paper's size: results/benchmarks/
    python -m benchmarks --only decoding      # one part; the others' rows stay
    python -m benchmarks --quick              # a tiny model in seconds, to see that all of it runs: .cache/benchmarks/

Not part of the package `efa`; see README.md in this folder for what is measured, how, and what each column means.
Operations are counted, not measured (`efa_book.audit.budget`, `efa_book.audit.costs`): they need no quiet machine.
"""
