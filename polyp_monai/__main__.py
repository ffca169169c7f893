"""`python -m polyp_monai` is `polyp`."""

import sys

from polyp_monai.cli.main import main

sys.exit(main())
