"""The look of the page. Colours are variables, so that light and dark differ in one place."""

STYLE = """
:root { color-scheme: light dark; --ground: #fbfaf7; --raised: #ffffff; --ink: #1d2126; --quiet: #5d6570;
  --rule: #dcd9d2;  --s0: #1f6fb2; --s1: #c8553d; --s2: #3a7d44; --s3: #8a5aa8; --s4: #a8760a; --s5: #4b6b7a;
  --more: #c8442c; --less: #2166ac; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --raised: #1c2024; --ink: #e6e4df; --quiet: #9aa2ab;
  --rule: #343a40; --s0: #6db1ea; --s1: #ef8d74; --s2: #7cc488; --s3: #c39ddd; --s4: #e0b04c; --s5: #9bbccb;
  --more: #ff7d63; --less: #62a8f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
main, header { max-width: 68rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 2rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { max-width: 46rem; margin: .5rem 0; }
a { color: var(--s0); }
nav { font-size: .9rem; margin-top: 1rem; }
nav a { margin-right: 1rem; display: inline-block; }
code, pre { font: .86rem/1.5 ui-monospace, monospace; }
pre { background: var(--raised); border: 1px solid var(--rule); border-radius: 6px; padding: .8rem; overflow-x: auto; }
summary { cursor: pointer; color: var(--s0); margin: .6rem 0; }
.quiet, figcaption { color: var(--quiet); font-size: .86rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(10.5rem, 1fr)); gap: .7rem;
  margin: 1.2rem 0 0; padding: 0; }
.facts div { background: var(--raised); border: 1px solid var(--rule); border-radius: 6px; padding: .55rem .75rem; }
.facts dt { color: var(--quiet); font-size: .78rem; }
.facts dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .88rem; width: 100%; }
th, td { text-align: left; padding: .32rem .7rem .32rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { color: var(--quiet); font-weight: 500; }
.metrics td:nth-child(2), .metrics td:nth-child(3), .metrics th:nth-child(2), .metrics th:nth-child(3)
  { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.metrics td:nth-child(1) { font-weight: 600; } .metrics td:nth-child(5) { color: var(--quiet); min-width: 16rem; }
@media (max-width: 40rem) {
  .metrics thead { display: none; }
  .metrics tr { display: grid; grid-template-columns: 1fr auto auto auto; border-bottom: 1px solid var(--rule); }
  .metrics td { border: 0; padding-bottom: 0; }
  .metrics td:nth-child(1) { overflow-wrap: anywhere; }
  .metrics td:nth-child(5) { grid-column: 1 / -1; padding-bottom: .35rem; }
}
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1rem; }
figure { margin: 0 0 1rem; min-width: 0; }
.chart { background: var(--raised); border: 1px solid var(--rule); border-radius: 6px; padding: .6rem .7rem;
  margin: 0 0 .8rem; max-width: 40rem; }
.chart h3 { margin: 0 0 .2rem; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--quiet); font: 13px system-ui, sans-serif; }
svg .strong { fill: var(--ink); }
.grid { stroke: var(--rule); stroke-width: 1; }
.axis { stroke: var(--quiet); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .84rem; color: var(--quiet); }
.legend i { display: inline-block; width: .9rem; height: .2rem; margin-right: .35rem; vertical-align: middle; }
.cells { display: grid; grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); gap: 2px; margin-bottom: 2px; }
.cells figure { margin: 0; }
.cells figcaption { font-size: .7rem; line-height: 1.25; text-align: center; overflow-wrap: anywhere; }
.wide { grid-template-columns: repeat(auto-fill, minmax(4.2rem, 1fr)); gap: .5rem .4rem; }
img { display: block; width: 100%; image-rendering: pixelated; background: var(--raised); }
.signed { border: 1px solid var(--rule); margin-top: 2px; }
.chosen img, .chosen svg { outline: 2px solid var(--s1); }
.vector { background: var(--raised); border: 1px solid var(--rule); }
"""
SERIES_COLOURS = tuple(f"var(--s{number})" for number in range(6))
"""Colours of lines, in order."""
