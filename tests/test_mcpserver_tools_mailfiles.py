from contextlib import suppress
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from tool_calls import World
from tool_checks import check_example, examples_of
from tool_fuzz import functions, refusals

from mcpserver.catalogue import Tool, make_tool
from mcpserver.company import company_base
from mcpserver.tool_error import ToolError
from mcpserver.tools.documents import calendar_files, contact_files, mail_files, xml_files

MODULES = (xml_files, mail_files, calendar_files, contact_files)
FOLDERS = ("mail", "calendar", "contacts", "data/feed", "data/invoices", "data/products.csv")


def papers() -> dict[str, bytes]:
    return {
        name: content
        for name, content in company_base().items()
        if name.startswith(tuple(f"files/{f}" for f in FOLDERS))
    }


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, papers())


@pytest.mark.parametrize(("tool", "example"), examples_of(*MODULES))
def test_examples_work_and_write_the_same_bytes_twice(tool: Tool, example: dict[str, Any], tmp_path: Path) -> None:
    check_example(tool, example, tmp_path)


@pytest.mark.parametrize("function", functions(*MODULES), ids=lambda f: f.__name__)
def test_random_arguments_end_in_a_result_or_a_typed_refusal(function: Any, world: World) -> None:
    refusals(world, function, 60, [name.removeprefix("files/") for name in papers()])


STRANGE = {
    "empty": b"",
    "binary": bytes(range(256)),
    "text": b"hello\nworld",
    "cut xml": b"<a><b>",
    "cut ics": b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:x\n",
    "odd ics": b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:99999999T999999Z\nEND:VEVENT\nEND:VCALENDAR\n",
    "no start": b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nSUMMARY:x\nEND:VEVENT\nEND:VCALENDAR\n",
    "todo": b"BEGIN:VEVENT\nSUMMARY:x\nEND:VEVENT\n",
    "cut vcf": b"BEGIN:VCARD\nFN:x\n",
    "odd mail": b"From: =?x?q?a?=\nContent-Type: multipart/mixed\n\n--x\n",
    "odd charset": b"From: a@b.example\nContent-Type: text/plain; charset=nothing\n\nx",
    "laughs": b'<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><l>&b;</l>',
    "utf-16 laughs": '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE l [<!ENTITY a "ha">]><l>&a;</l>'.encode(
        "utf-16"
    ),
}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("function", functions(*MODULES), ids=lambda f: f.__name__)
def test_strange_files_end_in_a_result_or_a_typed_refusal(function: Any, name: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    example = make_tool(function, "test").examples[0]
    path = str(example.get("path") or "mail/x.eml")
    world.write(path, STRANGE[name])
    with suppress(ToolError):
        assert world.call(function, **example)
    if name in ("empty", "binary", "text") and function.__name__.endswith(
        ("_events", "_contacts", "_read", "_items", "_outline")
    ):
        with pytest.raises(ToolError):
            world.call(function, **example)


@pytest.mark.parametrize("name", ["laughs", "utf-16 laughs"])
def test_xml_with_a_document_type_is_refused(name: str, world: World) -> None:
    world.write("x.xml", STRANGE[name])
    with pytest.raises(ToolError) as refusal:
        world.call(xml_files.xml_query, path="x.xml", query="")
    assert refusal.value.kind == "denied"


XML = """<shop xmlns:p="urn:p">
  <item id="1"><name>Pump</name><p:price cur="EUR">3</p:price></item>
  <item id="2"><name>Pipe</name></item>
</shop>"""


def test_xml_is_queried_by_simple_paths(world: World) -> None:
    world.write("x.xml", XML)
    fields = {"id": "@id", "name": "name", "price": "{*}price"}
    found = world.call(xml_files.xml_query, path="x.xml", query="item", fields=fields)["elements"]
    assert found == [{"id": "1", "name": "Pump", "price": "3"}, {"id": "2", "name": "Pipe", "price": None}]
    one = world.call(xml_files.xml_query, path="x.xml", query=".//item[@id='2']/name")["elements"]
    assert [(entry["text"], entry["line"]) for entry in one] == [("Pipe", 3)]
    outline = world.call(xml_files.xml_outline, path="x.xml")["paths"]
    assert outline[1] == {"path": "shop/item", "count": 2, "attributes": ["id"]}
    for query in ("/shop", "item[", "item[starts-with(@id,'1')]", "//a//b//c//d//e"):
        with pytest.raises(ToolError, match="no simple path"):
            world.call(xml_files.xml_query, path="x.xml", query=query)


def test_xml_is_edited(world: World) -> None:
    world.write("x.xml", XML)
    edits = [
        {"do": "set_text", "query": "item[@id='1']/name", "text": "<Pump> & co"},
        {"do": "set_attribute", "query": "item", "name": "new", "value": "yes"},
        {"do": "add", "query": ".", "tag": "item", "text": "x", "attributes": {"id": "3"}},
        {"do": "remove", "query": "item[@id='2']"},
    ]
    assert world.call(xml_files.xml_edit, path="x.xml", edits=edits)["changed"] == [1, 2, 1, 1]
    assert world.workspace.read_text("x.xml") == (
        "<?xml version='1.0' encoding='UTF-8'?>\n<shop xmlns:p=\"urn:p\">\n"
        '  <item id="1" new="yes"><name>&lt;Pump&gt; &amp; co</name><p:price cur="EUR">3</p:price></item>\n'
        '  <item id="3">x</item>\n</shop>\n'
    )
    for edit in (
        {"do": "remove", "query": "."},
        {"do": "add", "query": ".", "tag": "a b"},
        {"do": "remove", "query": "none"},
    ):
        with pytest.raises(ToolError):
            world.call(xml_files.xml_edit, path="x.xml", edits=[edit])


def test_news_is_listed_and_added(world: World) -> None:
    all_items = world.call(xml_files.feed_items, path="data/feed.xml")
    later = world.call(xml_files.feed_items, path="data/feed.xml", since="2025-03-05")
    assert (all_items["total"], later["total"]) == (6, 5)
    item = {"title": "A & B", "published": "2025-04-01", "description": "New."}
    assert world.call(xml_files.feed_add_item, path="data/feed.xml", item=item)["items"] == 7
    first = world.call(xml_files.feed_items, path="data/feed.xml")["items"][0]
    assert (first["title"], first["published"]) == ("A & B", "2025-04-01T00:00:00+00:00")


def test_mail_is_read_with_its_attachments(world: World) -> None:
    mail = world.call(mail_files.eml_read, path="mail/offer.eml")
    assert "Zoë" in mail["from"]
    assert mail["attachments"][0]["name"] == "prices.csv"
    saved = world.call(mail_files.eml_save_attachment, path="mail/offer.eml", attachment="prices.csv", save_as="p.csv")
    assert world.workspace.read_text("p.csv").startswith("article,product")
    assert saved["type"] == "text/csv"
    with pytest.raises(ToolError, match=r'did you mean "prices\.csv"'):
        world.call(mail_files.eml_save_attachment, path="mail/offer.eml", attachment="price.csv", save_as="p.csv")


def test_mail_is_found(world: World) -> None:
    assert world.call(mail_files.eml_list)["total"] == 6
    found = world.call(mail_files.eml_list, only={"has_attachment": True, "subject": "OFFER"})["mails"]
    assert [entry["path"] for entry in found] == ["mail/offer.eml"]


def test_a_composed_mail_is_whole_and_its_headers_cannot_be_broken(world: World) -> None:
    message = {"sender": 'Ana "A" B <ana@x.example>', "to": ["bo@y.example"], "subject": "Hi\nBcc: all@z.example"}
    message |= {"text": "Größe\n", "html": "<p>Größe</p>", "attachments": ["data/products.csv"]}
    world.call(mail_files.eml_compose, save_as="d.eml", message=message)
    mail = message_from_bytes(world.workspace.read_bytes("d.eml"), policy=policy.default)
    assert mail["Subject"] == "Hi Bcc: all@z.example"
    assert "Bcc" not in mail
    assert mail["Date"] == "Mon, 17 Mar 2025 09:00:00 -0000"
    assert world.call(mail_files.eml_read, path="d.eml")["text"] == "Größe\n"
    assert [part.get_filename() for part in mail.iter_attachments()] == ["products.csv"]
    for address in ("nobody", "a@b@", "a@x.example, b@x.example", "a b@x.example"):
        with pytest.raises(ToolError, match="is no address"):
            world.call(mail_files.eml_compose, save_as="d.eml", message=message | {"to": [address]})


def test_an_answer_goes_to_the_right_people_and_quotes(world: World) -> None:
    old = "From: a@x.example\nTo: me@x.example, c@x.example\nSubject: Hello\nMessage-ID: <1@x>\n\nFirst\nSecond"
    world.write("o.eml", old)
    made = world.call(mail_files.eml_answer, path="o.eml", sender="Me <me@x.example>", text="Yes.", kind="reply_all")
    assert (made["to"], made["subject"]) == ("a@x.example, c@x.example", "Re: Hello")
    text = world.call(mail_files.eml_read, path="o-reply.eml")["text"]
    assert text.startswith("Yes.\n\n")
    assert "> First\n> Second" in text
    with pytest.raises(ToolError, match="needed to forward"):
        world.call(mail_files.eml_answer, path="o.eml", sender="me@x.example", text="", kind="forward")


def test_events_are_listed_by_time_and_words(world: World) -> None:
    assert world.call(calendar_files.ics_events, path="calendar/team.ics")["total"] == 8
    found = world.call(calendar_files.ics_events, path="calendar/team.ics", start="2025-03-10", end="2025-03-13")[
        "events"
    ]
    assert [event["title"] for event in found] == ["Operations meeting", "Offer 2025-117"]
    assert found[0]["start"] == "2025-03-10T14:00"


def test_events_are_added_changed_and_deleted(world: World) -> None:
    event = {
        "title": "Count; all, of it",
        "start": "2025-03-24T09:00:00+01:00",
        "minutes": 90,
        "repeat": {"every": "week", "count": 3},
    }
    world.call(calendar_files.ics_add_event, path="n.ics", event=event)
    listed = world.call(calendar_files.ics_events, path="n.ics")["events"]
    assert [(e["title"], e["start"], e["end"]) for e in listed] == [
        ("Count; all, of it", "2025-03-24T08:00", "2025-03-24T09:30")
    ]
    assert "COUNT=3" in listed[0]["repeats"]
    change = {"start": "2025-03-25T10:00", "location": "Leeds"}
    world.call(calendar_files.ics_change_event, path="n.ics", event=event["title"], change=change)
    listed = world.call(calendar_files.ics_events, path="n.ics")["events"]
    assert (listed[0]["start"], listed[0]["end"], listed[0]["location"]) == (
        "2025-03-25T10:00",
        "2025-03-25T11:30",
        "Leeds",
    )
    assert (
        world.call(calendar_files.ics_change_event, path="n.ics", event=listed[0]["uid"], change="delete")["events"]
        == 0
    )
    for wrong, message in [
        ({"start": "2025-03-24", "minutes": 5}, "needs a start with a time"),
        ({"start": "2025-03-24T09:00", "end": "2025-03-24T09:00"}, "is not after"),
        ({"start": "2025-03-24T09:00", "end": "2025-03-25"}, "both have a time"),
        ({"start": "2025-13-24"}, "no day or time"),
    ]:
        with pytest.raises(ToolError, match=message):
            world.call(calendar_files.ics_add_event, path="n.ics", event={"title": "x", **wrong})


def test_free_times_lie_between_events(world: World) -> None:
    free = world.call(calendar_files.ics_free_times, paths=["calendar/team.ics"], day="2025-03-17")["free"]
    assert free == [
        {"start": "08:00", "end": "09:30", "minutes": 90},
        {"start": "10:30", "end": "18:00", "minutes": 450},
    ]


def test_contacts_are_found_added_changed_and_deleted(world: World) -> None:
    path = "contacts/partners.vcf"
    assert world.call(contact_files.vcf_contacts, path=path)["total"] == 10
    contact = {"name": "Mia Berg", "company": "A, B; C", "emails": ["mia@x.example"]}
    assert world.call(contact_files.vcf_add_contact, path=path, contact=contact)["contacts"] == 11
    assert world.call(contact_files.vcf_contacts, path=path, search="mia berg")["contacts"] == [contact]
    with pytest.raises(ToolError, match="already"):
        world.call(contact_files.vcf_add_contact, path=path, contact=contact)
    change = {"name": "Mia Holm", "emails": [], "phones": ["+1", "+2"]}
    world.call(contact_files.vcf_change_contact, path=path, name="mia berg", change=change)
    found = world.call(contact_files.vcf_contacts, path=path, search="holm")["contacts"]
    assert found == [{"name": "Mia Holm", "company": "A, B; C", "phones": ["+1", "+2"]}]
    assert world.call(contact_files.vcf_change_contact, path=path, name="Mia Holm", change="delete")["contacts"] == 10
    with pytest.raises(ToolError, match="is no address"):
        world.call(contact_files.vcf_add_contact, path=path, contact={"name": "x", "emails": ["x"]})
