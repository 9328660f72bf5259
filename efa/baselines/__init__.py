"""The systems that the paper compares EFA with, one file a system, behind one interface (`efa.baselines.base.System`).

Each file has a frozen `XConfig`, whose defaults are the published architecture at paper size, and `SMALL`, what to
override on a laptop: ``C3D(C3DConfig(**SMALL), actions, vocabulary_size)``.
"""
