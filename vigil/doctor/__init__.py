"""`vigil doctor`: what is wrong on this machine, and the mend. A file looks at one part; `examine.py` has them all."""
