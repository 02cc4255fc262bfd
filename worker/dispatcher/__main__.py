"""`python -m worker.dispatcher`: one dispatcher process."""

from ttm_jobs.processes import importing

if __name__ == "__main__":
    with importing():
        from worker.dispatcher.dispatcher import main
    main()
