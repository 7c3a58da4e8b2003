/**
 * The square that is cut out of the source and sent: by hand, or after the face. Pure.
 *
 * It stands still while the face stays near its place: movements of the head belong in the picture, and a background
 * that rests costs no bits. Only when the face has wandered off does it glide after it. It stays inside the source.
 * The same rules and fractions as in `sender/crop.py`.
 *
 * @typedef {{x: number, y: number, side: number}} Place centre and side in pixels of the source
 * @typedef {{left: number, top: number, right: number, bottom: number}} Outline of a face, pixels of the source
 */

export const PICTURE = 256;

/**
 * Fractions of the square's side. face: height of the face (forehead to chin) in it; middle: where its middle lies,
 * from the top. loose: the face may wander so far from its place before the square follows; looseSize: its size may
 * change by this ratio. settled: a moving square stops this near to its aim. follow: share of the way that it moves in
 * a tick. jump: further off than this it moves at once. full: a square source whose face is at least this high is a
 * face crop already (fullSmall for one of at most 256 pixels).
 */
export const CROP = {
  face: 0.53,
  middle: 0.57,
  loose: 0.11,
  looseSize: 1.22,
  settled: 0.015,
  follow: 0.05,
  jump: 0.6,
  full: 0.44,
  fullSmall: 0.35,
  leastPixels: 48,
};

export class Crop {
  constructor(config = CROP) {
    this._config = config;
    this._width = 0;
    this._height = 0;
    /** @type {Place | null} */
    this._place = null;
    this._whole = false;
    this._gliding = false;
    /** Whether the square goes after the face; a hand on it ends that. */
    this.following = true;
  }

  /** @param {number} width @param {number} height pixels of the source; another size starts anew */
  setSource(width, height) {
    if (width === this._width && height === this._height) return;
    this._width = width;
    this._height = height;
    this._place = null;
    this._whole = this._gliding = false;
  }

  /** Forget where the face was: another source. */
  reset() {
    this._width = this._height = 0;
    this._place = null;
    this._whole = this._gliding = false;
  }

  /** Left, top and side in whole pixels of the source; the centre square before a face or a hand said otherwise. */
  get box() {
    const most = Math.min(this._width, this._height);
    if (this._place === null) {
      return { left: (this._width - most) >> 1, top: (this._height - most) >> 1, side: most };
    }
    const { x, y, side: exact } = this._place;
    const side = Math.min(Math.max(Math.round(exact), 1), most);
    return {
      left: limit(Math.round(x - exact / 2), 0, this._width - side),
      top: limit(Math.round(y - exact / 2), 0, this._height - side),
      side,
    };
  }

  /** Go after a face, a step a tick. @param {Outline} face */
  follow(face) {
    if (!this.following || this._whole || !this._width) return;
    const aim = this._aim(face);
    if (aim === null) return;
    if (this._place === null) {
      this._place = aim;
      this._gliding = false;
      return;
    }
    const { loose, looseSize, settled, follow, jump } = this._config;
    const place = this._place;
    const off = Math.max(Math.abs(aim.x - place.x), Math.abs(aim.y - place.y)) / place.side;
    const grown = Math.abs(Math.log(aim.side / place.side));
    if (off > jump) {
      this._place = aim;
      this._gliding = false;
      return;
    }
    this._gliding = this._gliding || off > loose || grown > Math.log(looseSize);
    if (this._gliding) {
      this._place = {
        x: place.x + follow * (aim.x - place.x),
        y: place.y + follow * (aim.y - place.y),
        side: place.side + follow * (aim.side - place.side),
      };
      this._gliding = off > settled || grown > 2 * settled;
    }
  }

  /** By hand. @param {number} dx @param {number} dy pixels of the source */
  move(dx, dy) {
    const { left, top, side } = this.box;
    this._take({ x: left + side / 2 + dx, y: top + side / 2 + dy, side });
  }

  /** By hand. @param {number} factor above 1 makes the square larger; its centre stays where it can */
  zoom(factor) {
    const { left, top, side } = this._place ? { ...this.box, side: this._place.side } : this.box;
    const whole = this.box.side;
    this._take({ x: left + whole / 2, y: top + whole / 2, side: side * factor });
  }

  /** @param {Place} place */
  _take({ x, y, side: wanted }) {
    if (!this._width) return;
    const most = Math.min(this._width, this._height);
    const side = limit(wanted, Math.min(this._config.leastPixels, most), most);
    const half = side / 2;
    this._place = { x: limit(x, half, this._width - half), y: limit(y, half, this._height - half), side };
    this.following = this._whole = this._gliding = false;
  }

  /** Where the square would be for this face alone; null where the whole source is it. @param {Outline} face */
  _aim({ left, top, right, bottom }) {
    const { face, middle, full, fullSmall, leastPixels } = this._config;
    const [width, height] = [this._width, this._height];
    // A turned head is narrow, a nodding one is short: the larger estimate is nearer to the head's size.
    const tall = Math.max(bottom - top, 1.18 * (right - left));
    const longer = Math.max(width, height);
    if (this._place === null && Math.abs(width - height) <= 0.02 * longer) {
      if (tall >= (longer <= PICTURE ? fullSmall : full) * height) {
        this._whole = true;
        return null;
      }
    }
    const most = Math.min(width, height);
    const side = Math.min(Math.max(tall / face, leastPixels), most);
    return {
      x: limit((left + right) / 2, side / 2, width - side / 2),
      y: limit((top + bottom) / 2 + (0.5 - middle) * side, side / 2, height - side / 2),
      side,
    };
  }
}

const OUTLINE = [72, 108];

/**
 * Outline of the face in pixels of the source.
 * @param {Float32Array} points 110 landmarks, x and y in fractions of the square
 * @param {{left: number, top: number, side: number}} box the square in which they were found
 * @returns {Outline}
 */
export function outlineOf(points, { left, top, side }) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let k = OUTLINE[0]; k < OUTLINE[1]; k++) {
    x0 = Math.min(x0, points[2 * k]);
    x1 = Math.max(x1, points[2 * k]);
    y0 = Math.min(y0, points[2 * k + 1]);
    y1 = Math.max(y1, points[2 * k + 1]);
  }
  return { left: left + side * x0, top: top + side * y0, right: left + side * x1, bottom: top + side * y1 };
}

/** @param {number} value @param {number} low @param {number} high */
function limit(value, low, high) {
  return Math.min(Math.max(value, low), Math.max(low, high));
}
