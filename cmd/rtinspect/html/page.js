"use strict";
(() => {
	const root = document.documentElement;
	root.classList.add("js");
	const all = (selector, from = document) => [...from.querySelectorAll(selector)];
	const search = document.getElementById("search");
	const status = document.getElementById("status");
	const boxes = all(".tile input");
	const subjects = all(".subject").map((section) => ({
		section,
		row: document.querySelector(`tr[data-subject="${section.id}"]`),
		name: section.querySelector("header").textContent.toLowerCase(),
		findings: all(".finding", section).map((element) => ({
			element,
			kind: element.dataset.kind,
			text: element.querySelector("summary").textContent.toLowerCase(),
		})),
	}));

	const show = () => {
		const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
		const kinds = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
		let containers = 0, findings = 0;
		for (const subject of subjects) {
			const rest = words.filter((word) => !subject.name.includes(word));
			let shown = 0;
			for (const finding of subject.findings) {
				const visible = kinds.has(finding.kind) && rest.every((word) => finding.text.includes(word));
				finding.element.hidden = !visible;
				shown += visible;
			}
			subject.section.hidden = shown === 0;
			if (subject.row) subject.row.hidden = shown === 0;
			containers += shown > 0;
			findings += shown;
		}
		for (const row of all("tr[data-quiet]")) {
			row.hidden = boxes.some((box) => !box.checked) || !words.every((word) => row.textContent.toLowerCase().includes(word));
		}
		const whole = words.length === 0 && boxes.every((box) => box.checked);
		status.textContent = whole ? "" : `${findings} shown, of ${containers} of ${subjects.length}`;
	};
	search.addEventListener("input", show);
	boxes.forEach((box) => box.addEventListener("change", show));

	const fold = (open) => all(".finding").forEach((element) => { if (!element.hidden) element.open = open; });
	document.getElementById("unfold").addEventListener("click", () => fold(true));
	document.getElementById("fold").addEventListener("click", () => fold(false));
	document.addEventListener("keydown", (event) => {
		if (event.key === "/" && document.activeElement !== search && !event.ctrlKey && !event.metaKey && !event.altKey) {
			event.preventDefault();
			search.focus();
		}
		if (event.key === "Escape" && document.activeElement === search) {
			search.value = "";
			show();
		}
	});
	show();
})();
