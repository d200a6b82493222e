// An exercise: its text, a field for each answer, which answers are right, and the answers with their reasons.

import { build } from "./dom.js";

export function exercise(root, data, page) {
  const fields = data.questions.map((question) => answerField(question));
  const verdicts = data.questions.map(() => build("output", { class: "verdict" }));
  const sum = build("p", { role: "status" });
  const form = build(
    "form",
    { submit: (event) => (event.preventDefault(), check()) },
    build("ol", { class: "questions" }, data.questions.map((question, at) =>
      build(
        "li",
        {},
        build("label", {}, `${question.prompt} `, build("em", {}, `(${question.choices.length ? "one of these" : question.unit}) `), fields[at]),
        " ",
        verdicts[at],
        build("details", {}, build("summary", {}, "Answer"), build("p", {}, build("b", {}, written(question.answer)), `. ${question.why}`)),
      ),
    )),
    build("button", { type: "submit" }, "check the answers"),
    sum,
  );
  root.append(...data.paragraphs.map((text) => build(text.startsWith("  ") ? "pre" : "p", {}, text)), form);

  function check() {
    const right = data.questions.map((question, at) => judged(question, fields[at].value));
    right.forEach((each, at) => (verdicts[at].textContent = { true: "right", false: "wrong", null: "not answered" }[each]));
    sum.textContent = `${right.filter((each) => each === true).length} of ${right.length} are right.`;
  }
}

function answerField(question) {
  if (!question.choices.length) return build("input", { type: "text", inputmode: "numeric", size: 14, autocomplete: "off" });
  return build("select", {}, ["", ...question.choices].map((choice) => build("option", {}, choice)));
}

// true, false, or null: there is no answer. Numbers may be written as 1234, 1,234 or 0x4d2.
function judged(question, given) {
  const text = given.trim();
  if (!text) return null;
  if (question.choices.length) return text === question.answer;
  if (!/^-?(0x[0-9a-f]+|\d{1,3}(,\d{3})+|\d+)$/i.test(text)) return false;
  const sign = text.startsWith("-") ? -1n : 1n;
  return sign * BigInt(text.replaceAll(",", "").replace(/^-/, "")) === BigInt(question.answer);
}

function written(answer) {
  return typeof answer === "number" ? answer.toLocaleString("en") : answer;
}
