"""Transfer learning: the frozen part of a network once, the cut, and what is trained further."""
