"""The tasks' gradients: measured, limited, combined."""
