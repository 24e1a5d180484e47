"""Parts of benchmarks/dashboard_scale.py: the server's process, the browser's page, a writer."""
