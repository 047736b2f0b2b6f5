"""`medmtl train --add-task`: a trained network takes up a further task, and what that does to the others."""
