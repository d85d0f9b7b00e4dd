// A price's last stretch as one small line on a canvas.

import { colour } from "./dom.js";

export function drawSpark(canvas, values) {
  const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (!width) return;
  if (canvas.width !== width * scale || canvas.height !== height * scale) { canvas.width = width * scale; canvas.height = height * scale; }
  const draw = canvas.getContext("2d");
  draw.setTransform(scale, 0, 0, scale, 0, 0);
  draw.clearRect(0, 0, width, height);
  if (values.length < 2) return;
  const low = Math.min(...values), span = Math.max(...values) - low || 1;
  const x = at => 1 + (at / (values.length - 1)) * (width - 3), y = value => height - 3 - ((value - low) / span) * (height - 6);
  const line = colour(values.at(-1) >= values[0] ? "up" : "down");
  draw.beginPath();
  values.forEach((value, at) => (at ? draw.lineTo(x(at), y(value)) : draw.moveTo(x(0), y(value))));
  draw.strokeStyle = line;
  draw.lineWidth = 1.5;
  draw.lineJoin = "round";
  draw.stroke();
  draw.lineTo(x(values.length - 1), height);
  draw.lineTo(x(0), height);
  draw.closePath();
  draw.globalAlpha = 0.1;
  draw.fillStyle = line;
  draw.fill();
  draw.globalAlpha = 1;
  draw.beginPath();
  draw.arc(x(values.length - 1), y(values.at(-1)), 2, 0, 7);
  draw.fill();
}
