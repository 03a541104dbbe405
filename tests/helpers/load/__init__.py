"""Many people at the app at once: ``python -m helpers.load``.

Each of them speaks Streamlit's protocol as a browser's tab does: opens pages, changes the widgets
that it finds there, and waits for the script's end. One is a real Chromium.
"""
