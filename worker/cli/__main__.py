"""`python -m worker.cli` is `wecom`."""

from worker.cli import main

if __name__ == "__main__":
    main()
