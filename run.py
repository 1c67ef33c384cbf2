"""Compose the configuration and run what it says: `python run.py --help`."""

from speech2face.run.command import main

if __name__ == "__main__":
    main()
