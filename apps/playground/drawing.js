// A square to draw in. Its value is a data: URI of a PNG file, or empty after "Clear".
// gradio runs this with `element`, `props` and `trigger` of the component.
const canvas = element.querySelector("canvas"), pen = canvas.getContext("2d");
let last = null;
const clear = () => { pen.fillStyle = "black"; pen.fillRect(0, 0, canvas.width, canvas.height); };
const send = (value) => { props.value = value; trigger("input"); };
const line = (event) => {
  const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
  const next = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
  pen.strokeStyle = "white"; pen.lineWidth = 22; pen.lineCap = pen.lineJoin = "round";
  pen.beginPath(); pen.moveTo(...(last || next)); pen.lineTo(...next); pen.stroke();
  last = next;
  send(canvas.toDataURL("image/png"));
};
canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); last = null; line(event); };
canvas.onpointermove = (event) => { if (last) line(event); };
canvas.onpointerup = canvas.onpointercancel = () => { last = null; };
element.querySelector("button").onclick = () => { clear(); send(""); };
clear();
