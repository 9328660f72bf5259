"""`python -m benchmarks`: runs the parts and writes cpu.csv and provenance.json."""

import sys

from benchmarks.run import main

if __name__ == "__main__":
    sys.exit(main())
