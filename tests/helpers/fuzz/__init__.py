"""Valid files, damaged in many ways, and what every reader of the workbench makes of them."""
