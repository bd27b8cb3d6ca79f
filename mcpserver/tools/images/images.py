"""Looking at pictures: what they are, what they show, their colours, and where two differ."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import parsing
from mcpserver.tools.images._shared import (
    FORMATS,
    MAX_FRAMES,
    Box,
    FilePath,
    corners,
    decoding,
    hex_color,
    load_image,
    open_image,
    save_image,
    show_image,
)
from toolwright.words import cut

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_LISTED = 100
MAX_SEARCHED = 1_000_000


class ImageInfo(TypedDict):
    """What a picture is."""

    path: str
    format: str
    width: int
    height: int
    mode: str
    frames: int
    transparent: bool
    bytes: int
    dpi: NotRequired[list[float]]


class Point(TypedDict):
    """A pixel, counted from the top left."""

    x: Annotated[int, Ge(0), Le(4000)]
    y: Annotated[int, Ge(0), Le(4000)]


def image_info(context: Context, path: FilePath) -> ImageInfo:
    """Say format, size, colour mode and frames of a picture.

    Args:
        path: picture file

    Example:
        {"path": "images/logo.png"}
        {"path": "images/animation.gif"}
    """
    image = open_image(context, path)
    with decoding(path):
        frames = int(getattr(image, "n_frames", 1))
        image.load()
        dpi = [round(float(part), 1) for part in image.info.get("dpi", ())]
    info = ImageInfo(
        path=path,
        format=str(image.format),
        width=image.width,
        height=image.height,
        mode=image.mode,
        frames=frames,
        transparent=image.has_transparency_data,
        bytes=context.files.existing_file(path).stat().st_size,
    )
    if len(dpi) == 2 and all(0 < part < 1e6 for part in dpi):
        info["dpi"] = dpi
    return info


def image_list(context: Context, folder: Annotated[str, Len(0, 200)] = "images") -> dict[str, Any]:
    """List the pictures in a folder with their sizes.

    Args:
        folder: folder name

    Example:
        {"folder": "images"}
    """
    files = context.files
    top = files.existing_folder(folder)
    found = [path for path in files.plain_files() if path.is_relative_to(top) and path.suffix.lower() in FORMATS]
    listed = []
    for path in found[:MAX_LISTED]:
        name = files.name(path)
        try:
            image = open_image(context, name)
            listed.append({"path": name, "format": image.format, "width": image.width, "height": image.height})
        except ToolError as error:
            listed.append({"path": name, "problem": cut(error.message, 80)})
    return {"images": listed, "total": len(found)}


def image_view(context: Context, path: FilePath, max_side: Annotated[int, Ge(16), Le(1024)] = 512) -> dict[str, Any]:
    """Look at a picture.

    Args:
        path: picture file
        max_side: longer side of what is shown, in pixels

    Example:
        {"path": "images/chart.png"}
        {"path": "images/photo.jpg", "max_side": 128}
    """
    image = load_image(context, path)
    show_image(context, image, max_side)
    kind = "upright" if image.height > image.width else "wide" if image.width > image.height else "square"
    see_through = ", partly transparent" if image.mode == "RGBA" else ""
    main = hex_color(_dominant(image, 1)[0][1])
    text = f"A {kind} picture of {image.width}x{image.height} pixels{see_through}, mostly {main}."
    return {"path": path, "description": text, "width": image.width, "height": image.height}


def image_histogram(
    context: Context,
    path: FilePath,
    channel: Literal["brightness", "red", "green", "blue"] = "brightness",
    bins: Literal[4, 8, 16, 32, 64] = 16,
) -> dict[str, Any]:
    """Count the pixels of a picture by brightness or by one colour.

    Args:
        path: picture file
        channel: what is measured, from 0 to 255
        bins: number of equal ranges

    Example:
        {"path": "images/photo.jpg", "channel": "red", "bins": 8}
    """
    image = load_image(context, path).convert("RGB")
    band = image.convert("L") if channel == "brightness" else image.getchannel(channel[0].upper())
    counts = band.histogram()
    step = 256 // bins
    total = sum(counts)
    mean = sum(value * count for value, count in enumerate(counts)) / total
    seen = [value for value, count in enumerate(counts) if count]
    sums = [sum(counts[start : start + step]) for start in range(0, 256, step)]
    return {"counts": sums, "range": step, "mean": round(mean, 2), "min": seen[0], "max": seen[-1], "pixels": total}


def image_dominant_colors(context: Context, path: FilePath, count: Annotated[int, Ge(1), Le(16)] = 5) -> dict[str, Any]:
    """Find the main colours of a picture and their shares.

    Args:
        path: picture file
        count: number of colours

    Example:
        {"path": "images/logo.png", "count": 3}
    """
    found = _dominant(load_image(context, path), count)
    total = sum(pixels for pixels, _ in found)
    return {"colors": [{"color": hex_color(color), "share": round(pixels / total, 4)} for pixels, color in found]}


def image_average_color(context: Context, path: FilePath, box: Box | None = None) -> dict[str, Any]:
    """Work out the average colour of a picture or of a box in it.

    Args:
        path: picture file
        box: region in pixels, left out for all

    Example:
        {"path": "images/photo.jpg", "box": {"left": 10, "top": 20, "width": 50, "height": 40}}
    """
    image = load_image(context, path).convert("RGB")
    if box is not None:
        image = image.crop(corners(box, image))
    mean = [sum(value * count for value, count in enumerate(band.histogram())) for band in image.split()]
    red, green, blue = (round(part / (image.width * image.height)) for part in mean)
    return {"color": hex_color((red, green, blue)), "red": red, "green": green, "blue": blue}


def image_pixels(context: Context, path: FilePath, points: Annotated[list[Point], Len(1, 100)]) -> dict[str, Any]:
    """Read the colours of single pixels.

    Args:
        path: picture file
        points: pixels, counted from 0 at the top left

    Example:
        {"path": "images/logo.png", "points": [{"x": 0, "y": 0}, {"x": 64, "y": 64}]}
    """
    image = load_image(context, path)
    pixels = []
    for number, point in enumerate(points):
        if point["x"] >= image.width or point["y"] >= image.height:
            size = f"{image.width}x{image.height}"
            raise ToolError("bad_arguments", f"points[{number}]: {point['x']},{point['y']} is outside of {size}")
        color = image.getpixel((point["x"], point["y"]))
        pixels.append({"x": point["x"], "y": point["y"], "color": hex_color(color)})  # type: ignore[arg-type]
    return {"pixels": pixels}


def image_compare(
    context: Context,
    first: FilePath,
    second: FilePath,
    tolerance: Annotated[int, Ge(0), Le(255)] = 0,
    save_as: FilePath | None = None,
) -> dict[str, Any]:
    """Compare two pictures of one size pixel by pixel.

    Args:
        first: picture file
        second: picture file
        tolerance: difference per channel, 0 to 255, that does not count
        save_as: write the differing pixels in white to this file

    Example:
        {"first": "images/logo.png", "second": "images/logo.png"}
        {"first": "images/chart.png", "second": "images/chart.png", "tolerance": 8, "save_as": "images/changed.png"}
    """
    from PIL import ImageChops

    a, b = load_image(context, first, "first"), load_image(context, second, "second")
    if a.size != b.size:
        return {"same": False, "first_size": list(a.size), "second_size": list(b.size), "reason": "the sizes differ"}
    bands = ImageChops.difference(a.convert("RGBA"), b.convert("RGBA")).split()
    largest = bands[0]
    for band in bands[1:]:
        largest = ImageChops.lighter(largest, band)
    mask = largest.point([255 if value > tolerance else 0 for value in range(256)])
    changed = mask.histogram()[255]
    result: dict[str, Any] = {"same": changed == 0, "changed_pixels": changed}
    result["changed_share"] = round(changed / (a.width * a.height), 6)
    if where := mask.getbbox():
        left, top, right, bottom = where
        result["box"] = Box(left=left, top=top, width=right - left, height=bottom - top)
    if save_as is not None:
        result["saved"] = save_image(context, mask.convert("RGB"), save_as)
    return result


def image_find(
    context: Context, path: FilePath, template: FilePath, min_score: Annotated[float, Ge(0.5), Le(1)] = 0.95
) -> dict[str, Any]:
    """Find where a small picture occurs in a larger one.

    Args:
        path: picture that is searched
        template: small picture that is looked for
        min_score: how like it must be, 1 is equal

    Example:
        {"path": "images/logo.png", "template": "images/logo.png"}
    """
    import numpy as np

    image, part = load_image(context, path).convert("L"), load_image(context, template, "template").convert("L")
    if part.width > image.width or part.height > image.height:
        raise ToolError("bad_arguments", f"template: {part.size} is larger than the picture {image.size}")
    if image.width * image.height > MAX_SEARCHED:
        raise ToolError("limit", f"path: at most {MAX_SEARCHED} pixels are searched; make the picture smaller first")
    scores = _scores(np.asarray(image, dtype=float), np.asarray(part, dtype=float))
    top, left = np.unravel_index(int(scores.argmax()), scores.shape)
    best = round(float(scores[top, left]), 4)
    result: dict[str, Any] = {"found": best >= min_score, "score": best}
    if result["found"]:
        result["box"] = Box(left=int(left), top=int(top), width=part.width, height=part.height)
    return result


def image_metadata(context: Context, path: FilePath) -> dict[str, Any]:
    """Read the EXIF data and comments of a picture.

    Args:
        path: picture file

    Example:
        {"path": "images/photo.jpg"}
    """
    from PIL import ExifTags

    image = open_image(context, path)
    with parsing("path", path, "picture"):
        exif = image.getexif()
        tags = {ExifTags.TAGS.get(tag, str(tag)): _readable(value) for tag, value in exif.items()}
        gps = {ExifTags.GPSTAGS.get(tag, str(tag)): _readable(value) for tag, value in exif.get_ifd(0x8825).items()}
        texts = {str(key): _readable(value) for key, value in image.info.items() if isinstance(value, str | bytes)}
    texts = {key: value for key, value in texts.items() if key not in ("exif", "icc_profile", "xmp", "version")}
    first = {name: dict(list(found.items())[:60]) for name, found in (("exif", tags), ("gps", gps), ("text", texts))}
    return {**first, "has_icc_profile": "icc_profile" in image.info}


def image_frames(context: Context, path: FilePath) -> dict[str, Any]:
    """List the frames of an animation with their times.

    Args:
        path: GIF, WebP or TIFF file

    Example:
        {"path": "images/animation.gif"}
    """
    image = open_image(context, path)
    durations = []
    with decoding(path):
        total = int(getattr(image, "n_frames", 1))
        for number in range(min(total, MAX_FRAMES)):
            image.seek(number)
            image.load()
            durations.append(round(float(image.info.get("duration", 0))))
    return {"frames": total, "durations_ms": durations, "total_ms": sum(durations), "format": image.format}


def _dominant(image: "Image", count: int) -> list[tuple[int, tuple[int, ...]]]:
    """Pixels and colour of the main colours, most first; of a smaller copy, which has the same shares."""
    from PIL.Image import Resampling

    small = image.convert("RGB")
    small.thumbnail((256, 256), Resampling.NEAREST)
    table = small.quantize(count)
    palette = table.getpalette() or []
    found = table.getcolors() or []
    colors = [(pixels, tuple(palette[3 * int(index) : 3 * int(index) + 3])) for pixels, index in found]  # type: ignore[arg-type]
    return sorted(colors, key=lambda item: (-item[0], item[1]))


def _scores(image: Any, part: Any) -> Any:
    """1 minus the root mean square difference (of 255) for each place, by convolution with the Fourier transform."""
    import numpy as np

    height, width = image.shape[0] - part.shape[0] + 1, image.shape[1] - part.shape[1] + 1

    def slide(values: Any, weights: Any) -> Any:
        spectrum = np.fft.rfft2(values) * np.conj(np.fft.rfft2(weights, values.shape))
        return np.fft.irfft2(spectrum, values.shape)[:height, :width]

    squares = slide(image**2, np.ones_like(part)) - 2 * slide(image, part) + (part**2).sum()
    return 1 - np.sqrt(np.maximum(squares, 0) / part.size) / 255


def _readable(value: object) -> str | int | float:
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace") if len(value) < 200 else f"{len(value)} bytes"
    return cut("".join(letter if letter.isprintable() else " " for letter in str(value)), 200)
