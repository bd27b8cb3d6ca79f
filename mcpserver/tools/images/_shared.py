"""What the image tools share: opening with an allow-list and a limit of pixels, colours, boxes, saving, showing."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import MAX_PICTURE_BYTES, Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import encode, parsing
from toolwright.words import nearest, shorten

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

MAX_PIXELS = 16_000_000
MAX_FRAMES = 200
FORMATS = {
    **{".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".gif": "GIF", ".bmp": "BMP"},
    **{".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"},
}
READABLE = sorted(set(FORMATS.values()))

Side = Annotated[int, Ge(1), Le(4000)]
Place = Annotated[int, Ge(-4000), Le(4000)]
ColorText = Annotated[str, Len(1, 40)]
FilePath = Annotated[str, Len(1, 200)]
Share = Annotated[float, Ge(0), Le(1)]
Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right", "center"]
Rgba = tuple[int, int, int, int]


class Box(TypedDict):
    """A rectangle in pixels from the top left."""

    left: Annotated[int, Ge(0), Le(4000)]
    top: Annotated[int, Ge(0), Le(4000)]
    width: Side
    height: Side


class SavedImage(TypedDict):
    """A picture that was written."""

    path: str
    format: str
    width: int
    height: int
    bytes: int


@contextmanager
def decoding(path: str, parameter: str = "path") -> Iterator[None]:
    """Turn what Pillow raises on a broken, strange or huge picture into a ToolError.

    Raises:
        ToolError: ``limit`` for too many pixels, ``tool_error`` for the rest.
    """
    from PIL import Image, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    with parsing(parameter, path, "picture"):
        try:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise ToolError("limit", f"{parameter}: {path!r} has more than {MAX_PIXELS} pixels") from None
        except UnidentifiedImageError:
            known = ", ".join(READABLE)
            raise ToolError("tool_error", f"{parameter}: {path!r} is no picture; {known} are read") from None


def open_image(context: Context, path: str, parameter: str = "path") -> "Image":
    """Open a picture by its header: pixels are not decoded yet; metadata and frames are there.

    Raises:
        ToolError: no file, no picture of the formats allowed, or too many pixels; ``denied`` for PostScript and PDF,
            which would be handed to another program.
    """
    from PIL import Image

    content = context.files.read_bytes(path, parameter)
    if content.lstrip()[:4] in (b"%!PS", b"%PDF", b"\xc5\xd0\xd3\xc6"):
        raise ToolError("denied", f"{parameter}: {path!r} is PostScript or PDF; {', '.join(READABLE)} are read")
    with decoding(path, parameter):
        return Image.open(io.BytesIO(content), formats=READABLE)


def load_image(context: Context, path: str, parameter: str = "path") -> "Image":
    """The first frame of a picture, upright, as ``RGB`` or ``RGBA``, without metadata.

    Raises:
        ToolError: as ``open_image``, or a picture that is cut off.
    """
    from PIL import ImageOps

    image = open_image(context, path, parameter)
    with decoding(path, parameter):
        return plain(ImageOps.exif_transpose(image))


def plain(image: "Image") -> "Image":
    """A picture as ``RGBA`` when some of it can be seen through, else ``RGB``; without metadata."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        low, high = image.convert("F").getextrema()
        scale = 255 / max(float(high) - float(low), 1e-9)  # type: ignore[arg-type]
        image = image.convert("F").point(lambda value: value * scale - float(low) * scale).convert("L")  # type: ignore[arg-type]
    image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    result = Image.new(image.mode, image.size)
    result.paste(image)
    return result


def opaque(image: "Image") -> "Image":
    """An ``RGBA`` picture, as ``RGB`` when nothing of it can be seen through."""
    return (
        image.convert("RGB")
        if image.convert("RGBA").getchannel("A").histogram()[255] == image.width * image.height
        else image
    )


def image_bytes(image: "Image", file_format: str, quality: int = 90) -> bytes:
    """A picture as a file; JPEG and BMP, which cannot be seen through, get a white ground."""
    from PIL import Image

    if file_format in ("JPEG", "BMP") and image.mode == "RGBA":
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        image = ground
    buffer = io.BytesIO()
    options = {"quality": quality} if file_format in ("JPEG", "WEBP") else {}
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def save_image(
    context: Context, image: "Image", path: str, parameter: str = "save_as", quality: int = 90
) -> SavedImage:
    """Write a picture in the format that the name's ending says.

    Raises:
        ToolError: an ending that is no picture's, too many pixels, or a path that cannot be written.
    """
    file_format = format_of(path, parameter)
    check_size(image.width, image.height, parameter)
    content = image_bytes(image, file_format, quality)
    context.files.write(path, content, parameter)
    return SavedImage(path=path, format=file_format, width=image.width, height=image.height, bytes=len(content))


def format_of(path: str, parameter: str = "save_as") -> str:
    """The format that a name's ending says.

    Raises:
        ToolError: ``bad_arguments`` for other endings.
    """
    extension = PurePosixPath(path).suffix.lower()
    if extension not in FORMATS:
        raise ToolError("bad_arguments", f"{parameter}: {shorten(path, 60)} must end in one of {', '.join(FORMATS)}")
    return FORMATS[extension]


def check_size(width: int, height: int, parameter: str) -> None:
    """Refuse a result with too many pixels.

    Raises:
        ToolError: ``limit``.
    """
    if width > 4000 or height > 4000 or width < 1 or height < 1:
        raise ToolError("limit", f"{parameter}: {width}x{height} pixels; pictures have from 1x1 to 4000x4000")


def read_color(text: str, parameter: str = "color") -> Rgba:
    """A colour's name or ``#rrggbb`` (``#rrggbbaa``) as red, green, blue, alpha.

    Raises:
        ToolError: ``bad_arguments`` with the nearest names.
    """
    from PIL import ImageColor

    try:
        value = ImageColor.getrgb(text.strip())
    except (ValueError, OverflowError):
        hint = nearest(text, list(ImageColor.colormap)) or "; give a name such as navy, or #rrggbb"
        raise ToolError("bad_arguments", f"{parameter}: {shorten(text, 40)} is no colour{hint}") from None
    if not all(0 <= part <= 255 for part in value):
        raise ToolError("bad_arguments", f"{parameter}: the parts of {shorten(text, 40)} must lie between 0 and 255")
    return (*value[:3], value[3] if len(value) == 4 else 255)


def hex_color(color: "tuple[int, ...]") -> str:
    """A colour as ``#rrggbb``, with alpha when it is not opaque."""
    parts = color[:3] if len(color) == 3 or color[3] == 255 else color[:4]
    return "#" + "".join(f"{part:02x}" for part in parts)


def corners(box: Box, image: "Image", parameter: str = "box") -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a box.

    Raises:
        ToolError: ``bad_arguments`` when it leaves the picture.
    """
    right, bottom = box["left"] + box["width"], box["top"] + box["height"]
    if right > image.width or bottom > image.height:
        raise ToolError(
            "bad_arguments", f"{parameter}: ends at {right},{bottom}, but the picture is {image.width}x{image.height}"
        )
    return box["left"], box["top"], right, bottom


def show_image(context: Context, image: "Image", max_side: int) -> None:
    """Show a picture, scaled down to ``max_side`` pixels."""
    shown = image.copy()
    shown.thumbnail((max_side, max_side))
    content = image_bytes(shown, "PNG")
    if len(content) <= MAX_PICTURE_BYTES:
        context.show(content)
    else:
        context.show(image_bytes(shown, "JPEG", 80), "image/jpeg")


def read_words(text: str, parameter: str = "text") -> str:
    """A text that can be drawn: control characters but line ends become spaces.

    Raises:
        ToolError: ``bad_arguments`` when half a character is in it.
    """
    encode(text, parameter)
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)


def font(size: int) -> "FreeTypeFont | ImageFont":
    """The one font that Pillow brings along: the same pixels on every machine."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def corner_place(corner: Corner, outer: tuple[int, int], inner: tuple[int, int], margin: int) -> tuple[int, int]:
    """Where a box of size ``inner`` goes in one of size ``outer``."""
    right, bottom = outer[0] - inner[0] - margin, outer[1] - inner[1] - margin
    places = {
        **{"top_left": (margin, margin), "top_right": (right, margin), "bottom_left": (margin, bottom)},
        **{"bottom_right": (right, bottom), "center": ((outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2)},
    }
    return places[corner]
