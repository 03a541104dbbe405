"""One module per page; each draws itself when called by ``main.py``."""
