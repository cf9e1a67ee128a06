"""Self-contained reports: statistics over seeds, figures, images, the study page.

Nothing is imported here: `rewardsmith.report.statistics` needs numpy alone, and only
`rewardsmith.report.study` loads plotly and jinja2.
"""
