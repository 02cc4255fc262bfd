"""`python -m worker.dispatcher`: one dispatcher process."""

from worker.dispatcher.dispatcher import main

if __name__ == "__main__":
    main()
