"""Real servers for the dashboards: what ``make monitoring-demo``, the documentation's pictures and the tests share."""
