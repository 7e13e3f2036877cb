"""One recording, many readers: what a function of tensors computes, as data.

record.py keeps a rehearsal as calls on numbered storages; tree.py takes arguments and results
apart. graph.py has the same by value, for any size of the batch, and passes.py makes it simpler.
plan/ replays a recording fast.
"""
