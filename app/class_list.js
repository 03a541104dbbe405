// Classes with a bar each; a name opens its page. Names are data: textContent only.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".list");
  const table = element("table");
  const head = element("tr");
  for (const title of data.titles) head.append(element("th", "", title));
  table.append(head);
  for (const one of data.rows) {
    const row = element("tr", one.truth ? "truth" : "");
    const name = element("td", "name");
    const swatch = element("span", "swatch");
    swatch.style.background = one.color;
    if (one.open === null) {
      name.append(swatch, element("span", "", one.name));
    } else {
      const button = element("button");
      button.append(swatch, element("span", "", one.name));
      button.onclick = () => setTriggerValue("open", one.open);
      name.append(button);
    }
    name.title = one.name;
    const wide = element("td", "wide");
    const bar = element("div", "bar");
    const fill = element("div");
    fill.style.width = `${100 * Math.min(1, Math.max(0, one.share))}%`;
    bar.append(fill);
    wide.append(bar);
    row.append(name, wide, element("td", "number", one.number), element("td", "number note", one.note));
    table.append(row);
  }
  root.replaceChildren(table);
}
