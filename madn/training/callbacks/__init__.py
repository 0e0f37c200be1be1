"""What happens beside the steps of a run: progress, logs, pictures, checkpoints, a clean stop."""
