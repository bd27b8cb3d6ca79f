"""Making pictures: blank ones, shapes, captions and watermarks."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le, Len
from typing_extensions import TypedDict

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import beside
from mcpserver.tools.images._shared import (
    ColorText,
    Corner,
    FilePath,
    Place,
    SavedImage,
    Share,
    Side,
    corner_place,
    font,
    format_of,
    load_image,
    opaque,
    read_color,
    read_words,
    save_image,
)

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Words = Annotated[str, Len(1, 500)]
FontSize = Annotated[int, Ge(6), Le(200)]


class Gradient(TypedDict):
    """A change from one colour to another."""

    start: ColorText
    end: ColorText
    direction: NotRequired[Literal["down", "right", "radial"]]


class Rectangle(TypedDict):
    """A rectangle from one corner to the other."""

    kind: Literal["rectangle"]
    left: Place
    top: Place
    width: Side
    height: Side
    fill: NotRequired[ColorText]
    outline: NotRequired[ColorText]
    line_width: NotRequired[Annotated[int, Ge(1), Le(100)]]
    corner_radius: NotRequired[Annotated[int, Ge(0), Le(1000)]]


class Ellipse(TypedDict):
    """An ellipse; equal radii make a circle."""

    kind: Literal["ellipse"]
    center: Annotated[list[Place], Len(2, 2)]
    radius_x: Side
    radius_y: Side
    fill: NotRequired[ColorText]
    outline: NotRequired[ColorText]
    line_width: NotRequired[Annotated[int, Ge(1), Le(100)]]


class Line(TypedDict):
    """A line through points [x, y]."""

    kind: Literal["line"]
    points: Annotated[list[Annotated[list[Place], Len(2, 2)]], Len(2, 100)]
    color: ColorText
    line_width: NotRequired[Annotated[int, Ge(1), Le(100)]]


class Polygon(TypedDict):
    """A closed shape with corners [x, y]."""

    kind: Literal["polygon"]
    points: Annotated[list[Annotated[list[Place], Len(2, 2)]], Len(3, 100)]
    fill: NotRequired[ColorText]
    outline: NotRequired[ColorText]


class Label(TypedDict):
    """Text with its top left corner at a place."""

    kind: Literal["text"]
    text: Words
    left: Place
    top: Place
    color: ColorText
    size: NotRequired[FontSize]


Shape = Rectangle | Ellipse | Line | Polygon | Label


def image_create(
    context: Context, save_as: FilePath, width: Side, height: Side, fill: ColorText | Gradient = "white"
) -> SavedImage:
    """Create a picture of one colour or with a gradient.

    Args:
        save_as: file to write
        width: in pixels
        height: in pixels
        fill: a colour, or a gradient object

    Example:
        {"save_as": "images/blank.png", "width": 200, "height": 100, "fill": "#eeeeff"}
        {"save_as": "images/sky.png", "width": 120, "height": 80, "fill": {"start": "navy", "end": "skyblue"}}
    """
    from PIL import Image

    format_of(save_as)
    if isinstance(fill, str):
        image = opaque(Image.new("RGBA", (width, height), read_color(fill, "fill")))
    else:
        image = _gradient(width, height, fill)
    return save_image(context, image, save_as)


def image_draw(
    context: Context,
    path: FilePath,
    shapes: Annotated[list[Shape], Len(1, 200)],
    save_as: FilePath | None = None,
) -> SavedImage:
    """Draw rectangles, ellipses, lines, polygons and text on a picture, in the order given.

    Args:
        path: picture file
        shapes: what to draw, in pixels from the top left
        save_as: file to write, default the name with -drawn

    Example:
        {"path": "images/chart.png", "shapes": [{"kind": "rectangle", "left": 10, "top": 10, "width": 60, "height": 30,
         "outline": "red"}, {"kind": "text", "text": "Peak", "left": 14, "top": 14, "color": "black"}]}
        {"path": "images/plan.tiff", "save_as": "images/marked.png", "shapes":
         [{"kind": "ellipse", "center": [50, 50], "radius_x": 20, "radius_y": 10, "fill": "#ffcc00"}]}
    """
    from PIL import Image, ImageDraw

    image = load_image(context, path)
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    for number, shape in enumerate(shapes):
        layer.paste((0, 0, 0, 0), (0, 0, *layer.size))
        _draw_shape(ImageDraw.Draw(layer), shape, f"shapes[{number}]")
        image = Image.alpha_composite(image.convert("RGBA"), layer).convert(image.mode)
    return save_image(context, image, save_as or beside(path, "-drawn"))


def image_add_text(
    context: Context,
    path: FilePath,
    text: Words,
    corner: Corner = "bottom_left",
    size: FontSize = 20,
    color: ColorText = "black",
    background: ColorText | None = None,
    save_as: FilePath | None = None,
) -> SavedImage:
    """Write a caption onto a picture.

    Args:
        path: picture file
        text: words, line ends allowed
        corner: where it goes
        size: height of the letters in pixels
        color: of the letters
        background: colour of a box behind them
        save_as: file to write, default the name with -text

    Example:
        {"path": "images/site.jpg", "text": "Site north, March", "size": 18, "color": "white", "background": "black"}
    """
    from PIL import Image, ImageDraw

    image = load_image(context, path)
    words = read_words(text)
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    area = _text_area(draw, words, size)
    x, y = corner_place(corner, image.size, area, 8)
    if background is not None:
        draw.rectangle((x - 4, y - 4, x + area[0] + 4, y + area[1] + 4), fill=read_color(background, "background"))
    _write_words(draw, (x, y), words, size, read_color(color))
    result = Image.alpha_composite(image.convert("RGBA"), layer).convert(image.mode)
    return save_image(context, result, save_as or beside(path, "-text"))


def image_watermark(
    context: Context,
    path: FilePath,
    text: Annotated[str, Len(1, 60)],
    opacity: Share = 0.3,
    layout: Literal["tiled", "center"] = "tiled",
    save_as: FilePath | None = None,
) -> SavedImage:
    """Put a half transparent, slanted text over a picture.

    Args:
        path: picture file
        text: words of the watermark
        opacity: 0 invisible to 1 solid
        layout: once in the middle, or all over
        save_as: file to write, default the name with -watermark

    Example:
        {"path": "images/photo.jpg", "text": "DRAFT", "opacity": 0.4, "layout": "center"}
    """
    from PIL import Image, ImageDraw

    image = load_image(context, path)
    words = read_words(text).replace("\n", " ")
    size = max(10, min(200, min(image.size) // 8))
    width, height = _text_area(ImageDraw.Draw(image), words, size)
    stamp = Image.new("RGBA", (min(width + 8, 4000), height + 8), (0, 0, 0, 0))
    _write_words(ImageDraw.Draw(stamp), (4, 4), words, size, (128, 128, 128, round(255 * opacity)))
    stamp = stamp.rotate(30, Image.Resampling.BICUBIC, expand=True)
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    if layout == "center":
        layer.paste(stamp, ((image.width - stamp.width) // 2, (image.height - stamp.height) // 2))
    else:
        for top in range(0, image.height, stamp.height + 10):
            for left in range(0, image.width, stamp.width + 10):
                layer.paste(stamp, (left, top))
    result = Image.alpha_composite(image.convert("RGBA"), layer).convert(image.mode)
    return save_image(context, result, save_as or beside(path, "-watermark"))


def _gradient(width: int, height: int, fill: Gradient) -> "Image":
    from PIL import Image

    direction = fill.get("direction", "down")
    share = Image.radial_gradient("L") if direction == "radial" else Image.linear_gradient("L")
    if direction == "right":
        share = share.transpose(Image.Transpose.ROTATE_90)
    start, end = (
        Image.new("RGB", (width, height), read_color(fill[key], f"fill.{key}")[:3]) for key in ("start", "end")
    )
    return Image.composite(end, start, share.resize((width, height)))


def _draw_shape(draw: "ImageDraw", shape: Shape, where: str) -> None:
    def color(name: str) -> Any:
        return read_color(str(shape.get(name)), f"{where}.{name}") if name in shape else None

    if shape["kind"] in ("rectangle", "ellipse", "polygon") and "fill" not in shape and "outline" not in shape:
        raise ToolError("bad_arguments", f"{where}: give fill or outline, otherwise nothing is seen")
    if shape["kind"] == "rectangle":
        place = (shape["left"], shape["top"], shape["left"] + shape["width"] - 1, shape["top"] + shape["height"] - 1)
        radius = min(shape.get("corner_radius", 0), min(shape["width"], shape["height"]) // 2)
        draw.rounded_rectangle(place, radius, color("fill"), color("outline"), shape.get("line_width", 1))
    elif shape["kind"] == "ellipse":
        (x, y), across, down = shape["center"], shape["radius_x"], shape["radius_y"]
        box = (x - across, y - down, x + across, y + down)
        draw.ellipse(box, color("fill"), color("outline"), shape.get("line_width", 1))
    elif shape["kind"] == "line":
        draw.line([(x, y) for x, y in shape["points"]], color("color"), shape.get("line_width", 1), joint="curve")
    elif shape["kind"] == "polygon":
        draw.polygon([(x, y) for x, y in shape["points"]], color("fill"), color("outline"))
    else:
        words = read_words(shape["text"], f"{where}.text")
        _write_words(draw, (shape["left"], shape["top"]), words, shape.get("size", 16), color("color"))


def _text_area(draw: "ImageDraw", words: str, size: int) -> tuple[int, int]:
    left, top, right, bottom = draw.multiline_textbbox((0, 0), words, font(size))
    return round(right - left), round(bottom - top)


def _write_words(draw: "ImageDraw", place: tuple[int, int], words: str, size: int, color: Any) -> None:
    draw.multiline_text(place, words, color, font(size))
