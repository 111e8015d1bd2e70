"""The run report: one HTML page that needs nothing but itself.

page        puts the sections together
style       the look of the page, light and dark, on wide screens and narrow ones
html        elements, well-formed as XML and with every text escaped
charts      lines, bars and intervals as SVG
pictures    rows of data as images, or as small plots where they are vectors
overview    what was trained: facts, data, configuration
curves      every logged scalar
bounds      the evaluation
gallery     reconstructions, and samples from the prior
traversals  what each bit or category does
usage       how much of the code is used, and how firm codes are
"""

from training.report.page import report_page

__all__ = ["report_page"]
