"""International Morse code. Reads and writes nothing.

Source: ITU-R M.1677-1.
"""

from mcpserver.tool_error import ToolError

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,?'!/()&:;=+-_\"@"
_SIGNS = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
    "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----. .-.-.- --..-- ..--.. .----. -.-.-- -..-. "
    "-.--. -.--.- .-... ---... -.-.-. -...- .-.-. -....- ..--.- .-..-. .--.-."
)
_BY_LETTER = dict(zip(_LETTERS, _SIGNS.split(" ")))
_BY_SIGNS = {signs: letter for letter, signs in _BY_LETTER.items()}


def to_morse(text: str) -> str:
    """A text in Morse code, words parted by a slash.

    Raises:
        ToolError: a character that has none.
    """
    words = text.lower().split()
    if strange := sorted({letter for word in words for letter in word} - _BY_LETTER.keys()):
        raise ToolError("bad_arguments", f"text: there is no Morse code for {strange[0]!r}")
    return " / ".join(" ".join(_BY_LETTER[letter] for letter in word) for word in words)


def from_morse(text: str) -> str:
    """The text of Morse code, in small letters.

    Raises:
        ToolError: signs that stand for nothing.
    """
    words = [word.split() for word in text.split("/")]
    if strange := sorted({signs for word in words for signs in word} - _BY_SIGNS.keys()):
        raise ToolError("bad_arguments", f"text: {strange[0][:20]!r} stands for nothing in Morse code")
    return " ".join("".join(_BY_SIGNS[signs] for signs in word) for word in words)
