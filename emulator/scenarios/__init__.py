"""The scenarios that come with the project, one module for each subject."""
