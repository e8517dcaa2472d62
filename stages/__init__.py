"""One script a stage: what it reads, what it calls, what it writes."""

import sys

from pawprint.runner.requirements import tell_missing

if sys.argv[0] == "-m":  # python -m stages.x is about to import the script and what that needs
    tell_missing()
