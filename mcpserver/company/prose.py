"""The plain texts of the company world: prose, a poem, names, and a page to find things in."""

from mcpserver.company.made import Files, Made, generator, made_text
from mcpserver.company.people import FIRST_NAMES


def make_prose() -> Files:
    """The five files under ``text/``."""
    return {
        "text/english.txt": made_text(_ENGLISH, "A short story about a pump station and a flood, about 600 words."),
        "text/poem.txt": made_text(_POEM, "A poem of four stanzas about a river and a bridge."),
        "text/names.txt": _names(),
        "text/mixed.txt": made_text(
            _MIXED, "Notes with e-mail addresses, links, telephone numbers, dates and amounts."
        ),
        "text/german.txt": made_text(_GERMAN, "A German text about a morning at the market, about 200 words."),
    }


def _names() -> Made:
    rng = generator("names.txt")
    names = FIRST_NAMES.split()[:36]
    drawn = [rng.choice(names) for _ in range(60)]
    return made_text("\n".join(drawn), "60 first names, one a line, unsorted, with duplicates.")


_ENGLISH = """
The Pump Station at Low Weir

Nobody in the village could say who had built the pump station. It stood at the end of Weir Lane, a brick box with a tin
roof, and its two pumps had lifted water out of the meadows for as long as anyone remembered. Children were told not to
play there. They played there anyway, because the floor hummed under their shoes.

Ida Marsh had looked after the station for nineteen years. Every morning at six she cycled down the lane, unlocked the
door, and wrote three numbers into a book: the level of the ditch, the pressure of the first pump, and the pressure of
the second. She had filled eleven books. They stood on a shelf above the desk, and nobody but Ida had ever opened them.

In the last week of February it began to rain. It rained on Monday, gently, and on Tuesday, less gently. By Wednesday
the ditch was forty centimetres higher than Ida had ever written down, and the second pump made a sound like a spoon in
a mixing bowl. She rang the water board. A tired voice told her that an engineer would come on Friday.

"On Friday," said Ida, "you can send a boat."

She put down the telephone and took the eleven books from the shelf. The sound was not new. She had heard it once
before, and she was sure that she had written it down, because she wrote everything down. She found it in the fourth
book, on a page with a ring of tea: a February, twelve years ago, the same spoon, the same bowl. Below it, in her own
smaller handwriting, stood what it had been. A stone in the strainer. Close the valve, open the lid, reach in to the
elbow, and do not wear a watch.

It was dark when her neighbour Tobias came to look for her. He found the door open and the floor wet. Ida lay on her
side next to the second pump with her arm in the strainer, and she was talking to it, quietly, as one talks to a cow.

"Hold the lamp," she said. "Higher. No, that is my eye."

It was not a stone this time. It was a tin soldier, bent at the waist, with most of his paint gone. Some child had
dropped him through the grating years ago, and he had marched slowly down the pipe ever since. Ida set him on the
windowsill, closed the lid, and opened the valve. The pump coughed twice. Then the floor began to hum.

All night they took turns. Tobias watched the gauge while Ida slept on two chairs, and Ida watched it while Tobias
walked along the ditch with the lamp. At four in the morning the water stood one finger below the top of the bank. At
five it stood one finger below the top of the bank. At six Ida unlocked nothing, since the door was open, and wrote
three numbers into the book. The level had fallen by two centimetres.

The engineer came on Friday, as promised. He was young and friendly, and he had a tablet that could show the pressure of
any pump in the county. He held it up to the wall, turned around, and held it up to the window. There was no signal at
Low Weir; there never had been.

"How do you know what they are doing?" he asked.

Ida pointed at the shelf. He took down a book, and then another, and after a while he sat on the two chairs and read.
When he left he asked whether he might copy the numbers. She said that he could, if he washed his hands first.

The tin soldier is still on the windowsill. He leans a little, as if listening.
"""

_POEM = """
Under the Bridge

The river carries what it finds:
a leaf, a cork, a ribbon's end,
the orange peel, the window blinds,
a letter that I did not send.

It does not ask me where they go,
it does not hurry, does not wait;
it has the only road I know
that never passes through a gate.

The bridge has stood three hundred years
and learnt one sentence off by heart:
that what goes by and disappears
was never further than the start.

So let the evening bring its light,
and let the water bring the sea;
I dropped a pebble in tonight,
and now it knows the way for me.
"""

_MIXED = """
Notes of the service desk, week 11

Call back Ruth Ellison (r.ellison@lagoon.example, +44 20 7946 0311) about order 7043; replacement valves worth
318.40 EUR were sent on 2025-03-11 with Tern Parcel, parcel number TP-55120-981.
The new price list is at https://www.alderwick.example/prices/2025?lang=en and the old
one at http://archive.alderwick.example/2019.
Henk de Boer <henk.deboer@quayside.example> asks for a credit of $1,250.00; he was charged twice on 03/07/2025.
Hotel for the fair: 14 May 2025 to 17 May 2025, EUR 412.50, booking code QX7-2291, phone 020 7946 0125.
Gdansk office: +48 58 555 01 42, gdansk@alderwick.example, open 08:30-16:30.
The supplier's VAT number is GB 123 4567 89 and the invoice says £2,480.75, due 30.04.2025.
Please forward bounced mail (no-reply@lists.example, bounce+77@lists.example) to admin@alderwick.example.
The server at 192.0.2.14 answers on port 8080; the old one at 192.0.2.9 was switched off on 28 February 2025.
Budget left: 12,300 EUR, that is 18.5 % of the plan. Next review: Monday, 24 March 2025, 10:00.
"""

_GERMAN = """
Ein Morgen auf dem Markt

Kurz vor sieben ist der Platz noch leer. Nur die Tauben gehen zwischen den Kisten umher und tun so, als gehöre ihnen
alles. Dann kommt Frau Krüger mit ihrem alten Lieferwagen, öffnet die Klappe, und plötzlich riecht es nach Äpfeln.

„Heute wird es warm“, sagt sie, ohne zum Himmel zu sehen. Sie stellt die Körbe immer in derselben Reihenfolge auf:
zuerst die Birnen, dann die Äpfel, ganz vorne die Pflaumen, weil die Leute an ihnen nicht vorbeigehen können. Auf
die kleine Tafel schreibt sie mit Kreide die Preise: Äpfel 2,80 Euro das Kilo, Birnen 3,20 Euro, Pflaumen 4,50 Euro.

Um halb acht ist der Käsehändler da, um acht der Bäcker. Zwischen den Ständen wird getauscht, bevor überhaupt jemand
etwas kauft: ein halbes Brot gegen ein Stück Bergkäse, eine Tüte Pflaumen gegen zwei Brezeln. Geld spielt dabei
keine Rolle, denn am Ende, so behaupten alle, geht es immer auf.

Der erste Kunde ist wie jeden Samstag Herr Öztürk mit seinem Hund. Er kauft drei Äpfel, einen für sich, einen für
seine Frau und einen für den Hund, der Obst lieber mag als Wurst. Größere Mengen nimmt er nie. „Sonst hätte ich ja
keinen Grund, nächste Woche wiederzukommen“, sagt er und lacht.
"""
