import gc

# Nothing that is imported is garbage. Looking for it takes half of the CPU time of collecting the tests, and a tenth of that
# of running them. tests/conftest.py turns the collector on when the tests start.
gc.disable()
