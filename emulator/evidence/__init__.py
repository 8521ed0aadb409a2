"""What a run leaves to look at: trace, capture, diagram, report, JUnit; and what a failed test tells."""
