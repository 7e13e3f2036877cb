"""Fast versions of named operations, installed as the import package `tinygen_kernels`.

A kernel is a function for one primitive or fused operation of tinygen. It takes raw arrays and the
operation's keyword arguments, may decline by returning NotImplemented, and never changes dtype,
shape or meaning. This package imports nothing from tinygen.

`TABLES[backend][operation] = "module:function"`; tinygen imports a module when its operation is
first called.
"""

TABLES: dict[str, dict[str, str]] = {"numpy": {}, "cupy": {}, "emulated": {}}
