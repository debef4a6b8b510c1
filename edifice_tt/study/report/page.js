"use strict";
// Texts of the pool are set by textContent alone, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const problems = data.problems;
const byId = (id) => document.getElementById(id);
const STEP = 50;
let limit = STEP;

function make(tag, style, text) {
  const element = document.createElement(tag);
  if (style) element.className = style;
  if (text !== undefined) element.textContent = text;
  return element;
}

function add(parent, ...children) {
  for (const child of children) if (child) parent.appendChild(child);
  return parent;
}

const kindOf = ({ right, total }) => (right === total ? "solved" : right ? "mixed" : "unsolved");
const chosenBy = (problem, rule) => problem.candidates.find((one) => one.index === problem.chosen[rule]);
const verdict = (right) => make("span", right ? "verdict right" : "verdict wrong", right ? "\u2713 right" : "\u2717 wrong");

function haystack(problem) {
  const texts = problem.candidates.flatMap((candidate) => [candidate.answer, candidate.text]);
  return [problem.id, ...problem.turns.map(([, text]) => text), problem.gold, ...texts].join("\n").toLowerCase();
}

function ordered(problem, by) {
  const list = problem.candidates.slice();
  if (by >= 0) list.sort((a, b) => (b.scores[by] ?? -Infinity) - (a.scores[by] ?? -Infinity) || a.index - b.index);
  return list;
}

function strip(problem) {
  const list = ordered(problem, data.scorers.length ? 0 : -1);
  const bars = (right, shape) => list.map((c, i) => (c.right === right ? `M${i * 4},${shape}` : "")).join("");
  const box = make("div");
  // Markup of numbers alone.
  box.innerHTML = `<svg class="strip" viewBox="0 0 ${Math.max(list.length, 24) * 4} 22" preserveAspectRatio="none" aria-hidden="true">
    <path class="right" d="${bars(true, "1h3v20h-3z")}"/><path class="wrong" d="${bars(false, "15h3v6h-3z")}"/></svg>`;
  return box.firstChild;
}

function readText({ text, read }) {
  if (!read) return make("pre", "", text);
  const box = make("pre", ""), [from, to] = read;
  box.append(text.slice(0, from), make("b", "read", text.slice(from, to)), text.slice(to));
  return box;
}

function candidateElement(problem, candidate) {
  const row = make(candidate.text ? "summary" : "div", "row");
  const about = ["#" + candidate.index];
  data.scorers.forEach((name, i) => {
    const score = candidate.scores[i];
    if (score !== null) about.push((data.scorers.length > 1 ? name + " " : "score ") + score.toFixed(3));
  });
  if (candidate.tokens !== null) about.push(candidate.tokens + " tokens");
  if (candidate.seconds !== null) about.push(candidate.seconds.toFixed(1) + " s");
  if (candidate.end !== null) about.push("ended by " + candidate.end);
  add(row, verdict(candidate.right), make("span", "answer", candidate.answer ?? "no answer"));
  add(row, make("span", "about", about.join(" \u00b7 ")));
  data.choices.forEach((label, i) => {
    if (problem.chosen[i] === candidate.index) add(row, make("span", "chosen", "chosen by " + label));
  });
  if (!candidate.text) return add(make("div", "candidate"), row);
  return add(make("details", "candidate"), row, readText(candidate));
}

const fates = { chosen: "chosen", kept: "kept", dropped: "dropped", left: "not kept" };

function branchElement(row) {
  const line = make(row.text ? "summary" : "div", "row");
  const about = [];
  if (row.score !== null) about.push("score " + row.score.toFixed(3));
  about.push(row.tokens + " tokens");
  for (const [tokens, score] of row.earlier) about.push(`${score.toFixed(3)} after ${tokens}`);
  if (row.parent !== null) about.push(`copy of #${row.parent} after ${row.begun}`);
  add(line, make("span", "number", "#" + row.index), make("span", "fate " + row.fate, fates[row.fate]));
  if (row.right !== null) add(line, verdict(row.right));
  if (row.answer !== null) add(line, make("span", "answer", row.answer));
  add(line, make("span", "about", about.join(" \u00b7 ")));
  const box = add(make(row.text ? "details" : "div", "branch"), line);
  return row.text ? add(box, make("pre", "", row.text)) : box;
}

function treeElement(search) {
  const chosen = search.row === null ? "it chose none" : "it chose #" + search.row;
  const judged = search.judge_tokens ? `, ${search.judge_tokens} read by the judge` : "";
  const spent = `${search.spent} tokens drawn, ${search.kept_tokens} of them kept${judged}; ${chosen}`;
  const box = add(make("section", "tree"), make("h3", "", search.name), make("p", "about", spent));
  const lists = [make("ul")];
  for (const row of search.rows) {
    lists.length = row.depth + 1;
    const item = add(make("li"), branchElement(row), make("ul"));
    add(lists[row.depth], item);
    lists.push(item.lastChild);
  }
  for (const list of lists[0].querySelectorAll("ul:empty")) list.remove();
  return add(box, lists[0]);
}

function inside(problem) {
  const box = make("div", "inside");
  for (const [role, text] of problem.turns) {
    if (problem.turns.length > 1) add(box, make("p", "about", role));
    if (text) add(box, make("pre", "", text));
  }
  if (problem.prompt !== problem.turns.at(-1)[1]) {
    const whole = add(make("details", "more"), make("summary", "", "As the model read it"));
    add(box, add(whole, make("pre", "", problem.prompt)));
  }
  const facts = make("dl", "facts");
  if (problem.gold !== null) add(facts, make("dt", "", "right answer"), make("dd", "answer", problem.gold));
  data.choices.forEach((label, i) => {
    const choice = chosenBy(problem, i);
    const value = make("dd", "", choice ? "#" + choice.index + " " : "nothing to choose");
    add(facts, make("dt", "", label), add(value, choice && verdict(choice.right)));
  });
  add(box, facts);
  for (const candidate of ordered(problem, Number(byId("order").value))) add(box, candidateElement(problem, candidate));
  const missing = problem.total - problem.candidates.length;
  if (missing) add(box, make("p", "about", `${missing} more candidates are left out.`));
  add(box, ...problem.searches.map(treeElement));
  return box;
}

const elements = new Map();
function problemElement(problem) {
  if (elements.has(problem)) return elements.get(problem);
  const element = make("details", "problem " + kindOf(problem));
  const summary = add(make("summary"), make("span", "id", problem.id));
  add(summary, make("span", "ask", problem.line || (problem.gold ?? "")), strip(problem));
  add(element, add(summary, make("span", "count", `${problem.right} of ${problem.total} right`)));
  element.addEventListener("toggle", () => {
    if (element.open && element.children.length === 1) add(element, inside(problem));
    highlight();
  });
  elements.set(problem, element);
  return element;
}

function update() {
  const words = byId("search").value.trim().toLowerCase();
  const kind = document.querySelector("#kinds input:checked").value;
  const missed = byId("missed").value;
  const matches = problems.filter((problem) => {
    if (kind !== "all" && kindOf(problem) !== kind) return false;
    if (missed !== "" && chosenBy(problem, missed)?.right) return false;
    if (!words) return true;
    problem.haystack ??= haystack(problem);
    return problem.haystack.includes(words);
  });
  byId("list").replaceChildren(...matches.slice(0, limit).map(problemElement));
  byId("found").textContent = matches.length ? `${matches.length} of ${problems.length} problems` : "No problem matches.";
  byId("next").hidden = matches.length <= limit;
  byId("next").textContent = `Show ${Math.min(STEP, matches.length - limit)} more`;
  highlight();
}

function highlight() {
  if (!CSS.highlights) return;
  CSS.highlights.delete("found");
  const words = byId("search").value.trim().toLowerCase();
  if (!words) return;
  const ranges = [];
  const walker = document.createTreeWalker(byId("list"), NodeFilter.SHOW_TEXT);
  while (ranges.length < 2000 && walker.nextNode()) {
    const node = walker.currentNode;
    const text = node.data.toLowerCase();
    if (text.length !== node.data.length) continue;
    for (let at = text.indexOf(words); at >= 0; at = text.indexOf(words, at + words.length)) {
      const range = document.createRange();
      range.setStart(node, at);
      range.setEnd(node, at + words.length);
      ranges.push(range);
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

function option(select, value, text) {
  const element = make("option", "", text);
  element.value = value;
  add(byId(select), element);
}

function refresh() {
  limit = STEP;
  update();
}

for (const kind of ["all", "solved", "mixed", "unsolved"]) {
  const input = make("input");
  Object.assign(input, { type: "radio", name: "kind", value: kind, checked: kind === "all" });
  const count = kind === "all" ? problems.length : problems.filter((problem) => kindOf(problem) === kind).length;
  input.addEventListener("change", refresh);
  add(byId("kinds"), add(make("label"), input, make("span", "", `${kind} ${count}`)));
}
data.choices.forEach((label, i) => option("missed", i, label));
byId("missed").parentElement.hidden = !data.choices.length;
data.scorers.forEach((name, i) => option("order", i, name));
option("order", -1, "number");
byId("order").parentElement.hidden = !data.scorers.length;
byId("search").addEventListener("input", refresh);
byId("missed").addEventListener("change", refresh);
byId("order").addEventListener("change", () => {
  for (const [problem, element] of elements) if (element.children.length > 1) element.lastChild.replaceWith(inside(problem));
  highlight();
});
byId("next").addEventListener("click", () => {
  const first = byId("list").children.length;
  limit += STEP;
  update();
  byId("list").children[first].firstChild.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || /INPUT|SELECT|TEXTAREA/.test(event.target.tagName)) return;
  event.preventDefault();
  byId("search").focus();
});

const root = document.documentElement;
const theme = byId("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => root.classList.contains("dark") || (!root.classList.contains("light") && system.matches);
const showTheme = () => { theme.textContent = isDark() ? "Light theme" : "Dark theme"; };
theme.addEventListener("click", () => {
  const dark = !isDark();
  root.classList.toggle("dark", dark);
  root.classList.toggle("light", !dark);
  showTheme();
});
system.addEventListener("change", showTheme);
showTheme();
theme.hidden = false;
// A table that is wider than its place says so.
const measured = new ResizeObserver((entries) => {
  for (const { target } of entries) target.classList.toggle("wider", target.scrollWidth > target.clientWidth);
});
for (const table of document.querySelectorAll(".scroll")) measured.observe(table);
byId("tools").hidden = false;
byId("unscripted").hidden = true;
update();
