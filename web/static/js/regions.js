// A rectangle that is drawn on the picture fills in the next line of numbers; without a script one types them.
const drawing = document.querySelector("[data-drawing]");
const moment = document.querySelector("[data-moment]");

if (drawing && moment) {
  const picture = drawing.querySelector("img");
  const outline = Object.assign(document.createElement("div"), { className: "outline", hidden: true });
  drawing.append(outline);
  const scale = () => picture.naturalWidth / picture.clientWidth || 1;
  let from = null;

  moment.addEventListener("change", () => {
    const at = Number.parseFloat(moment.value.replace(",", "."));
    if (at >= 0) picture.src = `${drawing.dataset.frame}?at=${at}`;
  });

  const point = event => {
    const frame = picture.getBoundingClientRect();
    return {
      x: Math.min(Math.max(event.clientX - frame.left, 0), frame.width),
      y: Math.min(Math.max(event.clientY - frame.top, 0), frame.height)
    };
  };
  const box = to => ({
    x: Math.min(from.x, to.x), y: Math.min(from.y, to.y),
    width: Math.abs(from.x - to.x), height: Math.abs(from.y - to.y)
  });

  drawing.addEventListener("pointerdown", event => {
    event.preventDefault();
    drawing.setPointerCapture(event.pointerId);
    from = point(event);
  });
  drawing.addEventListener("pointermove", event => {
    if (!from) return;
    const { x, y, width, height } = box(point(event));
    outline.hidden = false;
    outline.style.setProperty("left", `${x}px`);
    outline.style.setProperty("top", `${y}px`);
    outline.style.setProperty("width", `${width}px`);
    outline.style.setProperty("height", `${height}px`);
  });
  drawing.addEventListener("pointerup", event => {
    if (!from) return;
    const drawn = box(point(event));
    from = null;
    if (drawn.width < 4 || drawn.height < 4) return;
    const line = [...document.querySelectorAll("[data-line]")].find(each => [...each.querySelectorAll("input")].every(input => !input.value));
    if (!line) return;
    const set = (name, value) => { line.querySelector(`[name^="${name}-"]`).value = value; };
    const at = Number.parseFloat(moment.value.replace(",", ".")) || 0;
    for (const [name, value] of Object.entries(drawn)) set(name, Math.round(value * scale()));
    set("from", Math.max(0, at - 1));
    set("to", at + 1);
    line.querySelector('[name^="to-"]').focus();
  });
  drawing.addEventListener("pointercancel", () => { from = null; });
}
