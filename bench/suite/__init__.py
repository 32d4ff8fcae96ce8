"""All that a GPU is measured by, stage by stage, in one file to send."""
