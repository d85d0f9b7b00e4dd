// The depth chart: what stands in the book up to each price, both sides, on a canvas.

import { colour, find, perFrame } from "./dom.js";
import { grouped, short } from "./format.js";

const FOOT = 22;

function summed(levels) {
  let total = 0;
  return levels.map(([price, quantity]) => ({ price: Number(price), total: (total += Number(quantity)) }));
}

export class DepthChart {
  #canvas; #book; #pointer = null;

  constructor(canvas, book, { tickDecimals, base }) {
    this.#canvas = canvas;
    this.#book = book;
    this.tickDecimals = tickDecimals;
    this.base = base;
    this.draw = perFrame(() => this.#draw());
    canvas.addEventListener("pointermove", event => { this.#pointer = event.offsetX; this.draw(); });
    canvas.addEventListener("pointerleave", () => { this.#pointer = null; this.draw(); });
    new ResizeObserver(this.draw).observe(canvas.parentElement);
    document.addEventListener("themechange", this.draw);
  }

  #draw() {
    const canvas = this.#canvas, scale = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.hidden || !width) return;
    if (canvas.width !== width * scale || canvas.height !== height * scale) { canvas.width = width * scale; canvas.height = height * scale; }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const bids = summed(this.#book.bids), asks = summed(this.#book.asks), soft = colour("soft");
    if (!bids.length && !asks.length) {
      pen.fillStyle = soft;
      pen.textAlign = "center";
      pen.fillText("The book is empty.", width / 2, height / 2);
      return;
    }
    const middle = ((bids[0] ?? asks[0]).price + (asks[0] ?? bids[0]).price) / 2;
    const reach = Math.max(middle - (bids.at(-1)?.price ?? middle), (asks.at(-1)?.price ?? middle) - middle) || middle / 100;
    const most = Math.max(bids.at(-1)?.total ?? 0, asks.at(-1)?.total ?? 0) * 1.12;
    const x = price => width / 2 + ((price - middle) / reach) * (width / 2), y = total => height - FOOT - (total / most) * (height - FOOT - 8);
    this.#side(pen, bids, x, y, 0, height - FOOT, colour("up"));
    this.#side(pen, asks, x, y, width, height - FOOT, colour("down"));
    this.#labels(pen, { middle, reach, most, width, height, soft, y });
    if (this.#pointer !== null) this.#look(pen, { bids, asks, middle, reach, width, height, x, y, soft });
  }

  #side(pen, levels, x, y, edge, floor, tint) {
    if (!levels.length) return;
    pen.beginPath();
    pen.moveTo(x(levels[0].price), floor);
    let before = floor;
    for (const { price, total } of levels) { pen.lineTo(x(price), before); before = y(total); pen.lineTo(x(price), before); }
    pen.lineTo(edge, before);
    pen.strokeStyle = tint;
    pen.lineWidth = 1.5;
    pen.stroke();
    pen.lineTo(edge, floor);
    pen.closePath();
    pen.globalAlpha = 0.16;
    pen.fillStyle = tint;
    pen.fill();
    pen.globalAlpha = 1;
  }

  #labels(pen, { middle, reach, most, width, height, soft, y }) {
    pen.fillStyle = soft;
    for (const [part, align] of [[-0.9, "left"], [-0.45, "center"], [0, "center"], [0.45, "center"], [0.9, "right"]]) {
      pen.textAlign = align;
      const at = width / 2 + part * (width / 2);
      pen.fillText(grouped((middle + part * reach).toFixed(this.tickDecimals)), part < -0.5 ? 6 : part > 0.5 ? width - 6 : at, height - 6);
    }
    pen.textAlign = "right";
    for (const part of [0.3, 0.6, 0.9]) pen.fillText(short(most * part), width - 6, y(most * part) + 4);
  }

  #look(pen, { bids, asks, middle, reach, width, height, x, y, soft }) {
    const price = middle + ((this.#pointer - width / 2) / (width / 2)) * reach, isBid = price < middle;
    const levels = isBid ? bids : asks, within = levels.filter(level => (isBid ? level.price >= price : level.price <= price)), found = within.at(-1);
    if (!found) return;
    const left = this.#pointer, top = y(found.total);
    pen.strokeStyle = soft;
    pen.setLineDash([3, 3]);
    pen.beginPath();
    pen.moveTo(left, 0);
    pen.lineTo(left, height - FOOT);
    pen.stroke();
    pen.setLineDash([]);
    pen.fillStyle = colour(isBid ? "up" : "down");
    pen.beginPath();
    pen.arc(left, top, 3.5, 0, 7);
    pen.fill();
    const text = `${grouped(price.toFixed(this.tickDecimals))}: ${short(found.total)} ${this.base}`;
    const wide = pen.measureText(text).width + 14, from = Math.min(Math.max(left - wide / 2, 4), width - wide - 4);
    pen.fillStyle = colour("raised");
    pen.strokeStyle = colour("line");
    pen.beginPath();
    pen.roundRect(from, Math.max(top - 32, 4), wide, 22, 5);
    pen.fill();
    pen.stroke();
    pen.fillStyle = colour("ink");
    pen.textAlign = "left";
    pen.fillText(text, from + 7, Math.max(top - 32, 4) + 15);
  }
}

export const showDepth = isDepth => { find("#depth").hidden = !isDepth; find("#candles").hidden = isDepth; };
