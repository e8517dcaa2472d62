"""Draws labelled pictures of cats and dogs, so that everything runs without a download.

Picture ``i`` follows from ``(seed, i)`` alone. The classes share everything but the animals'
anatomy: coats, poses, sizes, places, scenes, clutter, light, camera. No photograph is used.

Here a point of the plane is a complex number x + iy, y pointing down, and an outline is a
complex128 array [n]. Anatomy is measured in head radii, with the head's centre at 0.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

CLASS_NAMES = ("cat", "dog")
Rng = np.random.Generator
Outline = NDArray[np.complexfloating[Any, Any]]
Placement = Callable[[Outline], Outline]  # head radii → pixels
Floats = NDArray[np.floating[Any]]
_FINE = 2  # the scene is drawn this much larger than the photograph: smooth edges


class Anatomy(NamedTuple):
    """An animal's shape, the one thing in which classes differ; angles are degrees from upright."""

    head_width: float
    head_height: float
    ear_place: float
    ear_angle: float
    ear_length: float
    ear_width: float
    ear_tip: float
    eye_size: float
    eye_slant: float
    pupil_width: float
    muzzle_width: float
    muzzle_height: float
    muzzle_drop: float
    nose_width: float
    whisker_length: float
    torso_length: float
    leg_length: float
    tail_length: float
    tail_curl: float


class Part(NamedTuple):
    """A piece of the relief: how near it is (0...255), how bright (-128...127), if it is marked."""

    outline: Outline
    height: int
    tone: int = 0
    marked: bool = False


# fmt: off
_BREEDS = {  # columns: the fields of Anatomy
"cat": np.array([
    (1.07, .92, 38, 24, .95, .80, .12, .26, 14, .47, .39, .27, .42, .15, .90, 1.9, 1.1, 2.4, 70),
    (.95, .99, 44, 36, 1.1, .85, .10, .245, 19, .42, .33, .26, .45, .14, .90, 2.1, 1.4, 2.6, 50),
    (1.15, .95, 42, 32, .65, .75, .25, .27, 4, .55, .42, .25, .37, .16, .90, 1.8, 0.9, 2.0, 60),
]),
"dog": np.array([
    (.91, 1.01, 52, 150, 1.35, .75, .60, .185, -6, .88, .59, .55, .57, .26, .5, 2.1, 1.5, 1.6, 110),
    (.89, 1.04, 32, 14, 1.0, .58, .20, .175, 6, .83, .51, .58, .61, .24, .5, 2.3, 1.6, 1.8, 45),
    (1.0, .96, 48, 124, .85, .70, .45, .195, -3, .88, .60, .51, .52, .25, .5, 1.9, 1.2, 1.3, 135),
])}
_EYES_APART, _NECK, _LEG, _TAIL = 0.44, 0.9, 0.31, 0.27
_COATS = np.array([(38, 34, 33), (96, 94, 96), (150, 146, 142), (196, 128, 70), (124, 82, 52),
                   (222, 196, 156), (236, 232, 224), (70, 48, 36)], np.float32)
_IRISES = np.array([(200, 160, 50), (120, 150, 70), (110, 70, 35), (110, 150, 180)], np.float32)
# fmt: on


def draw_picture(index: int, seed: int) -> tuple[str, bytes]:
    """Draw one picture of the set; depends on nothing but its arguments, both 0 or more.

    Returns:
        The name, ``<class>/<class>_00001.jpg``, numbered from 1 within its class (cats have even
        indices), and the bytes of an RGB JPEG whose longer side has 256 to 320 pixels.
    """
    class_name = CLASS_NAMES[index % len(CLASS_NAMES)]
    rng = np.random.default_rng([seed, index])
    number = index // len(CLASS_NAMES) + 1
    return f"{class_name}/{class_name}_{number:05d}.jpg", _photograph(_scene(class_name, rng), rng)


def draw_room(index: int, seed: int) -> bytes:
    """The same without an animal: a picture of no class. The bytes of an RGB JPEG."""
    rng = np.random.default_rng([seed, index, 1])
    return _photograph(_scene("", rng), rng)


def _scene(class_name: str, rng: Rng) -> Image.Image:
    """What stands before the lens, ``_FINE`` times as large as the photograph.

    Without a class there is no animal.
    """
    longer = int(rng.integers(256, 321))
    shorter = round(longer / rng.choice([1.0, 1.25, 4 / 3, 1.5]))
    size = (longer, shorter) if rng.random() < 0.6 else (shorter, longer)
    scene = _background((size[0] // 2, size[1] // 2), rng)
    scene = ImageOps.scale(scene.resize(size), _FINE, Image.Resampling.NEAREST)
    _add_clutter(scene, rng, int(rng.integers(0, 6)), 0.2)
    if class_name:
        _add_animal(scene, _individual(class_name, rng), rng)
    _add_clutter(scene, rng, int(rng.integers(0, 2)), 0.1)
    return scene


def _background(size: tuple[int, int], rng: Rng) -> Image.Image:
    """A wall and a floor, each shaded and textured."""
    x, y = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in size))
    planes = np.empty((3, *x.shape), np.float32)
    horizon = int(size[1] * rng.uniform(0.2, 1.2))
    for rows in (slice(0, horizon), slice(horizon, size[1])):
        angle, waves = rng.uniform(0, 2 * np.pi), rng.uniform(8, 60)
        ramp = np.float32(np.cos(angle)) * x[rows] + np.float32(np.sin(angle)) * y[rows]
        texture = rng.uniform(0, 12) * _noise(size, rng.uniform(3, 60, 2), rng)[rows]
        if rng.random() < 0.4:
            texture += rng.uniform(3, 15) * np.sin(ramp * waves)
        first, second = _any_colour(rng), _any_colour(rng)
        planes[:, rows] = first + (second - first) * (ramp + 1) / 2 + texture
    return _image(planes)


def _add_clutter(scene: Image.Image, rng: Rng, count: int, largest: float) -> None:
    """Things of any shape, up to this share of the picture's width; some have eyes."""
    pen = ImageDraw.Draw(scene)
    for _ in range(count):
        centre = complex(rng.uniform(0, scene.width), rng.uniform(0, scene.height))
        spokes = np.exp(1j * np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9))))
        spokes *= rng.uniform(0.15, 1) * largest * scene.width * rng.uniform(0.5, 1.3, len(spokes))
        sharp, eyed = rng.random(2) < 0.4
        outline = centre + spokes if sharp else _smooth(centre + spokes)
        pen.polygon(_xy(outline), fill=_ink(_any_colour(rng)))
        if eyed:
            colour, radius = _ink(_any_colour(rng)), 0.2 * float(np.abs(spokes).min())
            for side in (-2, 2):
                pen.polygon(_xy(_ellipse(centre + side * radius, radius, radius)), fill=colour)


def _photograph(scene: Image.Image, rng: Rng) -> bytes:
    """Lens, sensor and JPEG encoder."""
    picture = scene.reduce(_FINE)
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0.2, 1.2)))
    planes = np.stack([np.asarray(band, np.float32) for band in picture.split()])
    planes *= rng.uniform(0.7, 1.2) * (1 + 0.12 * _noise(picture.size, np.full(2, 3), rng))
    planes *= rng.uniform(0.88, 1.12, (3, 1, 1))
    planes += rng.uniform(0, 9) * rng.standard_normal(planes.shape[1:], np.float32)
    file = io.BytesIO()
    _image(planes).save(file, "JPEG", quality=int(rng.integers(60, 96)))
    return file.getvalue()


def _noise(size: tuple[int, int], bumps: Floats, rng: Rng) -> Floats:
    """Smooth noise around 0 with so many bumps across and down: float32 [height, width]."""
    across, down = (max(2, round(n)) for n in bumps.tolist())
    grid = Image.fromarray(rng.standard_normal((down, across), np.float32))
    return np.asarray(grid.resize(size, Image.Resampling.BICUBIC))


def _fur_colour(rng: Rng) -> Floats:
    """A coat's colour: float32 [3, 1, 1], RGB around 0...255."""
    first, second = _COATS[rng.integers(0, len(_COATS), 2)]
    mixed = first + (second - first) * rng.uniform(0, 0.5)
    return mixed[:, None, None] * rng.uniform(0.85, 1.1)


def _any_colour(rng: Rng) -> Floats:
    """Every second one is a coat's, so that colour betrays no animal."""
    muted = rng.uniform(40, 215) + rng.uniform(-40, 40, (3, 1, 1)).astype(np.float32)
    return _fur_colour(rng) if rng.random() < 0.5 else muted


def _image(planes: Floats) -> Image.Image:
    """Float32 [3, height, width], RGB, cut to 0...255 → a picture."""
    return Image.merge("RGB", [Image.fromarray(p) for p in planes.clip(0, 255).astype(np.uint8)])


def _ink(colour: Floats) -> tuple[int, ...]:
    return tuple(colour.ravel().clip(0, 255).astype(int).tolist())


def _xy(outline: Outline) -> list[float]:
    return outline.view(np.float64).tolist()


def _smooth(corners: Outline) -> Outline:
    """A closed curve through the corners, 6 points for each.

    Source: Catmull & Rom, A class of local interpolating splines (1974), uniform, tension 1/2.
    """
    t, ring = np.arange(6)[:, None] / 6, np.concatenate([corners[-1:], corners, corners[:2]])
    a, b, c, d = ring[:-3], ring[1:-2], ring[2:-1], ring[3:]
    curve = b + t / 2 * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    return curve.T.ravel()


def _ellipse(centre: complex, half_width: float, half_height: float) -> Outline:
    spokes = np.exp(1j * np.linspace(0, 2 * np.pi, 24, endpoint=False))
    return centre + half_width * spokes.real + 1j * half_height * spokes.imag


def _limb(spine: Outline, widths: Floats) -> Outline:
    """A line of points made as wide as given at each."""
    across = 0.5j * np.exp(1j * np.angle(np.gradient(spine))) * widths
    return _smooth(np.concatenate([spine + across, (spine - across)[::-1]]))


def _individual(class_name: str, rng: Rng) -> Anatomy:
    """An animal of one breed, or between two; no two alike."""
    first, second = _BREEDS[class_name][rng.integers(0, 3, 2)]
    mean = first + (second - first) * rng.beta(0.5, 0.5)
    return Anatomy(*(mean * rng.lognormal(0, 0.08, len(mean))).tolist())


def _head(a: Anatomy, look: complex) -> list[Part]:
    """Skull, muzzle and ears; ``look`` is how far the head turns (real) and nods (imaginary)."""
    w, h, jaw = a.head_width, a.head_height, 0.75 * a.head_width
    right = [0.6 * w - 0.8j * h, w - 0.1j * h, jaw + 0.6j * h]
    left = [-point.conjugate() for point in reversed(right)]
    muzzle = _ellipse(_muzzle(a, look), a.muzzle_width, a.muzzle_height)
    skull = _smooth(np.array([-1j * h, *right, 1j * h, *left]))
    face = [Part(skull, 190), Part(muzzle, 235, 10, marked=True)]
    ears = _ear(a, look, -1) + _ear(a, look, 1)
    return face + ears if a.ear_angle > 75 else ears + face


def _ear(a: Anatomy, look: complex, side: int) -> list[Part]:
    """A flap; if it stands up, with its inside."""
    place, hanging = np.deg2rad(a.ear_place) * side - 0.15 * look.real, a.ear_angle > 75
    root = 0.85 * (a.head_width * np.sin(place) - 1j * a.head_height * np.cos(place))
    upright = np.exp(1j * np.deg2rad(a.ear_angle) * side)
    along = -1j * a.ear_length * upright
    across = a.ear_width / 2 * (1 - 0.3 * max(0.0, side * look.real)) * upright
    lengths = np.array([0, 0.55, 0.9, 1, 0.9, 0.55, 0])
    widths = np.array([-1, -0.75, -a.ear_tip, 0, a.ear_tip, 0.75, 1])
    flap = root + lengths * along + widths * across
    outer = Part(_smooth(flap), 215 if hanging else 165, -25)
    inner = Part(_smooth(root + 0.08 * along + 0.65 * (flap - root)), 150, -10, marked=True)
    return [outer] if hanging else [outer, inner]


def _muzzle(a: Anatomy, look: complex) -> complex:
    """The middle of the muzzle; the more it sticks out, the more it moves."""
    return complex((0.2 + 0.35 * a.muzzle_height) * look.real, a.muzzle_drop + 0.15 * look.imag)


def _sitting(a: Anatomy) -> list[Part]:
    top, bottom = 1j * _NECK, 1j * (_NECK + a.torso_length)
    right = [0.5 + top - 0.5j, 0.8 + top + 0.5j, 1.1 + bottom]
    left = [-point.conjugate() for point in reversed(right)]
    parts = [_tail(a, 0.8 + bottom - 0.1j), Part(_smooth(np.array(right + left)), 90)]
    length = a.torso_length - 0.6 + 0.25 * a.leg_length
    for side in (-1, 1):
        parts.append(Part(_ellipse(0.95 * side + bottom - 0.1j, 0.5, 0.6), 115))
        parts.append(_leg(a, 0.38 * side + top + 0.7j, length, 145))
    return [*parts, Part(_ellipse(top + 0.5j, 0.45, 0.6), 110, marked=True)]


def _standing(a: Anatomy) -> list[Part]:
    w, top, length = 0.7, 0.8j * _NECK, 1.3 * a.torso_length
    back = [-0.3 - 0.4j * w, 0.5 * length - 0.7j * w, length - 0.6j * w]
    belly = [length + 0.2 + 0.5j * w, 0.6 * length + 0.8j * w, 1.1j * w]
    hips = ((0.35, 60), (length - 0.25, 60), (0.0, 130), (length, 130))
    legs = [_leg(a, x + top + 0.2j * w, a.leg_length + 0.6 * w, height) for x, height in hips]
    torso = Part(_smooth(top + np.array(back + belly)), 100)
    return [_tail(a, length + top - 0.3j * w), *legs[:2], torso, *legs[2:]]


def _leg(a: Anatomy, hip: complex, length: float, height: int) -> Part:
    spine = hip + 1j * length * np.array([0, 0.4, 0.85, 0.97, 1.0])
    return Part(_limb(spine, _LEG * np.array([1.4, 1.1, 0.9, 1.4, 1.0])), height)


def _tail(a: Anatomy, root: complex) -> Part:
    bend = np.deg2rad(a.tail_curl) * np.linspace(-0.3, 1, 7)
    spine = root + np.cumsum(np.exp(-1j * bend)) * a.tail_length / 7
    return Part(_limb(spine, _TAIL * np.linspace(1.1, 0.6, 7)), 70)


def _add_animal(scene: Image.Image, a: Anatomy, rng: Rng) -> None:
    """Model the animal as a relief, give it a coat in some light, then fur and a face."""
    look, tilt = complex(*rng.uniform(-0.7, 0.7, 2)), np.exp(1j * rng.normal(0, 0.1))
    parts = _standing(a) if rng.random() < 0.5 else _sitting(a)
    parts += [p._replace(outline=p.outline * tilt) for p in _head(a, look)]
    place = _placement(parts, scene.size, rng)
    parts = [p._replace(outline=place(p.outline)) for p in parts]
    radius = float(np.abs(np.diff(place(np.array([0, 1 + 0j]))))[0])
    silhouette = Image.new("L", scene.size)
    relief = Image.new("RGB", (scene.width // _FINE, scene.height // _FINE))
    silhouette_pen, relief_pen = ImageDraw.Draw(silhouette), ImageDraw.Draw(relief)
    for p in parts:
        silhouette_pen.polygon(_xy(p.outline), fill=255)
        relief_pen.polygon(_xy(p.outline / _FINE), fill=(p.height, 128 + p.tone, 255 * p.marked))
    box = silhouette.reduce(_FINE).getbbox() or (0, 0, *relief.size)
    coat = _coat(relief.crop(box).filter(ImageFilter.BoxBlur(0.05 * radius)), radius, rng)
    left, top, right, bottom = (_FINE * edge for edge in box)
    scene.paste(coat, (left, top), silhouette.crop((left, top, right, bottom)))
    _add_fur(scene, parts, radius, rng)
    _add_face(scene, a, look, lambda outline: place(outline * tilt), rng)


def _placement(parts: list[Part], size: tuple[int, int], rng: Rng) -> Placement:
    """Choose where and how large the animal is, by its area: head radii → pixels."""
    outlines = [p.outline for p in parts]
    area = sum(abs(np.sum(o.conj() * np.roll(o, -1)).imag) / 2 for o in outlines)  # shoelace
    scale = rng.uniform(0.95, 1.25) * min(size) / np.sqrt(area) * np.exp(1j * rng.normal(0, 0.07))
    origin = rng.uniform(0, 0.2) * np.mean([o.mean() for o in outlines])
    centre = complex(size[0] * rng.uniform(0.45, 0.55), size[1] * rng.uniform(0.4, 0.5))
    if rng.random() < 0.5:
        return lambda outline: centre + (outline - origin) * scale
    return lambda outline: centre - ((outline - origin) * scale).conj()


def _coat(relief: Image.Image, radius: float, rng: Rng) -> Image.Image:
    """Colour the relief, light it from one side, and enlarge it to the scene."""
    height, tone, marked = (np.asarray(band, np.float32) for band in relief.split())
    around = np.asarray(relief.getchannel(0).filter(ImageFilter.BoxBlur(0.15 * radius)), np.float32)
    down, right = np.gradient(height)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.0) * radius / 500
    slope = float(strength * np.cos(angle)) * right + float(strength * np.sin(angle)) * down
    shade = 1 - 0.4 * slope.clip(-1, 1) - (around - height).clip(0, 60) / 150 + (tone - 128) / 128
    pattern = np.maximum(_pattern(relief.size, radius, rng), marked / 255 * (rng.random() < 0.5))
    hairs = rng.uniform(2, 12) * _noise(relief.size, np.array(relief.size) / (2, 5), rng)
    first, second = _fur_colour(rng), _fur_colour(rng)
    coat = _image((first + (second - first) * pattern) * shade + hairs)
    return ImageOps.scale(coat, _FINE, Image.Resampling.NEAREST)


def _pattern(size: tuple[int, int], radius: float, rng: Rng) -> Floats:
    """Where a plain, striped, patched or spotted coat has its second colour: 0...1."""
    kind, bumps = rng.integers(4), np.array(size) * _FINE / radius
    clouds = _noise(size, bumps if kind == 2 else 2 * bumps, rng)
    if kind == 1:
        x, y = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in size))
        stripes = np.sin((x * rng.normal() + y) * 12 * _FINE / radius + 1.5 * clouds)
        return 0.5 * (stripes > 0.2).astype(np.float32)
    return np.stack([0 * clouds, clouds, 2 * clouds, 6 * (clouds - 0.8)])[kind].clip(0, 1)


def _add_fur(scene: Image.Image, parts: list[Part], radius: float, rng: Rng) -> None:
    """Strokes over the coat and across its outlines, in the colours found beneath them."""
    outlines = np.concatenate([p.outline for p in parts])
    centres = np.concatenate([np.full(len(p.outline), p.outline.mean()) for p in parts])
    chosen = rng.integers(0, len(outlines), 500)
    outward = outlines[chosen] - centres[chosen]
    start = outlines[chosen] - outward * rng.beta(1, 3, 500)
    combed = outward / np.abs(outward) + 0.6j + 0.3 * rng.standard_normal(500)
    end = start + combed * rng.uniform(0.06, 0.22) * radius * rng.uniform(0.5, 1.3, 500)
    x, y = start.real.clip(0, scene.width - 1), start.imag.clip(0, scene.height - 1)
    colours = np.asarray(scene)[y.astype(int), x.astype(int)] * rng.uniform(0.75, 1.25, (500, 1))
    strokes = np.stack([start, end], axis=1).view(np.float64).tolist()
    pen = ImageDraw.Draw(scene)
    for stroke, ink in zip(strokes, colours.clip(0, 255).astype(int).tolist(), strict=True):
        pen.line(stroke, fill=tuple(ink), width=2)


def _add_face(scene: Image.Image, a: Anatomy, look: complex, place: Placement, rng: Rng) -> None:
    """Eyes, mouth, tongue, nose and whiskers."""
    pen, unit = ImageDraw.Draw(scene), float(np.abs(np.diff(place(np.array([0, 1 + 0j]))))[0])

    def fill(outline: Outline, colour: Floats) -> None:
        pen.polygon(_xy(place(outline)), fill=_ink(colour))

    def line(points: list[complex], colour: Floats, width: float) -> None:
        pen.line(_xy(place(np.array(points))), fill=_ink(colour), width=max(1, round(width * unit)))

    dark, gaze, size = rng.uniform(10, 60, 3), complex(*rng.uniform(-0.2, 0.2, 2)), a.eye_size
    iris = (_IRISES[rng.integers(len(_IRISES))] + _fur_colour(rng).ravel()) / 2
    for side in (-1, 1):
        eye = complex(side * _EYES_APART + 0.25 * look.real, -0.12 + 0.12 * look.imag)
        slant = np.exp(-1j * np.deg2rad(a.eye_slant) * side)
        fill(eye + slant * _ellipse(0, 1.12 * size, 0.9 * size), dark)
        fill(eye + slant * _ellipse(0, size, 0.8 * size), iris)
        pupil = eye + size * gaze
        fill(_ellipse(pupil, 0.7 * size * a.pupil_width, 0.7 * size), dark / 2)
        fill(_ellipse(pupil - (0.3 + 0.3j) * size, 0.15 * size, 0.15 * size), np.full(3, 240.0))
    muzzle, m, n = _muzzle(a, look), 0.5 * a.muzzle_width, a.nose_width
    nose, mouth = muzzle - 0.55j * a.muzzle_height, muzzle + 0.35j * a.muzzle_height
    if rng.random() < 0.3:
        fill(_ellipse(mouth + 0.6j * m, 0.4 * m, 0.7 * m), np.array([205.0, 95, 105]))
    line([nose, mouth], dark, 0.03)
    smile = (-1 - 0.1j, -0.5 + 0.2j, 0, 0.5 + 0.2j, 1 - 0.1j)
    line([mouth + m * point for point in smile], dark, 0.04)
    corners = np.array([-1 - 0.5j, 1 - 0.5j, 0.7 + 0.2j, 0.6j, -0.7 + 0.2j])
    fill(_smooth(nose + n * corners), dark if rng.random() < 0.6 else np.array([190.0, 120, 115]))
    hair = np.full(3, rng.choice([40.0, 230.0]))
    for side in (-1, 1):
        for angle in (-0.25, 0.0, 0.25):
            root, reach = muzzle + side * m, side * a.whisker_length * np.exp(1j * side * angle)
            line([root, root + reach], hair, 0.012)
