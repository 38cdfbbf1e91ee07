"""Where results go: metrics, the journal, the web side."""
