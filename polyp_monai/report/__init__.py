"""Pages to look at: of a run, of the audit of a data set, of runs compared. Each is one HTML file that needs no other.

`run.py`, `audit.py` and `comparison.py` say what a page holds, as parts (`parts.py`, charts and pictures); `render.py`
draws the parts by the templates, which escape all that they are given.
"""

from polyp_monai.report.members import write_members
from polyp_monai.report.run import write

__all__ = ["write", "write_members"]
