"""The sandbox: what runs inside (``keeper hands repl confine frames``), and who starts it (``level launch worker``).

Inside is the standard library only. One environment has one keeper, which forks the two processes that work: *hands*
runs the tools of the catalogue, *python* runs code that a model wrote. They may die; the keeper and the files stay.
"""
