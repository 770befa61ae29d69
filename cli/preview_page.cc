#include "cli/preview.h"

namespace postbus {

// The mail is shown in a sandboxed frame: no script of a template runs.
const std::string_view kPreviewPage = R"html(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>postbus templates</title>
<link rel="icon" href="data:,">
<style>
:root { --paper: #ffffff; --ground: #eef1f6; --ink: #1c2333; --soft: #667085; --line: #dde2ec; --accent: #0b57d0;
        --tint: #e8f0fe; --wrong: #b3261e; --wrong-tint: #fdecea; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #1b2130; --ground: #11151f; --ink: #e8ecf4; --soft: #98a2b6; --line: #2c3448; --accent: #8ab4f8;
          --tint: #223152; --wrong: #ff8a80; --wrong-tint: #3a1f22; }
}
* { box-sizing: border-box; }
body { margin: 0; height: 100vh; display: grid; grid-template-columns: 240px 1fr; color: var(--ink);
       background: var(--ground); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
nav { background: var(--paper); border-right: 1px solid var(--line); padding: 20px 12px; overflow: auto; }
nav h1 { margin: 0 10px 18px; font-size: 17px; letter-spacing: -0.01em; }
nav h1 small { display: block; font-weight: 400; font-size: 12px; color: var(--soft); }
nav a { display: block; padding: 7px 10px; margin-bottom: 2px; border-radius: 8px; color: inherit; text-decoration: none;
        overflow-wrap: anywhere; }
nav a:hover { background: var(--ground); }
nav a[aria-current] { background: var(--tint); color: var(--accent); font-weight: 600; }
main { display: flex; flex-direction: column; min-width: 0; min-height: 0; }
header { display: flex; flex-wrap: wrap; gap: 10px 14px; align-items: center; padding: 12px 20px;
         background: var(--paper); border-bottom: 1px solid var(--line); }
#subject { flex: 1 1 240px; min-width: 0; font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.switch { display: inline-flex; border: 1px solid var(--line); border-radius: 9px; overflow: hidden; }
button { font: inherit; font-size: 14px; padding: 5px 13px; border: 0; background: transparent; color: var(--soft);
         cursor: pointer; }
button[aria-pressed="true"] { background: var(--tint); color: var(--accent); font-weight: 600; }
button:focus-visible, nav a:focus-visible, textarea:focus-visible { outline: 2px solid var(--accent); outline-offset: -2px; }
#error { display: none; margin: 16px 20px 0; padding: 12px 16px; border-radius: 10px; background: var(--wrong-tint);
         color: var(--wrong); white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.6 ui-monospace, Menlo, monospace; }
#error.shown { display: block; }
#stage { flex: 1; min-height: 0; display: flex; gap: 16px; padding: 16px 20px 20px; }
#sheet { flex: 1; min-width: 0; display: flex; justify-content: center; }
#frame, #plain { width: 100%; height: 100%; border: 1px solid var(--line); border-radius: 12px; background: #ffffff;
                 transition: max-width 0.2s; }
#plain { display: none; margin: 0; padding: 24px; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere;
         background: var(--paper); font: 14px/1.6 ui-monospace, Menlo, Consolas, monospace; }
body.phone #frame, body.phone #plain { max-width: 375px; }
body.text #plain { display: block; }
body.text #frame { display: none; }
aside { display: none; flex: 0 0 320px; flex-direction: column; gap: 8px; }
body.data aside { display: flex; }
aside label { color: var(--soft); font-size: 13px; }
textarea { flex: 1; resize: none; padding: 14px; border: 1px solid var(--line); border-radius: 12px; color: var(--ink);
           background: var(--paper); font: 13px/1.6 ui-monospace, Menlo, Consolas, monospace; }
@media (max-width: 760px) {
  body { grid-template-columns: 1fr; grid-template-rows: auto 1fr; }
  nav { display: flex; gap: 4px; padding: 8px 12px; border-right: 0; border-bottom: 1px solid var(--line); }
  nav h1 { display: none; }
  nav a { white-space: nowrap; margin: 0; }
  #stage { flex-direction: column; padding: 12px; }
  aside { flex-basis: 40%; }
}
</style>
</head>
<body>
<nav aria-label="Templates"><h1>postbus<small>templates</small></h1><div id="names"></div></nav>
<main>
  <header>
    <div id="subject"></div>
    <div class="switch" role="group" aria-label="Part">
      <button data-off="text" aria-pressed="true">HTML</button><button data-on="text" aria-pressed="false">Text</button>
    </div>
    <div class="switch" role="group" aria-label="Width">
      <button data-off="phone" aria-pressed="true">Desktop</button><button data-on="phone" aria-pressed="false">Phone</button>
    </div>
    <div class="switch"><button data-toggle="data" aria-pressed="false">Data</button></div>
  </header>
  <div id="error" role="alert"></div>
  <div id="stage">
    <div id="sheet"><iframe id="frame" title="The mail as HTML" sandbox></iframe><pre id="plain"></pre></div>
    <aside><label for="data">Data; at first the template's sample.json</label>
      <textarea id="data" spellcheck="false"></textarea></aside>
  </div>
</main>
<script>
"use strict";
const byId = (id) => document.getElementById(id);
let stamp = "", names = [], edited = false, asked = 0;

function showError(text) {
  byId("error").textContent = text || "";
  byId("error").classList.toggle("shown", Boolean(text));
}

function current() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  return names.includes(wanted) ? wanted : names[0];
}

async function render() {
  const name = current();
  for (const link of byId("names").children) {
    if (link.textContent === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!name) return;
  const turn = ++asked;
  const answer = await fetch("/render?template=" + name, { method: "POST", body: edited ? byId("data").value : "" });
  const mail = await answer.json();
  if (turn !== asked) return;
  document.title = name + " – postbus templates";
  if (!edited && mail.data !== undefined) byId("data").value = mail.data;
  showError(mail.error || mail.detail);
  if (mail.html === undefined) return;
  byId("subject").textContent = mail.subject;
  byId("subject").title = mail.subject;
  byId("frame").srcdoc = mail.html || "<p style='font-family:sans-serif;color:#667085;padding:24px'>no HTML part</p>";
  byId("plain").textContent = mail.text || "no text part";
}

async function follow() {
  try {
    const state = await (await fetch("/templates")).json();
    if (state.stamp !== stamp) {
      stamp = state.stamp;
      showError(state.error);
      if (state.templates) {
        names = state.templates;
        byId("names").replaceChildren(...names.map((name) => {
          const link = document.createElement("a");
          link.href = "#" + name;
          link.textContent = name;
          return link;
        }));
        await render();
      }
    }
  } catch {
    stamp = "";
    showError("postbus render --serve has ended");
  }
  setTimeout(follow, 500);
}

for (const button of document.querySelectorAll("button")) {
  button.onclick = () => {
    const { on, off, toggle } = button.dataset;
    const name = on || off || toggle;
    document.body.classList.toggle(name, toggle ? undefined : Boolean(on));
    const active = document.body.classList.contains(name);
    for (const other of document.querySelectorAll(`[data-on=${name}], [data-toggle=${name}]`)) {
      other.setAttribute("aria-pressed", active);
    }
    for (const other of document.querySelectorAll(`[data-off=${name}]`)) other.setAttribute("aria-pressed", !active);
  };
}
byId("data").oninput = () => { edited = true; render(); };
onhashchange = () => { edited = false; render(); };
follow();
</script>
</body>
</html>
)html";

}  // namespace postbus
