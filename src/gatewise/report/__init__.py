"""Reports: a self-contained HTML page, and tables for the terminal."""

from gatewise.report.facts import Fitted, facts
from gatewise.report.page import Page, Section, render
from gatewise.report.tables import results_table, status_lines

__all__ = ["Fitted", "Page", "Section", "facts", "render", "results_table", "status_lines"]
