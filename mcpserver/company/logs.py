"""The log files of the company world."""

import datetime

from mcpserver.company.made import Files, Made, generator, made_text

_MESSAGES: dict[str, dict[str, tuple[str, ...]]] = {
    "INFO": {
        "auth": ("user {user} logged in", "session of {user} renewed"),
        "orders": ("order {number} stored in {ms} ms", "order {number} printed"),
        "stock": ("stock of P-{article} set to {number}", "count of warehouse {place} finished"),
        "http": ("GET /products took {ms} ms", "POST /orders took {ms} ms"),
    },
    "WARNING": {
        "auth": ("wrong password for {user}",),
        "stock": ("stock of P-{article} below reorder level",),
        "http": ("slow answer: GET /search took 2{ms} ms",),
        "disk": ("volume data is {percent} % full",),
    },
    "ERROR": {
        "orders": ("order {number} rejected: unknown article P-{article}", "order {number} rejected: credit limit"),
        "mail": ("connection to mail.alderwick.example timed out",),
        "http": ("POST /orders failed with status 500",),
    },
}
_PAGES = (
    "/",
    "/products",
    "/products/P-101",
    "/products/P-112",
    "/search?q=pump",
    "/cart",
    "/orders",
    "/faq",
    "/logo.png",
)
_JOBS = ("backup", "fetch_orders", "fetch_meters", "clean", "join", "report", "mail")


def make_logs() -> Files:
    """The three files under ``logs/``."""
    return {"logs/server.log": _server(), "logs/access.log": _access(), "logs/jobs.log": _jobs()}


def _server() -> Made:
    rng = generator("server.log")
    time = datetime.datetime(2025, 3, 14, 8, 0, 1)
    lines = []
    for _ in range(200):
        level = rng.choices(tuple(_MESSAGES), (15, 4, 2))[0]
        module = rng.choice(tuple(_MESSAGES[level]))
        message = rng.choice(_MESSAGES[level][module]).format(
            user=rng.choice(("amelia", "oscar", "priya", "viktor", "noor")),
            number=rng.randrange(5000, 5400),
            ms=rng.randrange(12, 480),
            article=rng.randrange(101, 131),
            place=rng.choice(("Leeds", "Rotterdam", "Gdansk")),
            percent=rng.randrange(80, 97),
        )
        lines.append(f"{time} {level} {module} {message}")
        time += datetime.timedelta(seconds=rng.randrange(3, 190))
    return made_text("\n".join(lines), "The server's log of 14 March 2025: 200 lines with level, module and message.")


def _access() -> Made:
    rng = generator("access.log")
    hosts = [f"192.0.2.{rng.randrange(2, 250)}" for _ in range(14)]
    time = datetime.datetime(2025, 3, 14, 6, 0, 0)
    lines = []
    for _ in range(150):
        time += datetime.timedelta(seconds=rng.randrange(1, 420))
        method, page = ("POST", "/orders") if rng.random() < 0.12 else ("GET", rng.choice(_PAGES))
        status = rng.choices((200, 304, 404, 500, 302), (80, 8, 7, 3, 2))[0]
        size = "-" if status == 304 else str(rng.randrange(180, 24000))
        lines.append(
            f'{rng.choice(hosts)} - - [{time:%d/%b/%Y:%H:%M:%S} +0000] "{method} {page} HTTP/1.1" {status} {size}'
        )
    return made_text(
        "\n".join(lines), "The web server's requests of 14 March 2025 in the common log format, 150 lines."
    )


def _jobs() -> Made:
    rng = generator("jobs.log")
    lines = []
    for day in range(3, 15):
        time = datetime.datetime(2025, 3, day, 2, 0, 0)
        for job in _JOBS:
            seconds = rng.randrange(20, 400)
            ok = rng.random() > 0.06
            lines.append(f"{time:%Y-%m-%dT%H:%M:%S} job={job} state={'ok' if ok else 'failed'} seconds={seconds}")
            time += datetime.timedelta(seconds=seconds + 5)
    return made_text(
        "\n".join(lines), "The nightly jobs of 3 to 14 March 2025 with state and duration, key=value lines."
    )
