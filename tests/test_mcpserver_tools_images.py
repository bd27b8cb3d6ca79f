import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tool_calls import World
from tool_fuzz import functions, refusals

from mcpserver.catalogue import make_tool
from mcpserver.tool_error import ToolError
from mcpserver.tools.images import drawing, image_colors, image_edit, images, montage

MODULES = (images, image_edit, image_colors, drawing, montage)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def header_png(width: int, height: int) -> bytes:
    """A PNG that declares a size and has a few pixels of data only."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 7)
    chunks = [
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (body, data, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def pictures() -> dict[str, bytes]:
    logo = Image.new("RGBA", (128, 128), (0, 0, 0, 0))
    logo.paste((200, 30, 30, 255), (32, 32, 96, 96))
    chart = Image.new("RGB", (320, 240), "white")
    chart.paste("blue", (40, 60, 90, 200))
    photo = Image.merge(
        "RGB",
        [
            Image.linear_gradient("L").resize((320, 200)),
            Image.radial_gradient("L").resize((320, 200)),
            Image.new("L", (320, 200), 90),
        ],
    )
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Acme", 1
    frames = [Image.new("RGB", (64, 64), color) for color in ("red", "green", "blue", "white")]
    made = {
        "logo.png": encoded(logo, "PNG"),
        "chart.png": encoded(chart, "PNG", dpi=(72, 72)),
        "photo.jpg": encoded(photo, "JPEG", exif=exif, comment="made by hand"),
        "site.jpg": encoded(photo.resize((400, 300)), "JPEG"),
        "animation.gif": encoded(
            frames[0], "GIF", save_all=True, append_images=frames[1:], duration=[100, 200, 300, 400], loop=0
        ),
        "scan.bmp": encoded(photo.resize((100, 80)), "BMP"),
        "icon.webp": encoded(logo.resize((48, 48)), "WEBP"),
        "plan.tiff": encoded(chart.resize((200, 150)), "TIFF"),
    }
    return {f"files/images/{name}": content for name, content in made.items()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, pictures())


def opened(world: World, path: str) -> Image.Image:
    return Image.open(io.BytesIO(world.workspace.read_bytes(path)))


@pytest.mark.parametrize("function", functions(*MODULES), ids=lambda f: f.__name__)
def test_examples_work_and_write_the_same_bytes_twice(function: Any, tmp_path: Path) -> None:
    tool = make_tool(function, "test")
    assert tool.examples
    for number, example in enumerate(tool.examples):
        outcomes = []
        for turn in "ab":
            world = World(tmp_path / f"{number}{turn}", pictures())
            outcomes.append((world.call(tool, **example), world.workspace.hashes(), world.pictures))
        assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("function", functions(*MODULES), ids=lambda f: f.__name__)
def test_random_arguments_end_in_a_result_or_a_typed_refusal(function: Any, world: World) -> None:
    refusals(world, function, 25, [name.removeprefix("files/") for name in pictures()])


BROKEN = {
    "empty.png": b"",
    "cut.png": pictures()["files/images/chart.png"][:200],
    "cut.jpg": pictures()["files/images/photo.jpg"][:900],
    "cut.gif": pictures()["files/images/animation.gif"][:60],
    "header.png": bytes.fromhex("89504e470d0a1a0a0000000d"),
    "text.png": b"hello",
    "page.png": b"%PDF-1.4 hello",
    "vector.svg": b"<!DOCTYPE s [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg xmlns='http://www.w3.org/2000/svg'>&x;</svg>",
    "ghost.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%pipe%touch /tmp/pwned) (w) file",
    "bomb.png": header_png(60000, 60000),
    "large.png": header_png(5000, 4000),
    "false.png": header_png(2000, 2000),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize(
    ("function", "more"),
    [
        (images.image_info, {}),
        (images.image_view, {}),
        (images.image_frames, {}),
        (image_edit.image_convert, {"format": "png", "save_as": "out.png"}),
        (image_edit.image_resize, {"width": 10, "height": 10, "save_as": "out.png"}),
        (montage.image_split_frames, {"folder": "out"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_broken_and_foreign_files_are_refused(function: Any, more: dict[str, Any], name: str, world: World) -> None:
    world.write(f"images/{name}", BROKEN[name])
    before = world.workspace.hashes()
    with pytest.raises(ToolError) as refusal:
        world.call(function, path=f"images/{name}", **more)
    kinds = {"bomb.png": "limit", "large.png": "limit", "ghost.eps": "denied", "page.png": "denied"}
    assert refusal.value.kind == kinds.get(name, "tool_error")
    assert "0x" not in refusal.value.message
    assert world.workspace.hashes() == before


def test_other_pictures_of_a_folder_are_listed_beside_a_broken_one(world: World) -> None:
    world.write("images/bomb.png", BROKEN["bomb.png"])
    listed = {entry["path"]: entry for entry in world.call(images.image_list, folder="images")["images"]}
    assert "more than" in listed["images/bomb.png"]["problem"]
    assert listed["images/icon.webp"] == {"path": "images/icon.webp", "format": "WEBP", "width": 48, "height": 48}


def test_a_result_is_at_most_4000_pixels_wide(world: World) -> None:
    for arguments in ({"width": 100_000, "height": 100_000}, {"width": 4001, "height": 1}):
        with pytest.raises(ToolError, match="4000") as refusal:
            world.call(image_edit.image_resize, path="images/logo.png", **arguments)
        assert refusal.value.kind == "limit"
    with pytest.raises(ToolError, match="4000x4000"):
        world.call(montage.image_concat, paths=["images/site.jpg"] * 11, save_as="long.png")


@pytest.mark.parametrize(
    ("mode", "size"), [("stretch", (100, 40)), ("fit", (64, 40)), ("fill", (100, 40)), ("pad", (100, 40))]
)
def test_resizing_modes_give_the_size_that_they_promise(mode: str, size: tuple[int, int], world: World) -> None:
    saved = world.call(image_edit.image_resize, path="images/photo.jpg", width=100, height=40, mode=mode)
    assert opened(world, saved["path"]).size == size == (saved["width"], saved["height"])


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "bmp", "webp", "tiff"])
def test_conversion_writes_the_format_named(name: str, world: World) -> None:
    saved = world.call(image_edit.image_convert, path="images/logo.png", format=name, save_as=f"x.{name}")
    assert saved["format"] == name.upper() == opened(world, f"x.{name}").format
    with pytest.raises(ToolError, match="must end in"):
        world.call(image_edit.image_convert, path="images/logo.png", format=name, save_as="x.txt")


def test_a_jpeg_of_a_transparent_picture_has_a_white_ground(world: World) -> None:
    world.call(image_edit.image_convert, path="images/logo.png", format="jpeg")
    assert (
        world.call(images.image_pixels, path="images/logo.jpeg", points=[{"x": 1, "y": 1}])["pixels"][0]["color"]
        == "#ffffff"
    )


def test_pixels_colours_and_regions_are_measured(world: World) -> None:
    box = {"left": 40, "top": 60, "width": 50, "height": 140}
    assert world.call(images.image_average_color, path="images/chart.png", box=box)["color"] == "#0000ff"
    main = world.call(images.image_dominant_colors, path="images/chart.png", count=2)["colors"]
    assert [entry["color"] for entry in main] == ["#ffffff", "#0000ff"]
    assert main[1]["share"] == pytest.approx(50 * 140 / (320 * 240), abs=0.01)
    with pytest.raises(ToolError, match="the picture is 320x240"):
        world.call(images.image_average_color, path="images/chart.png", box=box | {"left": 300})
    histogram = world.call(images.image_histogram, path="images/chart.png", channel="red", bins=4)
    assert histogram["counts"] == [7000, 0, 0, 69800]


def test_rotating_flipping_and_cropping_move_pixels_where_they_belong(world: World) -> None:
    world.call(
        image_edit.image_crop,
        path="images/chart.png",
        box={"left": 40, "top": 50, "width": 100, "height": 60},
        save_as="a.png",
    )
    turned = world.call(image_edit.image_rotate, path="a.png", degrees=90, save_as="b.png")
    assert (turned["width"], turned["height"]) == (60, 100)
    assert opened(world, "b.png").getpixel((59, 99)) == (255, 255, 255)
    assert opened(world, "b.png").getpixel((40, 10)) == (0, 0, 255)
    world.call(image_edit.image_flip, path="a.png", direction="both", save_as="c.png")
    assert opened(world, "c.png").getpixel((99, 0)) == (0, 0, 255)
    kept = world.call(image_edit.image_trim, path="images/chart.png")["kept"]
    assert kept == {"left": 40, "top": 60, "width": 50, "height": 140}


def test_two_pictures_are_compared_where_they_differ(world: World) -> None:
    shape = {"kind": "rectangle", "left": 5, "top": 6, "width": 7, "height": 8, "fill": "red"}
    world.call(drawing.image_draw, path="images/chart.png", shapes=[shape], save_as="b.png")
    found = world.call(images.image_compare, first="images/chart.png", second="b.png", save_as="diff.png")
    assert found["box"] == {"left": 5, "top": 6, "width": 7, "height": 8}
    assert found["changed_pixels"] == 56
    assert opened(world, "diff.png").getpixel((5, 6)) == (255, 255, 255)
    assert world.call(images.image_compare, first="b.png", second="images/logo.png")["reason"] == "the sizes differ"


def test_a_part_of_a_picture_is_found_again(world: World) -> None:
    box = {"left": 61, "top": 33, "width": 40, "height": 30}
    world.call(image_edit.image_crop, path="images/scan.bmp", box={**box, "left": 41}, save_as="part.png")
    assert world.call(images.image_find, path="images/scan.bmp", template="part.png")["box"] == {**box, "left": 41}
    assert not world.call(images.image_find, path="images/chart.png", template="part.png", min_score=0.99)["found"]


def test_metadata_is_read_and_stripped(world: World) -> None:
    assert world.call(images.image_metadata, path="images/photo.jpg")["exif"]["Make"] == "Acme"
    removed = world.call(image_edit.image_strip_metadata, path="images/photo.jpg")["removed"]
    assert {"exif", "comment"} <= set(removed)
    assert world.call(images.image_metadata, path="images/photo.jpg")["exif"] == {}


@pytest.mark.parametrize(
    ("effect", "expected"), [("invert", (0, 0, 0)), ("sepia", (255, 240, 210)), ("blur", (255, 255, 255))]
)
def test_filters_change_white_as_they_should(effect: str, expected: tuple[int, ...], world: World) -> None:
    saved = world.call(image_colors.image_filter, path="images/chart.png", effect=effect)
    assert opened(world, saved["path"]).getpixel((310, 10)) == expected


def test_colours_are_replaced_thresholded_and_covered(world: World) -> None:
    replaced = world.call(
        image_colors.image_replace_color, path="images/chart.png", old="blue", new="#00000000", save_as="a.png"
    )
    assert replaced["replaced_pixels"] == 7000
    assert opened(world, "a.png").getpixel((50, 70))[3] == 0  # type: ignore[index]
    two = world.call(image_colors.image_threshold, path="images/chart.png")
    assert two["white_share"] == pytest.approx(1 - 7000 / 76800, abs=1e-4)
    world.call(
        image_colors.image_redact,
        path="images/chart.png",
        boxes=[{"left": 0, "top": 0, "width": 9, "height": 9}],
        save_as="r.png",
    )
    assert opened(world, "r.png").getpixel((8, 8)) == (0, 0, 0)
    with pytest.raises(ToolError, match='did you mean "navy"'):
        world.call(image_colors.image_border, path="images/chart.png", width=4, color="navvy")
    with pytest.raises(ToolError, match="at least one"):
        world.call(image_colors.image_adjust, path="images/chart.png", adjustments={})


def test_shapes_are_drawn_in_order_and_each_kind_is_checked(world: World) -> None:
    shapes = [
        {"kind": "ellipse", "center": [50, 50], "radius_x": 20, "radius_y": 20, "fill": "green"},
        {"kind": "line", "points": [[0, 50], [100, 50]], "color": "red", "line_width": 3},
        {"kind": "polygon", "points": [[200, 10], [220, 10], [210, 30]], "fill": "#ff000080"},
    ]
    world.call(drawing.image_draw, path="images/chart.png", shapes=shapes, save_as="d.png")
    image = opened(world, "d.png")
    assert [image.getpixel(place) for place in ((50, 40), (45, 50), (210, 15))] == [
        (0, 128, 0),
        (255, 0, 0),
        (255, 127, 127),
    ]
    with pytest.raises(ToolError, match=r"shapes\[0\]: give fill or outline"):
        world.call(
            drawing.image_draw,
            path="images/chart.png",
            shapes=[{"kind": "ellipse", "center": [5, 5], "radius_x": 2, "radius_y": 2}],
        )
    with pytest.raises(ToolError, match=r"shapes\[0\].color"):
        world.call(drawing.image_draw, path="images/chart.png", shapes=[shapes[1] | {"color": "reddd"}])


def test_gradients_and_captions_are_seen(world: World) -> None:
    world.call(
        drawing.image_create,
        save_as="g.png",
        width=100,
        height=10,
        fill={"start": "black", "end": "white", "direction": "right"},
    )
    row = [opened(world, "g.png").getpixel((x, 5))[0] for x in (0, 50, 99)]  # type: ignore[index]
    assert row == sorted(row)
    assert row[0] < 10
    assert row[2] > 245
    plain = world.workspace.read_bytes("images/site.jpg")
    world.call(drawing.image_add_text, path="images/site.jpg", text="Hello\nyou", save_as="t.png")
    world.call(drawing.image_watermark, path="images/site.jpg", text="DRAFT", save_as="w.png")
    for path in ("t.png", "w.png"):
        world.write("plain.jpg", plain)
        assert not world.call(images.image_compare, first="plain.jpg", second=path)["same"]


def test_an_animation_is_made_and_taken_apart(world: World) -> None:
    frames = world.call(montage.image_split_frames, path="images/animation.gif", folder="f")["files"]
    assert [opened(world, path).getpixel((3, 3)) for path in frames] == [
        (255, 0, 0),
        (0, 128, 0),
        (0, 0, 255),
        (255, 255, 255),
    ]
    world.call(montage.image_make_gif, paths=frames, save_as="again.gif", frame_ms=[100, 200, 300, 400])
    assert world.call(images.image_frames, path="again.gif")["durations_ms"] == [100, 200, 300, 400]
    with pytest.raises(ToolError, match="3 times for 4"):
        world.call(montage.image_make_gif, paths=frames, save_as="again.gif", frame_ms=[100, 200, 300])


def test_a_view_is_scaled_down_and_described(world: World) -> None:
    seen = world.call(images.image_view, path="images/photo.jpg", max_side=64)
    assert Image.open(io.BytesIO(world.pictures[0].content)).size == (64, 40)
    assert "320x200" in seen["description"]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "I;16", "LA"])
def test_every_colour_mode_is_read(mode: str, world: World) -> None:
    base = Image.linear_gradient("L")
    image = Image.frombytes("I;16", (256, 256), bytes(2) * 256 * 256) if mode == "I;16" else base.convert(mode)
    file_format = "TIFF" if mode == "CMYK" else "PNG"
    world.write("m.tif" if mode == "CMYK" else "m.png", encoded(image, file_format))
    world.call(image_edit.image_convert, path="m.tif" if mode == "CMYK" else "m.png", format="webp", save_as="m.webp")
    assert opened(world, "m.webp").size == (256, 256)
