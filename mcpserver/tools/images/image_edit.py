"""Changing pictures: format, size, region, orientation. Each writes a new file; of animations frame one counts."""

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import beside
from mcpserver.tools.images._shared import (
    Box,
    ColorText,
    FilePath,
    SavedImage,
    check_size,
    corners,
    format_of,
    image_bytes,
    load_image,
    open_image,
    read_color,
    save_image,
)

if TYPE_CHECKING:
    pass


def image_convert(
    context: Context,
    path: FilePath,
    format: Literal["png", "jpeg", "gif", "bmp", "webp", "tiff"],  # noqa: A002 - the word that models expect
    quality: Annotated[int, Ge(1), Le(100)] = 90,
    save_as: FilePath | None = None,
) -> SavedImage:
    """Convert a picture to another format.

    Args:
        path: picture file
        format: format to write
        quality: of JPEG and WebP, 1 to 100
        save_as: file to write, default the same name with the new ending

    Example:
        {"path": "images/logo.png", "format": "jpeg"}
        {"path": "images/scan.bmp", "format": "png", "save_as": "images/scan-copy.png"}
    """
    target = save_as or str(PurePosixPath(path).with_suffix(f".{format}") if PurePosixPath(path).name else path)
    image = load_image(context, path)
    if format_of(target) != format.upper():
        raise ToolError("bad_arguments", f"save_as: {target!r} must end in .{format}")
    return save_image(context, image, target, quality=quality)


def image_resize(
    context: Context,
    path: FilePath,
    width: Annotated[int, Ge(1)],
    height: Annotated[int, Ge(1)],
    mode: Literal["stretch", "fit", "fill", "pad"] = "stretch",
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "lanczos",
    save_as: FilePath | None = None,
) -> SavedImage:
    """Resize a picture.

    Args:
        path: picture file
        width: new width in pixels, at most 4000
        height: new height in pixels, at most 4000
        mode: stretch to the size, fit within it, fill it and cut, or pad with white
        resample: how pixels are mixed
        save_as: file to write, default the name with -resized

    Example:
        {"path": "images/photo.jpg", "width": 160, "height": 100}
        {"path": "images/logo.png", "width": 200, "height": 50, "mode": "fit", "resample": "bicubic"}
    """
    from PIL import Image, ImageOps

    check_size(width, height, "width and height")
    image = load_image(context, path)
    method = Image.Resampling[resample.upper()]
    if mode == "stretch":
        resized = image.resize((width, height), method)
    elif mode == "fit":
        resized = ImageOps.contain(image, (width, height), method)
    elif mode == "fill":
        resized = ImageOps.fit(image, (width, height), method)
    else:
        resized = ImageOps.pad(image, (width, height), method, color="white")
    return save_image(context, resized, save_as or beside(path, "-resized"))


def image_thumbnail(
    context: Context,
    path: FilePath,
    size: Annotated[int, Ge(8), Le(512)] = 128,
    shape: Literal["keep", "square"] = "keep",
    save_as: FilePath | None = None,
) -> SavedImage:
    """Make a small preview of a picture; it never grows.

    Args:
        path: picture file
        size: longest side in pixels
        shape: keep the proportions, or cut a square from the middle
        save_as: file to write, default the name with -thumbnail

    Example:
        {"path": "images/site.jpg", "size": 64, "shape": "square"}
    """
    from PIL import ImageOps

    image = load_image(context, path)
    if shape == "square":
        side = min(image.size)
        image = ImageOps.fit(image, (side, side))
    image.thumbnail((size, size))
    return save_image(context, image, save_as or beside(path, "-thumbnail"))


def image_crop(context: Context, path: FilePath, box: Box, save_as: FilePath | None = None) -> SavedImage:
    """Cut a rectangle out of a picture.

    Args:
        path: picture file
        box: rectangle to keep, in pixels from the top left
        save_as: file to write, default the name with -crop

    Example:
        {"path": "images/photo.jpg", "box": {"left": 20, "top": 10, "width": 100, "height": 80}}
    """
    image = load_image(context, path)
    return save_image(context, image.crop(corners(box, image)), save_as or beside(path, "-crop"))


def image_trim(
    context: Context, path: FilePath, tolerance: Annotated[int, Ge(0), Le(255)] = 8, save_as: FilePath | None = None
) -> dict[str, Any]:
    """Cut off the borders that have the colour of the top left pixel.

    Args:
        path: picture file
        tolerance: difference per channel, 0 to 255, that still counts as border
        save_as: file to write, default the name with -trimmed

    Example:
        {"path": "images/chart.png"}
    """
    from PIL import Image, ImageChops

    image = load_image(context, path)
    ground = Image.new(image.mode, image.size, image.getpixel((0, 0)))
    difference = ImageChops.difference(image, ground).point(
        [0 if v <= tolerance else 255 for v in range(256)] * len(image.getbands())
    )
    where = difference.getbbox(alpha_only=False)
    if where is None:
        raise ToolError("tool_error", f"path: {path!r} is of one colour; nothing would remain")
    saved = save_image(context, image.crop(where), save_as or beside(path, "-trimmed"))
    box = Box(left=where[0], top=where[1], width=where[2] - where[0], height=where[3] - where[1])
    return {**saved, "kept": box}


def image_rotate(
    context: Context,
    path: FilePath,
    degrees: Annotated[float, Ge(-360), Le(360)],
    expand: bool = True,
    fill: ColorText = "white",
    save_as: FilePath | None = None,
) -> SavedImage:
    """Turn a picture clockwise.

    Args:
        path: picture file
        degrees: angle, clockwise
        expand: grow the picture so that nothing is cut off
        fill: colour of the corners that come free
        save_as: file to write, default the name with -rotated

    Example:
        {"path": "images/photo.jpg", "degrees": 90}
        {"path": "images/logo.png", "degrees": 12.5, "expand": false, "fill": "#00000000"}
    """
    from PIL import Image

    image, color = load_image(context, path), read_color(fill, "fill")
    if expand and degrees % 90:
        check_size(image.width + image.height, image.width + image.height, "expand")
    ground = color if image.mode == "RGBA" else color[:3]
    turned = image.rotate(-degrees, Image.Resampling.BICUBIC, expand=expand, fillcolor=ground)
    return save_image(context, turned, save_as or beside(path, "-rotated"))


def image_flip(
    context: Context,
    path: FilePath,
    direction: Literal["horizontal", "vertical", "both"],
    save_as: FilePath | None = None,
) -> SavedImage:
    """Mirror a picture.

    Args:
        path: picture file
        direction: horizontal swaps left and right
        save_as: file to write, default the name with -flipped

    Example:
        {"path": "images/photo.jpg", "direction": "horizontal"}
    """
    from PIL import ImageOps

    image = load_image(context, path)
    if direction != "vertical":
        image = ImageOps.mirror(image)
    if direction != "horizontal":
        image = ImageOps.flip(image)
    return save_image(context, image, save_as or beside(path, "-flipped"))


def image_strip_metadata(context: Context, path: FilePath, save_as: FilePath | None = None) -> dict[str, Any]:
    """Remove EXIF data, comments and colour profiles from a picture.

    Args:
        path: picture file
        save_as: file to write, default the picture itself

    Example:
        {"path": "images/photo.jpg"}
    """
    raw = open_image(context, path)
    removed = sorted(
        str(name) for name, value in raw.info.items() if isinstance(value, str | bytes) and name != "version"
    )
    image, target = load_image(context, path), save_as or path
    content = image_bytes(image, format_of(target), 95)
    context.files.write(target, content, "save_as")
    return {"path": target, "removed": removed[:50], "bytes": len(content)}
