"""python -m daruma"""

import sys

from daruma.cli import main

sys.exit(main())
