"""The workbench in the browser: ``streamlit run app/main.py``."""
