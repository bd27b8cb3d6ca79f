"""Changing the colours of pictures, and covering parts of them. Each writes a new file."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

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
    load_image,
    read_color,
    save_image,
)

if TYPE_CHECKING:
    from PIL.Image import Image

Factor = Annotated[float, Ge(0), Le(4)]


class Adjustments(TypedDict):
    """Factors; 1 leaves as it is, 0 takes all away."""

    brightness: NotRequired[Factor]
    contrast: NotRequired[Factor]
    saturation: NotRequired[Factor]
    sharpness: NotRequired[Factor]


def image_adjust(
    context: Context, path: FilePath, adjustments: Adjustments, save_as: FilePath | None = None
) -> SavedImage:
    """Change brightness, contrast, saturation and sharpness of a picture.

    Args:
        path: picture file
        adjustments: factors from 0 to 4, 1 is unchanged
        save_as: file to write, default the name with -adjusted

    Example:
        {"path": "images/photo.jpg", "adjustments": {"brightness": 1.2, "contrast": 0.9}}
    """
    from PIL import ImageEnhance

    image = load_image(context, path)
    kinds = {
        **{"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast},
        **{"saturation": ImageEnhance.Color, "sharpness": ImageEnhance.Sharpness},
    }
    if not adjustments:
        raise ToolError("bad_arguments", f"adjustments: give at least one of {', '.join(kinds)}")
    for name, enhancer in kinds.items():
        if name in adjustments:
            image = enhancer(image).enhance(adjustments[name])  # type: ignore[literal-required]
    return save_image(context, image, save_as or beside(path, "-adjusted"))


def image_filter(
    context: Context,
    path: FilePath,
    effect: Literal["blur", "median", "sharpen", "edges", "emboss", "contour", "posterize", "invert", "sepia"],
    radius: Annotated[int, Ge(1), Le(20)] = 2,
    save_as: FilePath | None = None,
) -> SavedImage:
    """Blur, sharpen or otherwise filter a picture.

    Args:
        path: picture file
        effect: what to do
        radius: pixels, of blur, median and sharpen
        save_as: file to write, default the name with the effect

    Example:
        {"path": "images/photo.jpg", "effect": "blur", "radius": 3}
        {"path": "images/chart.png", "effect": "edges"}
    """
    image = load_image(context, path)
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    result = _filtered(image.convert("RGB"), effect, radius)
    if alpha is not None:
        result.putalpha(alpha)
    return save_image(context, result, save_as or beside(path, f"-{effect}"))


def image_grayscale(context: Context, path: FilePath, save_as: FilePath | None = None) -> SavedImage:
    """Take the colours out of a picture.

    Args:
        path: picture file
        save_as: file to write, default the name with -gray

    Example:
        {"path": "images/photo.jpg"}
    """
    image = load_image(context, path)
    gray = image.convert("LA" if image.mode == "RGBA" else "L").convert(image.mode)
    return save_image(context, gray, save_as or beside(path, "-gray"))


def image_threshold(
    context: Context,
    path: FilePath,
    level: Annotated[int, Ge(1), Le(255)] | Literal["auto"] = "auto",
    save_as: FilePath | None = None,
) -> dict[str, Any]:
    """Turn a picture into black and white.

    Args:
        path: picture file
        level: brightness from which a pixel is white, or auto (Otsu)
        save_as: file to write, default the name with -bw

    Example:
        {"path": "images/scan.bmp", "level": 128}
        {"path": "images/plan.tiff", "level": "auto"}
    """
    gray = load_image(context, path).convert("RGB").convert("L")
    used = _otsu(gray.histogram()) if level == "auto" else level
    result = gray.point([255 if value >= used else 0 for value in range(256)])
    white = result.histogram()[255] / (gray.width * gray.height)
    saved = save_image(context, result.convert("RGB"), save_as or beside(path, "-bw"))
    return {**saved, "level": used, "white_share": round(white, 4)}


def image_replace_color(
    context: Context,
    path: FilePath,
    old: ColorText,
    new: ColorText,
    tolerance: Annotated[int, Ge(0), Le(255)] = 16,
    save_as: FilePath | None = None,
) -> dict[str, Any]:
    """Replace one colour of a picture by another, or by transparency.

    Args:
        path: picture file
        old: colour to replace
        new: colour to put there; #00000000 is transparent
        tolerance: difference per channel that still counts as the old colour
        save_as: file to write, default the name with -recolored

    Example:
        {"path": "images/chart.png", "old": "white", "new": "#f0f0ff"}
    """
    from PIL import Image, ImageChops

    image = load_image(context, path).convert("RGBA")
    bands = zip(image.split()[:3], read_color(old, "old"))
    masks = [band.point([255 if abs(value - part) <= tolerance else 0 for value in range(256)]) for band, part in bands]
    mask = ImageChops.darker(ImageChops.darker(masks[0], masks[1]), masks[2])
    image.paste(Image.new("RGBA", image.size, read_color(new, "new")), mask=mask)
    if image.getchannel("A").getextrema()[0] == 255:
        image = image.convert("RGB")
    return {
        **save_image(context, image, save_as or beside(path, "-recolored")),
        "replaced_pixels": mask.histogram()[255],
    }


def image_border(
    context: Context,
    path: FilePath,
    width: Annotated[int, Ge(1), Le(500)],
    color: ColorText = "black",
    save_as: FilePath | None = None,
) -> SavedImage:
    """Put a frame of one colour around a picture.

    Args:
        path: picture file
        width: of the frame in pixels
        color: name or #rrggbb
        save_as: file to write, default the name with -framed

    Example:
        {"path": "images/photo.jpg", "width": 10, "color": "navy"}
    """
    from PIL import ImageOps

    image = load_image(context, path)
    check_size(image.width + 2 * width, image.height + 2 * width, "width")
    rgba = read_color(color)
    framed = ImageOps.expand(image, width, rgba if image.mode == "RGBA" else rgba[:3])
    return save_image(context, framed, save_as or beside(path, "-framed"))


def image_redact(
    context: Context,
    path: FilePath,
    boxes: Annotated[list[Box], Len(1, 50)],
    style: Literal["black", "blur", "pixelate"] = "black",
    save_as: FilePath | None = None,
) -> SavedImage:
    """Make regions of a picture unreadable.

    Args:
        path: picture file
        boxes: regions in pixels
        style: black bars, blur or large pixels
        save_as: file to write, default the name with -redacted

    Example:
        {"path": "images/scan.bmp", "boxes": [{"left": 5, "top": 5, "width": 40, "height": 12}], "style": "pixelate"}
    """
    from PIL import Image, ImageFilter

    image = load_image(context, path)
    for number, box in enumerate(boxes):
        place = corners(box, image, f"boxes[{number}]")
        part = image.crop(place)
        if style == "black":
            part = Image.new("RGB", part.size, "black")
        elif style == "blur":
            part = part.filter(ImageFilter.GaussianBlur(max(4, min(part.size) / 4)))
        else:
            coarse = max(1, part.width // 12), max(1, part.height // 12)
            part = part.resize(coarse, Image.Resampling.BOX).resize(part.size, Image.Resampling.NEAREST)
        image.paste(part, place)
    return save_image(context, image, save_as or beside(path, "-redacted"))


def _filtered(image: "Image", effect: str, radius: int) -> "Image":
    from PIL import ImageFilter, ImageOps

    if effect == "blur":
        return image.filter(ImageFilter.GaussianBlur(radius))
    if effect == "median":
        return image.filter(ImageFilter.MedianFilter(2 * min(radius, 4) + 1))
    if effect == "sharpen":
        return image.filter(ImageFilter.UnsharpMask(radius))
    if effect == "posterize":
        return ImageOps.posterize(image, 2)
    if effect == "invert":
        return ImageOps.invert(image)
    if effect == "sepia":
        gray = image.convert("L")
        return ImageOps.colorize(gray, black="#1e1408", white="#fff0d2", mid="#a0825a")
    kernels = {"edges": ImageFilter.FIND_EDGES, "emboss": ImageFilter.EMBOSS, "contour": ImageFilter.CONTOUR}
    return image.filter(kernels[effect])


def _otsu(counts: list[int]) -> int:
    """The level that parts dark and bright pixels best: the largest variance between the two classes."""
    total, weighted = sum(counts), sum(value * count for value, count in enumerate(counts))
    best, level, dark, dark_sum = -1.0, 128, 0, 0
    for value, count in enumerate(counts[:-1]):
        dark, dark_sum = dark + count, dark_sum + value * count
        bright = total - dark
        if dark and bright:
            gap = dark_sum / dark - (weighted - dark_sum) / bright
            spread = dark * bright * gap * gap
            if spread > best:
                best, level = spread, value + 1
    return level
