"""Commands that run scenarios or look after runs: loading, running in turn or side by side, telling how it went."""
