"""What the method costs: measurements in fresh processes, and the pages made from them.

``workbench bench`` measures; ``make performance`` turns the committed results in ``benchmarks/``
into ``docs/performance.md``.
"""
