"""An animated portrait: NASA's public-domain picture of Eileen Collins, moved by smooth warps.

Two steps a picture. First the expression, in small patches of the still portrait: columns of the lower face and of
the eyelids are stretched between measured contours, and what opens between the lips is filled with the portrait's own
teeth, a dark cavity, tongue and lower teeth. Then the pose: one dense displacement, a weighted sum of precomputed
fields (rotations of an ellipsoid with a nose, brows, mouth width, breath), held at zero in the background.

Coordinates are those of the 512x512 portrait, x right and y down, pixel (i, j) covering [i, i + 1) x [j, j + 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
_Contour = dict[float, float]

SIDE = 512
"""Side of the rendered picture."""
_ZOOM = 2
_LEFT, _TOP = 96, 0
_STEP = 4  # the pose fields are kept at a quarter of the picture's resolution

# Contours measured on the portrait, x: y.
_CORNERS = (202.0, 245.3)
_UPPER_OUTER: _Contour = {
   202: 138.7, 206: 138.9, 210: 139.1, 214: 139.3, 218: 139.6, 221: 140.0, 223.5: 140.4, 226: 140.0,
                230: 139.6, 234: 139.6, 238: 139.9, 242: 140.3, 245.3: 140.7}  # fmt: skip
_UPPER_INNER: _Contour = {
   202: 138.9, 204: 139.9, 206: 141.0, 208: 141.5, 210: 141.8, 212: 142.0, 215: 142.8, 218: 143.6,
                221: 144.0, 224: 144.2, 227: 144.0, 230: 143.6, 233: 143.2, 236: 142.6, 238: 142.0, 240: 141.3,
                242: 140.9, 244: 140.8, 245.3: 140.8}  # fmt: skip
_LOWER_INNER: _Contour = {
   202: 138.9, 204: 141.2, 206: 143.2, 208: 144.9, 210: 146.3, 212: 147.4, 214: 148.3, 216: 148.8,
                218: 149.2, 221: 149.7, 224: 149.8, 227: 149.5, 230: 149.2, 232: 148.6, 234: 147.6, 236: 146.6,
                238: 145.2, 240: 144.2, 242: 143.0, 244: 141.7, 245.3: 140.8}  # fmt: skip
_LOWER_OUTER: _Contour = {
   202: 139.1, 206: 144.9, 210: 149.2, 214: 152.2, 218: 154.1, 222: 154.8, 226: 154.6, 230: 153.2,
                234: 151.0, 238: 148.0, 242: 144.6, 245.3: 140.9}  # fmt: skip
_CHIN: _Contour = {
   181: 146.0, 185: 150.0, 189: 155.3, 195: 162.0, 200: 167.3, 205: 172.0, 212: 175.7, 221: 177.4, 230: 176.9,
         238: 174.1, 244: 170.0, 249: 165.6, 256: 159.4, 261: 153.0, 265: 148.0}  # fmt: skip
_NOSE_BASE = 133.6


@dataclass(frozen=True, slots=True)
class _EyeShape:
    crease: float  # skin above this row does not move in a blink
    lash: _Contour  # upper edge of the lashes
    upper: _Contour  # lower edge of the upper lid
    lower: _Contour  # upper edge of the lower lid
    iris: tuple[float, float]


_EYES = (
    _EyeShape(
        93.2,
        {190: 100.4, 192: 99.6, 194: 97.6, 196: 96.4, 198: 95.6, 200: 95.2, 202: 95.0, 204: 95.2, 206: 95.6, 208: 96.4,
         210: 97.5, 212: 99.0, 214: 101.8, 216: 102.8},
        {190: 100.8, 192.5: 101.0, 194: 100.6, 196: 99.6, 198: 98.8, 200: 98.1, 202: 97.8, 204: 97.8, 206: 98.1,
         208: 99.0, 210: 100.4, 212: 102.0, 214: 103.3, 216: 103.3},
        {190: 100.9, 192.5: 101.4, 195: 102.5, 197: 103.2, 199: 104.0, 201: 104.7, 203: 104.9, 205: 104.7, 207: 104.4,
         209: 104.0, 211: 103.9, 213: 103.9, 214.5: 103.6, 216: 103.4},
        (203.7, 101.3),
    ),
    _EyeShape(
        95.6,
        {234: 104.4, 236: 103.6, 238: 101.8, 240: 100.3, 242: 99.4, 244: 98.9, 246: 98.6, 248: 98.6, 250: 98.8,
         252: 99.3, 254: 100.2, 256: 101.5, 258: 102.9, 260: 104.2, 262: 104.8},
        {234: 105.0, 236.5: 104.8, 238: 103.7, 240: 102.3, 242: 101.3, 244: 100.5, 246: 100.3, 248: 100.3, 250: 100.7,
         252: 101.6, 254: 102.7, 256: 103.7, 258: 104.4, 260: 104.8, 262: 105.0},
        {234: 105.1, 236.5: 105.3, 238: 105.6, 240: 105.9, 242: 106.2, 244: 106.6, 246: 106.9, 248: 106.8, 250: 106.3,
         252: 105.9, 254: 105.4, 256: 105.0, 258: 104.8, 260: 104.9, 262: 105.1},
        (247.2, 103.4),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pose:
    """Of the head. yaw, pitch, roll in radians (right, down and clockwise in the picture are positive), across and
    down in portrait pixels, nearer as a fraction of size, breath in portrait pixels.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    across: float = 0.0
    down: float = 0.0
    nearer: float = 0.0
    breath: float = 0.0


@dataclass(frozen=True, slots=True)
class Expression:
    """open: lips 0 (closed) .. 1 (wide); the portrait's own is 0.5. width -1 (rounded) .. 1 (spread).
    smile: 0 (corners of the mouth relaxed) .. 1 (the portrait's own).
    blink: closing of the lids 0..1. brows: raise -1..1. gaze: shift of the irises in portrait pixels, right and down.
    """

    open: float = 0.5
    width: float = 0.0
    smile: float = 1.0
    blink: float = 0.0
    brows: float = 0.0
    gaze: tuple[float, float] = (0.0, 0.0)


class DemoFace:
    """Renders the portrait with any pose and expression."""

    def __init__(self) -> None:
        self._portrait = _portrait()
        self._mouth = _MouthPatch(self._portrait)
        self._eyes = [_EyePatch(self._portrait, shape) for shape in _EYES]
        self._fields = _pose_fields()
        ys, xs = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
        self._grid = np.stack([xs, ys], -1)

    def render(self, pose: Pose, expression: Expression) -> NDArray[np.uint8]:
        """-> (512, 512, 3) uint8 RGB."""
        still = self._portrait.copy()
        self._mouth.draw(still, expression.open)
        for eye in self._eyes:
            eye.draw(still, expression.blink, expression.gaze)
        weights = np.array(
            [pose.yaw, pose.pitch, pose.roll, pose.across, pose.down, pose.nearer, pose.breath,
             expression.brows, expression.width, 1 - expression.smile],
            np.float32,
        )  # fmt: skip
        small = np.tensordot(weights, self._fields, 1)
        shift = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        where = self._grid - shift
        edge = cv2.BORDER_REPLICATE
        moved = cv2.remap(still, where, None, cv2.INTER_LINEAR, borderMode=edge)  # type: ignore[call-overload]
        return np.asarray(moved, np.uint8)


def _portrait() -> NDArray[np.uint8]:
    """The head and shoulders of the portrait, enlarged to 512x512 and a little sharpened."""
    from skimage import data

    side = SIDE // _ZOOM
    part = data.astronaut()  # type: ignore[no-untyped-call]
    part = part[_TOP : _TOP + side, _LEFT : _LEFT + side]
    large = cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    soft = cv2.GaussianBlur(large, (0, 0), 1.6)
    return np.asarray(cv2.addWeighted(large, 1.5, soft, -0.5, 0), np.uint8)


def _curve(points: _Contour, x: Floats) -> Floats:
    """A measured contour at the columns x, smoothed over about a portrait pixel."""
    fine = np.interp(x, list(points), list(points.values()))
    kernel = np.array([1, 2, 3, 2, 1]) / 9
    return np.convolve(np.pad(fine, 2, mode="edge"), kernel, "valid").astype(np.float32)


def _stretch(y: Floats, to: list[Floats], back: list[Floats]) -> Floats:
    """Piecewise linear map of rows: target row `to[k]` comes from source row `back[k]`; the shifts of the first and
    the last knot continue outside. y (h, 1), knots (w,) -> (h, w).
    """
    out = np.minimum(y - to[0], 0) + back[0]
    for t0, t1, s0, s1 in zip(to, to[1:], back, back[1:], strict=False):
        out = out + np.clip((y - t0) / np.maximum(t1 - t0, 1e-3), 0, 1) * (s1 - s0)
    return np.asarray(out + np.maximum(y - to[-1], 0), np.float32)


class _Patch:
    """A rectangle of the portrait, drawn in place."""

    def __init__(self, portrait: NDArray[np.uint8], box: tuple[int, int, int, int]) -> None:
        left, top, right, bottom = box
        self.portrait = portrait
        self.at = (
            slice((top - _TOP) * _ZOOM, (bottom - _TOP) * _ZOOM),
            slice((left - _LEFT) * _ZOOM, (right - _LEFT) * _ZOOM),
        )
        self.x = (np.arange((right - left) * _ZOOM, dtype=np.float32) + 0.5) / _ZOOM + left
        self.y = ((np.arange((bottom - top) * _ZOOM, dtype=np.float32) + 0.5) / _ZOOM + top)[:, None]
        self._columns = np.ascontiguousarray(np.broadcast_to(self.x, (self.y.size, self.x.size)))

    def sample(self, rows: Floats, columns: Floats | None = None) -> Floats:
        """The portrait at (columns, rows) -> (h, w, 3) float32."""
        x = self._columns if columns is None else columns
        return np.asarray(
            cv2.remap(
                self.portrait,
                np.asarray((x - _LEFT) * _ZOOM - 0.5, np.float32),
                np.asarray((rows - _TOP) * _ZOOM - 0.5, np.float32),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.float32,
        )


class _MouthPatch(_Patch):
    _WIDEST = 11.5  # distance of the lips at open = 1, in portrait pixels

    def __init__(self, portrait: NDArray[np.uint8]) -> None:
        super().__init__(portrait, (176, 130, 272, 196))
        x = self.x
        self._outer_up, self._up = _curve(_UPPER_OUTER, x), _curve(_UPPER_INNER, x)
        self._low, self._outer_low = _curve(_LOWER_INNER, x), _curve(_LOWER_OUTER, x)
        self._low = np.maximum(self._low, self._up)
        self._chin = _curve(_CHIN, x)
        middle, half = sum(_CORNERS) / 2, (_CORNERS[1] - _CORNERS[0]) / 2
        s = np.clip((x - middle) / half, -1, 1)
        self._gap = self._low - self._up
        self._rest = float(self._gap.max())
        self._jaw = (np.maximum(1 - s**2, 0) ** 0.75).astype(np.float32)
        self._chin_share = np.exp(-(((x - middle) / 25) ** 4)).astype(np.float32)
        inside = np.minimum(self._gap / 1.5, 1).astype(np.float32)
        self._outside = 1 - inside
        self._lip_edge = 0.7 * inside  # keeps the blurred edge of the teeth out of the lips
        # what lies behind the lips: the portrait's teeth, held at their edges where the portrait shows lip
        rows = np.clip(self.y, self._up + 0.7 * inside, np.maximum(self._low - 1.1 * inside, self._up + 0.7 * inside))
        self._teeth = self.sample(np.asarray(rows, np.float32))
        self._teeth_end = self._low - 0.3
        across = (x - middle) / half
        self._tongue = np.exp(-((across / 0.55) ** 4)).astype(np.float32)
        self._lower_teeth = (0.82 + 0.18 * np.cos(2 * np.pi * (x - 223.0) / 4.1)).astype(np.float32)
        self._lower_teeth *= np.exp(-((across / 0.5) ** 6)).astype(np.float32)

    def draw(self, picture: NDArray[np.uint8], opening: float) -> None:
        gap = max(opening, 0.0) * self._WIDEST
        closed = min(max(1 - gap / self._rest, 0.0), 1.0)
        drop = max(gap - self._rest, 0.0)
        up_shift = 0.40 * closed * self._gap - 0.12 * drop * self._jaw
        low_shift = -0.60 * closed * self._gap + drop * self._jaw
        up, low = self._up + up_shift, self._low + low_shift
        outer_up = self._outer_up + (0.45 * up_shift)
        outer_low = self._outer_low + np.where(low_shift < 0, 0.55, 0.95) * low_shift
        chin_shift = (0.9 * drop - 1.6 * closed) * self._chin_share
        top = np.full_like(up, _NOSE_BASE)
        fold = (2 * self._outer_low + self._chin) / 3
        fold_shift = 0.8 * chin_shift + 0.2 * low_shift
        neck = self._chin + 12
        y = self.y
        rows_up = _stretch(y, [top, outer_up, up], [top, self._outer_up, self._up])
        rows_low = _stretch(
            y,
            [low, outer_low, fold + fold_shift, self._chin + chin_shift, neck],
            [self._low, self._outer_low, fold, self._chin, neck],
        )
        upper = self.sample(np.minimum(rows_up, self._up - self._lip_edge))
        lower = self.sample(np.maximum(rows_low, self._low + self._lip_edge))
        width = low - up
        inside = self._interior(y, up, low, width)
        # lips cast a shadow into a narrow gap, and a closed mouth is a dark line
        is_upper = np.clip((up - y) * _ZOOM + 0.5, 0, 1)[..., None]
        is_lower = np.clip((y - low) * _ZOOM + 0.5 + self._outside, 0, 1)[..., None]
        is_lower = is_lower * (1 - is_upper)
        out = upper * is_upper + lower * is_lower + inside * (1 - is_upper - is_lower)
        seam = (up + low) / 2
        crease = 0.30 * np.clip(1 - width / 2, 0, 1) * np.minimum(self._gap / 2, 1)
        out *= (1 - crease * np.exp(-(((y - seam) / 1.1) ** 2)))[..., None]
        picture[self.at] = np.clip(out, 0, 255).astype(np.uint8)

    def _interior(self, y: Floats, up: Floats, low: Floats, width: Floats) -> Floats:
        """Teeth, cavity, tongue and lower teeth behind the lips, (h, w, 3)."""
        depth = np.clip((low - y) / 5.0, 0, 1)  # 0 at the lower lip
        tongue = (self._tongue * (1 - depth) ** 0.7 * np.clip(width / 7, 0, 1))[..., None]
        cavity = np.array([46, 18, 18], np.float32) + tongue * np.array([112, 58, 56], np.float32)
        row = np.clip(1 - (low - y) / 1.9, 0, 1) * np.clip((width - 7) / 3, 0, 1)
        visible = (0.75 * np.clip(row * 2, 0, 1) * self._lower_teeth)[..., None]
        cavity = cavity * (1 - visible) + visible * np.array([168, 150, 138], np.float32)
        teeth = np.clip((self._teeth_end - y) * 1.4 + 0.5, 0, 1)[..., None]
        shade = 0.62 + 0.38 * np.clip((y - up) / 2.2, 0, 1)  # under the upper lip
        narrow = np.broadcast_to(0.4 + 0.6 * np.clip(width / 3.0, 0, 1), shade.shape)
        mixed = self._teeth * teeth + cavity * (1 - teeth)
        dusk = (shade * narrow)[..., None] ** np.array([0.85, 1.05, 1.1], np.float32)
        return np.asarray(mixed * dusk, np.float32)


class _EyePatch(_Patch):
    def __init__(self, portrait: NDArray[np.uint8], shape: _EyeShape) -> None:
        left, right = int(min(shape.lash)), int(max(shape.lash))
        super().__init__(portrait, (left, int(shape.crease) - 1, right, 112))
        self._crease = np.full_like(self.x, shape.crease)
        self._lash, self._upper = _curve(shape.lash, self.x), _curve(shape.upper, self.x)
        self._lower = np.maximum(_curve(shape.lower, self.x), self._upper)
        self._opening = self._lower - self._upper
        # lids move nothing at the corners of the patch
        ends = np.clip(np.minimum(self.x - left, right - self.x) / 2.5, 0, 1)
        self._ends = (ends * ends * (3 - 2 * ends)).astype(np.float32)
        x, y = self.x[None] - shape.iris[0], self.y - shape.iris[1]
        self._ball = np.exp(-((x / 7.0) ** 4) - (y / 5.0) ** 4).astype(np.float32)

    def draw(self, picture: NDArray[np.uint8], blink: float, gaze: tuple[float, float]) -> None:
        lid = np.clip(blink + 0.10 * gaze[1], -0.1, 1.0)
        upper_shift = self._ends * (0.97 * lid * self._opening)
        lower_shift = self._ends * (-0.10 * max(lid, 0.0) * self._opening)
        upper, lower = self._upper + upper_shift, self._lower + lower_shift
        y = self.y
        rows = _stretch(
            y,
            [self._crease, self._lash + 0.92 * upper_shift, upper],
            [self._crease, self._lash, self._upper],
        )
        skin = self.sample(np.minimum(rows, self._upper))
        cheek = np.full_like(lower, 111.0)
        rows = _stretch(y, [lower, cheek], [self._lower, cheek])
        under = self.sample(np.maximum(rows, self._lower))
        ball = self.sample(y - gaze[1] * self._ball, self.x[None] - gaze[0] * self._ball)
        ball = ball * (1 - 0.6 * np.clip(lid, 0, 1) ** 2)
        is_skin = np.clip((upper - y) * _ZOOM + 0.5, 0, 1)[..., None]
        is_under = np.clip((y - lower) * _ZOOM + 0.5, 0, 1)[..., None] * (1 - is_skin)
        out = skin * is_skin + under * is_under + ball * (1 - is_skin - is_under)
        picture[self.at] = np.clip(out, 0, 255).astype(np.uint8)


def _pose_fields() -> Floats:
    """Displacements in picture pixels for one unit of each weight: (10, 128, 128, 2)."""
    n = SIDE // _STEP
    ys, xs = np.mgrid[0:n, 0:n].astype(np.float32)
    x = (xs + 0.5) * _STEP / _ZOOM + _LEFT
    y = (ys + 0.5) * _STEP / _ZOOM + _TOP

    def bump(cx: float, cy: float, sx: float, sy: float, power: float = 2) -> Floats:
        return np.asarray(np.exp(-(np.abs((x - cx) / sx) ** power) - np.abs((y - cy) / sy) ** power), np.float32)

    # the head with its hair, softly ending in the backdrop and in the neck
    outside = np.sqrt(((x - 227) / 78) ** 2 + ((y - 92) / 90) ** 2)
    fall = np.clip((outside - 0.98) / 0.62, 0, 1)
    head = (1 - fall * fall * (3 - 2 * fall)).astype(np.float32)
    neck = np.clip((y - 160) / 32, 0, 1)
    head *= (1 - neck * neck * (3 - 2 * neck)).astype(np.float32)
    ball = np.sqrt(np.clip(1 - ((x - 227) / 82) ** 2 - ((y - 95) / 94) ** 2, 0, 1))
    depth = 46 * ball + 26 * bump(224, 118, 33, 42) + 15 * bump(223, 127, 9, 10) + 5 * bump(222, 168, 13, 10)
    depth = np.asarray(cv2.GaussianBlur(depth, (0, 0), 2.0), np.float32)
    zero = np.zeros_like(x)
    across, down = x - 223, y - 188  # the head turns about the neck
    mouth_middle = sum(_CORNERS) / 2
    brows = bump(202, 90, 17, 7) + bump(250, 92, 17, 7)
    torso = np.clip((y - 150) / 40, 0, 1) * bump(210, 256, 120, 110, 4)
    beside = (x - mouth_middle) / 21
    smile = bump(mouth_middle, 141, 34, 17, 4)
    fields = [
        (head * depth, zero),  # yaw
        (zero, head * (depth - 10)),  # pitch
        (head * -down, head * across),  # roll
        (head, zero),
        (zero, head),
        (head * across, head * (y - 130)),  # nearer
        (zero, -torso - 0.35 * head),  # breath
        (zero, -2.0 * brows),
        ((x - mouth_middle) * 0.16 * bump(mouth_middle, 144, 29, 15, 3), zero),  # mouth width
        (-1.8 * beside * smile, 2.6 * (np.minimum(beside**2, 1.5) - 0.25) * smile),  # relaxing from the smile
    ]
    return np.asarray([np.stack(f, -1) * _ZOOM for f in fields], np.float32)
