"""Wall clock and memory of this book's code on one machine, compared with other ways to do the same; see README.md.

Operations are counted, not measured (`efa_book.audit.budget`, `efa_book.audit.costs`).
"""
