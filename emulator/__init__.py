"""Windows Filtering Platform callouts, run against real kernel traffic between network namespaces."""
