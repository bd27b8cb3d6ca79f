"""Several pictures put together, and animations made and taken apart."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from mcpserver.context import Context
from mcpserver.tool_error import ToolError
from mcpserver.toolbox.formats import beside
from mcpserver.tools.images._shared import (
    MAX_FRAMES,
    ColorText,
    FilePath,
    Place,
    SavedImage,
    Share,
    Side,
    check_size,
    decoding,
    font,
    format_of,
    load_image,
    opaque,
    open_image,
    plain,
    read_color,
    read_words,
    save_image,
    show_image,
)

if TYPE_CHECKING:
    pass

MAX_ANIMATION_PIXELS = 8_000_000


def image_paste(
    context: Context,
    path: FilePath,
    overlay: FilePath,
    left: Place = 0,
    top: Place = 0,
    opacity: Share = 1.0,
    width: Side | None = None,
    save_as: FilePath | None = None,
) -> SavedImage:
    """Paste a picture onto another.

    Args:
        path: picture below
        overlay: picture on top; its transparency counts
        left: where its left side goes, in pixels
        top: where its upper side goes, in pixels
        opacity: 0 invisible to 1 solid
        width: of the overlay in pixels, default its own
        save_as: file to write, default the name with -pasted

    Example:
        {"path": "images/photo.jpg", "overlay": "images/logo.png", "left": 10, "top": 10, "width": 48, "opacity": 0.8}
    """
    from PIL import Image

    image, top_image = load_image(context, path), load_image(context, overlay, "overlay").convert("RGBA")
    if width is not None:
        height = max(1, round(top_image.height * width / top_image.width))
        check_size(width, height, "width")
        top_image = top_image.resize((width, height))
    top_image.putalpha(top_image.getchannel("A").point([round(value * opacity) for value in range(256)]))
    layer = Image.new("RGBA", image.size, (0, 0, 0, 0))
    layer.paste(top_image, (left, top))
    result = Image.alpha_composite(image.convert("RGBA"), layer).convert(image.mode)
    return save_image(context, result, save_as or beside(path, "-pasted"))


def image_concat(
    context: Context,
    paths: Annotated[list[FilePath], Len(2, 20)],
    save_as: FilePath,
    direction: Literal["horizontal", "vertical"] = "horizontal",
    align: Literal["start", "center", "end"] = "center",
    gap: Annotated[int, Ge(0), Le(200)] = 0,
    background: ColorText = "white",
) -> SavedImage:
    """Put pictures side by side or one below the other.

    Args:
        paths: picture files in order
        save_as: file to write
        direction: side by side or below each other
        align: of pictures of different size
        gap: pixels between them
        background: colour of what stays free

    Example:
        {"paths": ["images/logo.png", "images/chart.png"], "save_as": "images/both.png", "gap": 10}
    """
    from PIL import Image

    images = [load_image(context, path, f"paths[{number}]").convert("RGBA") for number, path in enumerate(paths)]
    across = direction == "horizontal"
    length = sum(image.width if across else image.height for image in images) + gap * (len(images) - 1)
    breadth = max(image.height if across else image.width for image in images)
    size = (length, breadth) if across else (breadth, length)
    check_size(*size, "paths")
    sheet = Image.new("RGBA", size, read_color(background, "background"))
    place = 0
    for image in images:
        free = breadth - (image.height if across else image.width)
        aside = {"start": 0, "center": free // 2, "end": free}[align]
        sheet.alpha_composite(image, (place, aside) if across else (aside, place))
        place += (image.width if across else image.height) + gap
    return save_image(context, opaque(sheet), save_as)


def image_contact_sheet(
    context: Context,
    paths: Annotated[list[FilePath], Len(1, 40)],
    save_as: FilePath,
    columns: Annotated[int, Ge(1), Le(10)] = 4,
    cell: Annotated[int, Ge(32), Le(400)] = 128,
    labels: bool = True,
    show: bool = False,
) -> SavedImage:
    """Lay out small copies of pictures in a grid.

    Args:
        paths: picture files
        save_as: file to write
        columns: pictures per row
        cell: size of a copy in pixels
        labels: write the file names below
        show: show the sheet as well

    Example:
        {"paths": ["images/logo.png", "images/chart.png", "images/photo.jpg"], "save_as": "sheet.png", "columns": 2}
    """
    from PIL import Image, ImageDraw

    columns = min(columns, len(paths))
    rows, step = -(-len(paths) // columns), cell + (18 if labels else 4)
    check_size(columns * (cell + 4), rows * step, "cell")
    sheet = Image.new("RGB", (columns * (cell + 4), rows * step), "white")
    for number, path in enumerate(paths):
        small = load_image(context, path, f"paths[{number}]").convert("RGBA")
        small.thumbnail((cell, cell))
        left, top = number % columns * (cell + 4) + 2, number // columns * step + 2
        sheet.paste(small, (left + (cell - small.width) // 2, top + (cell - small.height) // 2), small)
        if labels:
            name = read_words(path.rpartition("/")[2])[: max(4, cell // 6)]
            ImageDraw.Draw(sheet).text((left, top + cell + 1), name, "black", font(11))
    if show:
        show_image(context, sheet, 1024)
    return save_image(context, sheet, save_as)


def image_make_gif(
    context: Context,
    paths: Annotated[list[FilePath], Len(2, 50)],
    save_as: FilePath,
    frame_ms: Annotated[int, Ge(20), Le(10000)] | Annotated[list[Annotated[int, Ge(20), Le(10000)]], Len(2, 50)] = 200,
    loop: bool = True,
) -> dict[str, Any]:
    """Make an animation from pictures, each scaled to the size of the first.

    Args:
        paths: picture files in order
        save_as: GIF file to write
        frame_ms: time of a frame in milliseconds, or a list with one for each
        loop: play it for ever

    Example:
        {"paths": ["images/chart.png", "images/photo.jpg"], "save_as": "images/both.gif", "frame_ms": 500}
        {"paths": ["images/logo.png", "images/icon.webp"], "save_as": "b.gif", "frame_ms": [300, 900], "loop": false}
    """
    import io

    from PIL import ImageOps

    if format_of(save_as) != "GIF":
        raise ToolError("bad_arguments", f"save_as: {save_as!r} must end in .gif")
    if isinstance(frame_ms, list) and len(frame_ms) != len(paths):
        raise ToolError("bad_arguments", f"frame_ms: {len(frame_ms)} times for {len(paths)} pictures")
    first = load_image(context, paths[0], "paths[0]")
    if first.width * first.height * len(paths) > MAX_ANIMATION_PIXELS:
        raise ToolError(
            "limit", f"paths: an animation has at most {MAX_ANIMATION_PIXELS} pixels in all frames together"
        )
    frames = [
        ImageOps.pad(load_image(context, path, f"paths[{number}]").convert("RGB"), first.size, color="white")
        for number, path in enumerate(paths)
    ]
    buffer, repeat = io.BytesIO(), {"loop": 0} if loop else {}
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=frame_ms, **repeat)
    context.files.write(save_as, buffer.getvalue(), "save_as")
    return {
        "path": save_as,
        "frames": len(frames),
        "width": first.width,
        "height": first.height,
        "bytes": len(buffer.getvalue()),
    }


def image_split_frames(
    context: Context,
    path: FilePath,
    folder: FilePath,
    every: Annotated[int, Ge(1), Le(100)] = 1,
) -> dict[str, Any]:
    """Write the frames of an animation as single PNG files.

    Args:
        path: GIF, WebP or TIFF file
        folder: where the files frame-001.png … go
        every: take each n-th frame only

    Example:
        {"path": "images/animation.gif", "folder": "images/frames"}
    """
    image = open_image(context, path)
    with decoding(path):
        numbers = range(0, int(getattr(image, "n_frames", 1)), every)
    if len(numbers) > MAX_FRAMES // 4:
        raise ToolError("limit", f"path: {len(numbers)} frames, at most {MAX_FRAMES // 4} are written; raise `every`")
    written = []
    for number in numbers:
        with decoding(path):
            image.seek(number)
            frame = plain(image)
        written.append(save_image(context, frame, f"{folder.rstrip('/')}/frame-{number + 1:03}.png", "folder")["path"])
    return {"files": written, "total": len(written)}
