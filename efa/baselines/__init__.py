"""The systems that the paper compares EFA with. A new one is one module: a subclass of `base.System` with `@register`.

Defaults of a constructor are the published architecture at paper size: ``C3D()``. `SMALL` is what a laptop
changes, beside the clips: ``C3D(frames=6, size=64, **C3D.SMALL)``.
"""
