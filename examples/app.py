"""The page for a hosted Space: `pip install 'speech2face[web]'`, then `python app.py`."""

from speech2face.pipelines.serve import host

host("samples=8")
