"""python -m bench.results.page"""

from bench.results.page.page import write

if __name__ == "__main__":
    write()
