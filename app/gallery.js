// A page of small pictures, each a link to its page; element() comes from canvas.js. What they
// are called is data: textContent only.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".gallery");
  root.replaceChildren(
    ...data.pictures.map((one) => {
      const link = element("a", "picture");
      link.href = `predictions?${new URLSearchParams({ ...data.query, image: one.id })}`;
      link.title = one.id;
      const image = element("img");
      image.alt = one.id;
      if (one.url) image.src = one.url;
      link.append(image, element("span", "label", one.label));
      link.onclick = (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a tab of its own
        event.preventDefault();
        setTriggerValue("open", one.id);
      };
      return link;
    }),
  );
  root.dataset.ready = data.pictures.map((one) => one.id).join(" ");
}
