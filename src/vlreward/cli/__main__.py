"""``python -m vlreward.cli``, where the ``vlreward`` script is not on the path."""

import sys

from . import main

sys.exit(main())
