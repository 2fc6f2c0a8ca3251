"""The stylesheet of the pages: readable on a phone, in light and dark mode."""

STYLE = """\
:root {
  color-scheme: light dark;
  --ink: #1b1f24; --paper: #fff; --quiet: #57606a; --line: #d0d7de; --link: #0a4fb0;
  --soft: #f3f5f7; --add: #d9f5df; --del: #ffe1e0; --hunk: #e6eefb;
  --good: #116329; --bad: #a40e26;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6edf3; --paper: #0d1117; --quiet: #9aa4af; --line: #30363d; --link: #79b8ff;
    --soft: #161b22; --add: #12361f; --del: #4a1b1e; --hunk: #16283f;
    --good: #56d364; --bad: #ff8f87;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 72rem; padding: 0 1rem 3rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
a { color: var(--link); }
a:focus-visible, input:focus-visible, button:focus-visible, select:focus-visible,
[tabindex]:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: .5rem; background: var(--paper); padding: .5rem; }
header {
  display: flex; flex-wrap: wrap; justify-content: space-between; gap: .5rem 2rem;
  padding: .75rem 0; border-bottom: 1px solid var(--line);
}
header ul { display: flex; flex-wrap: wrap; margin: 0; padding: 0; list-style: none; }
header li + li::before { content: "\\203a"; padding: 0 .5rem; color: var(--quiet); }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 1.25rem 0 .5rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0; }
.quiet { color: var(--quiet); }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .5rem 0; }
dt { color: var(--quiet); }
dd { margin: 0; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .4rem .6rem .4rem 0; text-align: left; vertical-align: top; }
th { color: var(--quiet); font-weight: 600; font-size: .875rem; }
tbody tr { border-top: 1px solid var(--line); }
td.narrow, th.narrow { white-space: nowrap; }
form { display: flex; flex-wrap: wrap; gap: .5rem; align-items: end; margin: .75rem 0; }
form label { display: grid; font-size: .875rem; color: var(--quiet); }
input, button, select {
  font: inherit; padding: .35rem .6rem; border: 1px solid var(--quiet); border-radius: .3rem;
  color: var(--ink); background: var(--paper); min-height: 2.5rem;
}
pre {
  overflow-x: auto; padding: .75rem; margin: .5rem 0; background: var(--soft);
  border: 1px solid var(--line); border-radius: .3rem;
  font: .8125rem/1.45 ui-monospace, monospace; tab-size: 8;
}
pre.text { white-space: pre-wrap; }
pre span { display: block; min-height: 1.45em; }
pre .add { background: var(--add); }
pre .del { background: var(--del); }
pre .hunk { background: var(--hunk); }
pre .file { font-weight: 700; }
pre .quote { color: var(--quiet); }
article { border-left: 3px solid var(--line); padding-left: .75rem; margin: 1rem 0; }
article:target { border-left-color: var(--link); }
.d1 { margin-left: .75rem; } .d2 { margin-left: 1.5rem; } .d3 { margin-left: 2.25rem; }
.d4 { margin-left: 3rem; }
.pages { display: flex; gap: 1.5rem; margin: 1rem 0; }
.pages a, .actions a { display: inline-block; padding: .4rem 0; }
.actions { display: flex; flex-wrap: wrap; gap: 0 1.5rem; margin: .25rem 0; }
svg { display: block; width: 100%; height: auto; }
svg .bar { fill: var(--link); }
svg .axis { stroke: var(--line); }
figure { margin: 0; }
figcaption { display: flex; justify-content: space-between; color: var(--quiet); }
@media (max-width: 40rem) {
  thead { position: absolute; left: -100rem; }
  tbody tr { display: grid; padding: .5rem 0; }
  td { padding: .05rem 0; }
  td[data-label]::before { content: attr(data-label) " "; color: var(--quiet); }
  td.narrow { white-space: normal; }
  td:empty { display: none; }
  .d1, .d2, .d3, .d4 { margin-left: .4rem; }
}
"""
