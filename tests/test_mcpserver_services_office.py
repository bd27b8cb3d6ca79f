"""Scenarios of the simulated mailbox, calendar, chat, address book and to-do lists."""

import pytest
from tool_calls import World

from mcpserver.tool_error import ToolError
from mcpserver.tools.services import calendar_app, chat_app, contacts, mail, todo

NORA, TOMASZ = "nora.lindqvist@tidewellgas.example", "tomasz.wilk@tidewellgas.example"


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_sent_message_is_found_answered_to_all_and_forwarded_with_its_file(world):
    sent = world.call(
        mail.send_mail,
        to=["Tomasz Wilk", "buyer@porto-grid.example"],
        cc=["Amara Okafor"],
        subject="Volumes",
        body="Please see the list.",
        attachments=[{"name": "list.csv", "text": "day;mwh\n1;500"}],
    )
    assert sent["to"] == ["buyer@porto-grid.example", TOMASZ]
    found = world.call(mail.search_mail, where={"folder": "sent", "text": "volumes LIST", "has_attachment": True})
    assert [message["id"] for message in found["messages"]] == [sent["id"]]
    answer = world.call(mail.reply_to_mail, message=sent["id"], body="Reminder.", reply_all=True)
    assert answer["subject"] == "Re: Volumes"
    full = world.call(mail.read_mail, message=answer["id"])
    assert (full["thread"], full["cc"]) == (sent["id"], ["amara.okafor@tidewellgas.example"])
    forwarded = world.call(mail.forward_mail, message=sent["id"], to=["Sofia Marchetti"], note="For you")
    text = world.call(mail.read_mail_attachment, message=forwarded["id"], name="LIST.csv")["text"]
    assert text == "day;mwh\n1;500"


def test_a_draft_is_changed_and_sent_once(world):
    draft = world.call(mail.save_mail_draft, to=["Hannah Price"], subject="Leave", body="Friday?")
    world.call(mail.save_mail_draft, to=["Hannah Price"], subject="Leave", body="Monday?", draft=draft["id"])
    assert world.call(mail.read_mail, message=draft["id"])["body"] == "Monday?"
    assert world.call(mail.send_mail_draft, draft=draft["id"])["folder"] == "sent"
    with pytest.raises(ToolError, match="is no draft but in sent"):
        world.call(mail.send_mail_draft, draft=draft["id"])


def test_deleted_mail_lies_in_the_trash_until_it_is_emptied(world):
    world.call(mail.move_mail, messages=["M-1001", "M-1002"], folder="Trash")
    counts = {row["folder"]: row["messages"] for row in world.call(mail.list_mail_folders)["folders"]}
    assert (counts["inbox"], counts["trash"]) == (16, 3)
    assert world.call(mail.empty_mail_trash) == {"removed": 3}
    with pytest.raises(ToolError, match='there is no message "M-1001"'):
        world.call(mail.read_mail, message="M-1001")


def test_pages_of_mail_cover_everything_once(world):
    seen, offset = [], 0
    while offset is not None:
        part = world.call(mail.search_mail, where={}, limit=7, offset=offset)
        seen += [message["id"] for message in part["messages"]]
        offset = part.get("next_offset")
    assert len(seen) == len(set(seen)) == part["total"] == 35


def test_a_free_slot_becomes_an_event_and_is_no_longer_free(world):
    people = ["Amara Okafor", "Lukas Brandt"]
    wanted = {"attendees": people, "minutes": 60, "first_day": "2025-03-18", "last_day": "2025-03-21"}
    slot = world.call(calendar_app.find_free_slots, **wanted)["slots"][0]
    event = world.call(
        calendar_app.create_calendar_event, title="Review", start=slot["start"], minutes=60, attendees=people
    )
    assert event["conflicts"] == []
    assert slot not in world.call(calendar_app.find_free_slots, **wanted)["slots"]
    double = world.call(calendar_app.create_calendar_event, title="Clash", start=slot["start"], minutes=30)
    assert double["conflicts"] == [event["id"]]
    world.call(calendar_app.cancel_calendar_event, event=event["id"])
    world.call(calendar_app.cancel_calendar_event, event=double["id"])
    assert world.call(calendar_app.find_free_slots, **wanted)["slots"][0] == slot


def test_one_day_of_a_repeated_event_is_cancelled_and_the_others_stay(world):
    repeat = {"every": "month", "times": 4}
    event = world.call(
        calendar_app.create_calendar_event, title="Close", start="2025-03-31 16:00", minutes=30, repeat=repeat
    )["id"]
    period = {"first_day": "2025-03-31", "last_day": "2025-05-31", "text": "close"}

    def days():
        return [row["start"][:10] for row in world.call(calendar_app.list_calendar_events, **period)["events"]]

    assert days() == ["2025-03-31", "2025-04-30", "2025-05-31"]
    world.call(calendar_app.cancel_calendar_event, event=event, occurrence="2025-04-30")
    assert days() == ["2025-03-31", "2025-05-31"]
    with pytest.raises(ToolError, match=r"is not on 2025-04-30; its next days are 2025-03-31, 2025-05-31, 2025-06-30"):
        world.call(calendar_app.cancel_calendar_event, event=event, occurrence="2025-04-30")


def test_an_event_at_another_time_asks_the_guests_again_and_strangers_may_not_change_it(world):
    guests = ["Tomasz Wilk"]
    event = world.call(
        calendar_app.create_calendar_event, title="Talk", start="2025-03-20 10:00", minutes=30, attendees=guests
    )["id"]
    moved = world.call(calendar_app.update_calendar_event, event=event, changes={"start": "2025-03-20T11:00"})
    assert moved["attendees"] == {NORA: "accepted", TOMASZ: "open"}
    assert moved["start"] == "2025-03-20 11:00"
    world.call(calendar_app.answer_invitation, event="E-202", answer="declined", note="Away")
    with pytest.raises(ToolError, match="only the organiser") as error:
        world.call(calendar_app.cancel_calendar_event, event="E-202")
    assert error.value.kind == "denied"


def test_a_thread_grows_and_the_first_message_is_pinned_and_reacted_to(world):
    first = world.call(chat_app.post_message, channel="#Operations", text="Station down")["id"]
    reply = world.call(chat_app.reply_in_thread, message=first, text="Since when?")
    inner = world.call(chat_app.reply_in_thread, message=reply["id"], text="Since six.")
    assert inner["reply_to"] == first
    assert [r["text"] for r in world.call(chat_app.read_thread, message=first)["replies"]] == [
        "Since when?",
        "Since six.",
    ]
    world.call(chat_app.react_to_message, message=first, emoji="eyes")
    world.call(chat_app.pin_message, message=first)
    found = world.call(chat_app.search_chat, where={"pinned": True, "reaction": "eyes"})["messages"]
    assert [message["id"] for message in found] == [first]
    with pytest.raises(ToolError, match="has replies"):
        world.call(chat_app.edit_message, message=first, delete=True)


def test_who_leaves_a_channel_reads_and_posts_there_no_more(world):
    message = world.call(chat_app.post_message, channel="budget-2026", text="quixotic figure")["id"]
    world.call(chat_app.change_channel_members, channel="budget-2026", remove=["Nora Lindqvist"])
    for tool, arguments in (
        (chat_app.read_channel, {"channel": "budget-2026"}),
        (chat_app.read_thread, {"message": message}),
        (chat_app.post_message, {"channel": "budget-2026", "text": "x"}),
    ):
        with pytest.raises(ToolError, match="you are not a member"):
            world.call(tool, **arguments)
    assert world.call(chat_app.search_chat, where={"text": "quixotic"})["total"] == 0


def test_a_direct_message_is_read_under_the_name_of_the_person(world):
    world.call(chat_app.send_direct_message, person=TOMASZ, text="Call me")
    assert world.call(chat_app.read_channel, channel="@Tomasz Wilk")["messages"][0]["text"] == "Call me"


def test_two_contacts_of_one_person_are_merged(world):
    new = world.call(
        contacts.add_contact,
        name="Tomasz Wilk",
        details={"phones": [{"kind": "home", "number": "+48 22 555 01"}], "groups": ["press", "Press".lower()]},
    )
    assert new["same_name"][0] == "K-101"
    merged = world.call(contacts.merge_contacts, keep="K-101", other=new["id"])
    assert merged["emails"] == [TOMASZ]
    assert {"kind": "home", "number": "+48 22 555 01"} in merged["phones"]
    assert "press" in merged["groups"]
    with pytest.raises(ToolError, match="there is no contact"):
        world.call(contacts.get_contact, contact=new["id"])
    with pytest.raises(ToolError, match="belongs to K-101 already"):
        world.call(contacts.update_contact, contact="K-102", changes={"emails": [TOMASZ]})


def test_a_repeated_task_comes_again_with_open_subtasks(world):
    details = {"due": "2025-01-31", "repeat": {"unit": "month", "count": 1}}
    task = world.call(todo.add_task, to_list="Work", title="Report", details=details, subtasks=["Draw", "Send"])["id"]
    assert task in [row["id"] for row in world.call(todo.search_tasks, where={"due": "overdue"})["tasks"]]
    with pytest.raises(ToolError, match="2 subtasks"):
        world.call(todo.complete_task, task=task)
    world.call(todo.change_subtask, task=task, subtask="draw", action="done")
    world.call(todo.change_subtask, task=task, subtask=2, action="done")
    following = world.call(todo.complete_task, task=task)["next_task"]
    assert (following["due"], following["open_subtasks"], following["done"]) == ("2025-03-31", 2, None)
    world.call(todo.complete_task, task=task, done=False)
    with pytest.raises(ToolError, match='did you mean "work"'):
        world.call(todo.update_task, task=task, changes={}, to_list="wrk")
