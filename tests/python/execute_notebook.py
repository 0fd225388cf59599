"""Usage: execute_notebook.py NOTEBOOK

Executes a notebook in a Jupyter kernel of this environment, in the current directory, as a person
would who runs all cells, and prints what they show. A cell that fails is an error.
"""

import sys

import nbclient
import nbformat

notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        print(repr(output.get("text") or output.get("data", {}).get("text/plain")))
