"""The one style sheet of the pages, inline and named by its hash in the content policy."""

from __future__ import annotations

import base64
import hashlib

CSS = """
:root { color-scheme: light dark; --bg: #f6f7f5; --card: #fff; --ink: #1c2321; --dim: #5b6763; --line: #dde2df;
  --good: #15703f; --good-bg: #dff3e6; --bad: #b3261e; --bad-bg: #fbe3e0; --warn: #8a5a00; --warn-bg: #fdf0cf;
  --none: #55615d; --none-bg: #e8ecea; --link: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --bg: #131716; --card: #1c2220; --ink: #e6ebe9; --dim: #98a5a0;
  --line: #313a37; --good: #7fd8a2; --good-bg: #17402a; --bad: #ffa79e; --bad-bg: #561e19; --warn: #f3cb72;
  --warn-bg: #4a3507; --none: #b3beba; --none-bg: #303936; --link: #8abdf5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header, main, footer { max-width: 84rem; margin: 0 auto; padding: 0 1.25rem; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem 1rem; padding-top: 1.25rem; }
header p { margin: 0; color: var(--dim); }
header p:last-child { margin-left: auto; }
h1 { font-size: 1.35rem; margin: 0; }
h1 a { color: inherit; text-decoration: none; }
h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.15rem;
  margin: 1rem 0; overflow-x: auto; }
a { color: var(--link); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--dim); font-size: .82rem; }
th, td { padding: .34rem .75rem .34rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child > th, tr:last-child > td { border-bottom: 0; }
td.n, th.n { text-align: right; }
td.n { white-space: nowrap; }
.tight th, .tight td { padding-right: .5rem; }
.tight th { font-size: .75rem; }
tr > :last-child { padding-right: 0; }
section > p.dim { margin: .5rem 0 0; font-size: .86rem; }
dl + table { margin-top: .7rem; }
td.t { white-space: nowrap; }
td.zero { color: var(--dim); }
.dim { color: var(--dim); }
.tag { display: inline-block; padding: 0 .55em; border-radius: 999px; font-size: .86rem; font-weight: 600;
  white-space: nowrap; color: var(--none); background: var(--none-bg); }
.good { color: var(--good); background: var(--good-bg); }
.bad { color: var(--bad); background: var(--bad-bg); }
.warn { color: var(--warn); background: var(--warn-bg); }
.strip { display: flex; flex-wrap: wrap; gap: 2px; padding: .2rem 0 .1rem; }
.strip a { width: 1.25em; text-align: center; font: 600 .74rem/1.55 ui-monospace, monospace; border-radius: 3px;
  text-decoration: none; color: var(--none); background: var(--none-bg); }
.strip a.good { color: var(--good); background: var(--good-bg); }
.strip a.bad { color: var(--bad); background: var(--bad-bg); }
.strip a.warn { color: var(--warn); background: var(--warn-bg); }
.note { border-left: 4px solid var(--warn); }
.note p { margin: .2rem 0; }
code, pre { font: .86rem/1.5 ui-monospace, monospace; }
pre { margin: .4rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.25rem; margin: 0; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
form { display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; margin: .6rem 0 0; }
button, select, input { font: inherit; color: inherit; background: var(--bg); border: 1px solid var(--line);
  border-radius: 6px; padding: .2rem .6rem; }
button { cursor: pointer; font-weight: 600; }
input { width: 6em; }
#sandbox table { width: auto; }
footer { color: var(--dim); font-size: .86rem; padding-bottom: 2rem; }
"""

CSS_HASH = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
