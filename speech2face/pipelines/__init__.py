"""What `pipeline=` can run. Each module is named by the _target_ of its YAML in conf/pipeline."""
