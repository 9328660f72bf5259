"""The systems that the paper compares EFA with. A new one is one module: a subclass of `base.System` with `@register`.

Each module has a frozen `XConfig`, whose defaults are the published architecture at paper size, and `SMALL`, what to
override on a laptop: ``C3D(C3DConfig(**SMALL), actions)``.
"""
