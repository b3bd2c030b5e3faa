"""How the units of layers lie in the values of a graph: one small rule an operator family."""
