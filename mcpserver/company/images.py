"""The pictures of the company world, drawn with Pillow; no file carries a time or the name of a program."""

import io
import math
from typing import Any

from mcpserver.company.made import Files, Made, generator

_RED, _BLUE, _GREY, _SAND, _DARK = (196, 62, 48), (34, 92, 150), (120, 126, 134), (232, 220, 190), (30, 36, 44)


def make_images() -> Files:
    """The eight files under ``images/``."""
    return {
        "images/logo.png": Made(
            _save(_logo(128), "PNG"), "The company's logo: a white drop on a blue disc, transparent around."
        ),
        "images/chart.png": Made(
            _save(_chart(), "PNG"), "A bar chart of the orders of five products in February, the fourth bar red."
        ),
        "images/photo.jpg": Made(_photo(), "A landscape with hills, a lake and a low sun; with EXIF camera data."),
        "images/site.jpg": Made(_save(_site(), "JPEG", quality=85), "The plant: two halls, three tanks and a road."),
        "images/animation.gif": Made(_animation(), "Four frames: a wheel with one red spoke that turns."),
        "images/scan.bmp": Made(_save(_scan(), "BMP"), "A scanned delivery note in shades of grey."),
        "images/icon.webp": Made(_save(_logo(48), "WEBP", lossless=True), "The logo as a small icon."),
        "images/plan.tiff": Made(_save(_plan(), "TIFF", dpi=(72, 72)), "The floor plan of an office with four rooms."),
    }


def _save(image: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _logo(size: int) -> Any:
    """A drop on a disc, drawn four times as large and made smaller for smooth edges."""
    from PIL import Image, ImageDraw

    n = size * 4
    image = Image.new("RGBA", (n, n), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.ellipse((n * 0.04, n * 0.04, n * 0.96, n * 0.96), fill=(*_BLUE, 255))
    draw.ellipse((n * 0.3, n * 0.42, n * 0.7, n * 0.82), fill=(255, 255, 255, 255))
    draw.polygon([(n * 0.5, n * 0.16), (n * 0.32, n * 0.54), (n * 0.68, n * 0.54)], fill=(255, 255, 255, 255))
    return image.resize((size, size), Image.Resampling.LANCZOS)


def _chart() -> Any:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (320, 240), "white")
    draw = ImageDraw.Draw(image)
    draw.line([(40, 20), (40, 200), (300, 200)], fill=_DARK, width=2)
    for n, (label, height) in enumerate(zip(("Pump", "Valve", "Meter", "Pipe", "Sensor"), (150, 95, 120, 60, 110))):
        left = 56 + n * 48
        draw.rectangle((left, 200 - height, left + 32, 199), fill=_RED if label == "Pipe" else _BLUE)
        draw.text((left, 206), label, fill=_DARK)
        draw.text((left + 6, 186 - height), str(height), fill=_DARK)
    draw.text((96, 4), "Orders in February", fill=_DARK)
    return image


def _photo() -> bytes:
    """A landscape with noise, and the EXIF tags that a camera writes."""
    from PIL import Image, ImageDraw

    rng = generator("photo.jpg")
    image = Image.new("RGB", (320, 200))
    draw = ImageDraw.Draw(image)
    for y in range(200):
        draw.line([(0, y), (319, y)], fill=(255 - y // 3, 190 - y // 3, 130 + y // 3))
    draw.ellipse((230, 52, 266, 88), fill=(255, 240, 190))
    for base, height, colour in ((105, 24, (96, 108, 120)), (122, 16, (70, 92, 80))):
        ridge = [
            (x, base - height * math.sin(x / 41 + base) - height * 0.5 * math.sin(x / 13)) for x in range(0, 321, 4)
        ]
        draw.polygon([(0, 200), *ridge, (320, 200)], fill=colour)
    draw.ellipse((40, 146, 250, 182), fill=(120, 160, 190))
    for _ in range(900):
        x, y, shade = rng.randrange(320), rng.randrange(130, 200), rng.randrange(40, 90)
        draw.point((x, y), fill=(shade, shade + 30, shade))
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Lumen", "Field Cam 2", 1  # maker, model, orientation
    exif[0x0132] = "2025:03:08 17:42:10"  # date and time
    return _save(image, "JPEG", quality=88, exif=exif)


def _site() -> Any:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (400, 300), (150, 186, 214))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 200, 400, 300), fill=(112, 132, 92))
    draw.polygon([(0, 270), (400, 236), (400, 262), (0, 298)], fill=_GREY)
    for left, width, colour in ((30, 120, _SAND), (170, 90, (206, 190, 160))):
        draw.rectangle((left, 130, left + width, 215), fill=colour)
        draw.polygon([(left - 6, 130), (left + width / 2, 100), (left + width + 6, 130)], fill=_RED)
        for x in range(left + 12, left + width - 14, 24):
            draw.rectangle((x, 150, x + 12, 168), fill=_DARK)
    for left in (280, 318, 356):
        draw.rectangle((left, 120, left + 30, 215), fill=(214, 218, 222))
        draw.ellipse((left, 112, left + 30, 128), fill=(190, 196, 202))
    return image


def _animation() -> bytes:
    from PIL import Image, ImageDraw

    frames = []
    for step in range(4):
        frame = Image.new("RGB", (64, 64), "white")
        draw = ImageDraw.Draw(frame)
        draw.ellipse((6, 6, 58, 58), outline=_DARK, width=3)
        for spoke in range(6):
            angle = spoke * math.pi / 3 + step * math.pi / 12
            end = (32 + 25 * math.cos(angle), 32 + 25 * math.sin(angle))
            draw.line([(32, 32), end], fill=_RED if spoke == 0 else _BLUE, width=3)
        frames.append(frame)
    return _save(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=120, loop=0)


def _scan() -> Any:
    from PIL import Image, ImageDraw

    rng = generator("scan.bmp")
    image = Image.new("L", (100, 80), 236)
    draw = ImageDraw.Draw(image)
    for _ in range(400):
        draw.point((rng.randrange(100), rng.randrange(80)), fill=rng.randrange(200, 255))
    for row, line in enumerate(("DELIVERY NOTE", "No. 2281", "14 March 2025", "3 x P-104")):
        draw.text((6, 6 + 17 * row), line, fill=40)
    return image


def _plan() -> Any:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (200, 150), "white")
    draw = ImageDraw.Draw(image)
    for name, box in (
        ("101", (8, 8, 90, 70)),
        ("102", (90, 8, 192, 70)),
        ("Hall", (8, 70, 130, 142)),
        ("103", (130, 70, 192, 142)),
    ):
        draw.rectangle(box, outline=_DARK, width=2)
        draw.text((box[0] + 8, box[1] + 8), name, fill=_BLUE)
    for x, y in ((60, 70), (120, 70), (130, 110)):
        draw.line([(x, y), (x + 14, y)] if x != 130 else [(x, y), (x, y + 14)], fill="white", width=3)
    return image
