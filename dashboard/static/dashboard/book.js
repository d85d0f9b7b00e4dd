// An order book built from a SNAPSHOT and deltas, checked against the exchange's checksum. Knows nothing of pages.

const CHECKED_LEVELS = 10;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? 0xedb88320 ^ (byte >>> 1) : byte >>> 1;
  return byte >>> 0;
});

/** Unsigned CRC-32 of ASCII text. */
export function crc32(text) {
  let sum = 0xffffffff;
  for (let at = 0; at < text.length; at++) sum = TABLE[(sum ^ text.charCodeAt(at)) & 0xff] ^ (sum >>> 8);
  return (sum ^ 0xffffffff) >>> 0;
}

/** Of up to ten bids, then up to ten asks, as strings exactly as sent; 0 for an empty book. */
export function checksum(bids, asks) {
  const best = [...bids.slice(0, CHECKED_LEVELS), ...asks.slice(0, CHECKED_LEVELS)];
  return best.length ? crc32(best.map(([price, quantity]) => `${price}:${quantity}`).join("|")) : 0;
}

export class Book {
  #bids = new Map(); #asks = new Map(); #sorted = null;
  isLoaded = false;

  /** [price, quantity] as strings, best first. */
  get bids() { return this.#order().bids; }
  get asks() { return this.#order().asks; }

  /** Takes a SNAPSHOT's or a delta's data; quantities are absolute, "0" removes the level. False: the checksum does not fit. */
  take({ bids, asks, checksum: due }, { isSnapshot }) {
    if (isSnapshot) { this.#bids.clear(); this.#asks.clear(); this.isLoaded = true; }
    change(this.#bids, bids);
    change(this.#asks, asks);
    this.#sorted = null;
    return due === undefined || checksum(this.bids, this.asks) === due;
  }

  #order() {
    return this.#sorted ??= {
      bids: [...this.#bids].sort(([a], [b]) => b - a),
      asks: [...this.#asks].sort(([a], [b]) => a - b),
    };
  }
}

function change(side, levels) {
  for (const [price, quantity] of levels) {
    if (Number(quantity) === 0) side.delete(price);
    else side.set(price, quantity);
  }
}
