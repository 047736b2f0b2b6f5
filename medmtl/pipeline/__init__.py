"""A study in, a `CaseResult` out: the only place that names every step."""
