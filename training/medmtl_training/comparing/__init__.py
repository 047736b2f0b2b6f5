"""`medmtl train --compare`: did it help to train the tasks together, and what did it cost."""
