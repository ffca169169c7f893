"""`python -m polyp_monai` is `polyp`."""

import sys

from polyp_monai.cli import main

sys.exit(main())
