// Candles and volume: history over REST, then every change from the candles channel.

import { CandlestickSeries, ColorType, createChart, CrosshairMode, HistogramSeries } from "../vendor/lightweight-charts/lightweight-charts.standalone.production.mjs";
import { colour, find, write } from "./dom.js";
import { follow } from "./feed.js";
import { grouped, inPath, short } from "./format.js";
import { read } from "./rest.js";

const HISTORY = 500;
const FIRST_SHOWN = 90;

/** [open_time, open, high, low, close, volume, …] → what the library draws. Numbers for drawing only. */
function drawn([openTime, open, high, low, close, volume]) {
  const time = (typeof openTime === "number" ? openTime : Date.parse(openTime)) / 1000;
  return { candle: { time, open: +open, high: +high, low: +low, close: +close }, bar: { time, value: +volume, rises: +close >= +open } };
}

export class CandleChart {
  #chart; #candles; #volume; #end = () => {}; #interval = ""; #bars = []; #last = 0; #early = []; #isReady = false;

  constructor(container, { symbol, tickDecimals }) {
    this.symbol = symbol;
    this.tickDecimals = tickDecimals;
    this.#chart = createChart(container, {
      autoSize: true,
      layout: { background: { type: ColorType.Solid, color: "transparent" }, attributionLogo: false, fontSize: 11 },
      crosshair: { mode: CrosshairMode.Normal },
      timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 4, borderVisible: false },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.08, bottom: 0.24 } },
    });
    this.#candles = this.#chart.addSeries(CandlestickSeries, { priceFormat: { type: "price", precision: tickDecimals, minMove: 10 ** -tickDecimals } });
    this.#volume = this.#chart.addSeries(HistogramSeries, { priceScaleId: "volume", priceFormat: { type: "volume" }, lastValueVisible: false, priceLineVisible: false });
    this.#volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.#chart.subscribeCrosshairMove(event => this.#tell(event.seriesData?.get(this.#candles), event.seriesData?.get(this.#volume)));
    this.paint();
    document.addEventListener("themechange", () => this.paint());
  }

  /** Colours of the scheme in use. */
  paint() {
    const [up, down, soft, line] = ["up", "down", "soft", "line"].map(colour);
    this.#chart.applyOptions({
      layout: { textColor: soft },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      crosshair: { vertLine: { color: soft, labelBackgroundColor: soft }, horzLine: { color: soft, labelBackgroundColor: soft } },
    });
    this.#candles.applyOptions({ upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false });
    this.#fill();
  }

  async show(interval) {
    this.#end();
    this.#interval = interval;
    this.#isReady = false;
    this.#early = [];
    this.#end = follow(`candles.${this.symbol}.${interval}`, ({ data }) => {
      for (const candle of Array.isArray(data[0]) ? data : data.length ? [data] : []) this.#isReady ? this.#take(candle) : this.#early.push(candle);
    });
    let history = [];
    try {
      history = (await read(`/candles/${inPath(this.symbol)}?interval=${interval}&limit=${HISTORY}`)).results;
    } catch { /* begins with what the stream brings */ }
    if (interval !== this.#interval) return;
    this.#bars = history.map(drawn);
    this.#isReady = true;
    this.#fill();
    for (const candle of this.#early) this.#take(candle);
    const shown = innerWidth < 700 ? 45 : FIRST_SHOWN;
    this.#chart.timeScale().setVisibleLogicalRange({ from: Math.max(this.#bars.length - shown, Math.min(0, this.#bars.length - 30)), to: this.#bars.length + 4 });
    this.#tell();
  }

  #fill() {
    const [up, down] = [colour("up"), colour("down")].map(name => name.replace("rgb(", "rgba(").replace(")", ", 0.35)"));
    this.#tint = rises => (rises ? up : down);
    this.#candles.setData(this.#bars.map(({ candle }) => candle));
    this.#volume.setData(this.#bars.map(({ bar }) => ({ ...bar, color: this.#tint(bar.rises) })));
    this.#last = this.#bars.at(-1)?.candle.time ?? 0;
    find("#no-candles").hidden = this.#bars.length > 0 || !this.#isReady;
  }
  #tint = () => "";

  #take(candle) {
    const found = drawn(candle), { time } = found.candle;
    if (time < this.#last) return;
    if (time === this.#last) this.#bars[this.#bars.length - 1] = found;
    else this.#bars.push(found);
    this.#last = time;
    this.#candles.update(found.candle);
    this.#volume.update({ ...found.bar, color: this.#tint(found.bar.rises) });
    find("#no-candles").hidden = true;
    this.#tell();
  }

  #tell(candle = this.#bars.at(-1)?.candle, bar = this.#bars.at(-1)?.bar) {
    const text = value => grouped(value.toFixed(this.tickDecimals));
    write(find("#legend"), candle ? `O ${text(candle.open)}  H ${text(candle.high)}  L ${text(candle.low)}  C ${text(candle.close)}  V ${short(bar?.value ?? 0)}` : "");
  }
}
