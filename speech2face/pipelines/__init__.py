"""The pipelines that `pipeline=` selects. The _target_ of conf/pipeline/NAME.yaml is a function here."""
