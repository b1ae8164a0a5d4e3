"""The settings: read once, every problem at once, and nothing that strangers could reach."""

import socket
from pathlib import Path

import pytest

from dualbus.runtime.errors import ConfigError
from dualbus.runtime.settings import Settings


def problems(**environ: str) -> list[str]:
    """Return the sentences with which these variables are refused; none if they are right."""
    try:
        Settings.from_env({f"DUALBUS_{name.upper()}": value for name, value in environ.items()})
    except ConfigError as fault:
        return fault.errors
    return []


def test_with_nothing_said_everything_has_a_value() -> None:
    settings = Settings.from_env({"PATH": "/bin", "HOME": "/"})

    assert settings == Settings()
    assert settings.front == "tcp://127.0.0.1:5570"
    assert (settings.app, settings.data, settings.timeout_ms) == ("users:app", Path("data"), 5000)


def test_what_is_said_is_what_counts_and_an_empty_value_says_nothing() -> None:
    settings = Settings.from_env(
        {
            "DUALBUS_FRONT": "ipc:///tmp/front",
            "DUALBUS_EVENTS": "tcp://localhost:6000",
            "DUALBUS_APP": "examples.bank:app",
            "DUALBUS_DATA": "/var/lib/dualbus",
            "DUALBUS_TIMEOUT_MS": "250",
            "DUALBUS_BACK": "",
        }
    )

    assert settings == Settings(
        front="ipc:///tmp/front",
        events="tcp://localhost:6000",
        app="examples.bank:app",
        data=Path("/var/lib/dualbus"),
        keys=Path("/var/lib/dualbus/keys"),
        timeout_ms=250,
    )


def test_the_settings_say_what_they_are() -> None:
    assert str(Settings()) == (
        "front=tcp://127.0.0.1:5570, back=tcp://127.0.0.1:5571, events=tcp://127.0.0.1:5572, "
        "progress=tcp://127.0.0.1:5573, http=http://127.0.0.1:5580, app=users:app, data=data, keys=data/keys, "
        "timeout_ms=5000, "
        "log_format=text, log_level=info, "
        f"log=sqlite:, host={socket.gethostname()}"
    )


def test_what_cannot_be_used_is_said_with_an_exit_code_of_its_own() -> None:
    with pytest.raises(ConfigError) as fault:
        Settings.from_env({"DUALBUS_FRONT": "nonsense"})

    assert fault.value.exit_code == 78


def test_every_problem_is_said_at_once() -> None:
    found = problems(front="nonsense", back="tcp://0.0.0.0:1", keys="off", app="users", timeout_ms="0", colour="red")

    assert [sentence.split()[0] for sentence in found] == [
        "DUALBUS_COLOUR",
        "DUALBUS_FRONT",
        "DUALBUS_BACK",
        "DUALBUS_TIMEOUT_MS",
        "DUALBUS_APP",
    ]
    assert found[0].endswith("The settings are " + ", ".join(f"DUALBUS_{name}" for name in NAMES) + ".")


NAMES = [
    "FRONT",
    "BACK",
    "EVENTS",
    "PROGRESS",
    "HTTP",
    "HTTP_CERT",
    "HTTP_KEY",
    "HTTP_ORIGIN",
    "APP",
    "DATA",
    "KEYS",
    "TIMEOUT_MS",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "LOG",
    "HOST",
]


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:5570", "tcp://127.9.9.9:1", "tcp://localhost:65535", "ipc:///tmp/x", "ipc://x"]
)
@pytest.mark.parametrize("name", ["front", "back", "events", "progress"])
def test_an_address_of_this_machine_is_right(name: str, address: str) -> None:
    assert problems(**{name: address}) == []


@pytest.mark.parametrize(
    "address",
    [
        "nonsense",
        "5570",
        "127.0.0.1:5570",
        "udp://127.0.0.1:5570",
        "tcp://127.0.0.1",
        "tcp://:5570",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:port",
        "tcp://127.0.0.1:5570/path",
        "tcp://someone@127.0.0.1:5570",
        "tcp://[::1:5570",
        "ipc://",
        "inproc://x",
    ],
)
def test_what_is_not_an_address_is_refused(address: str) -> None:
    assert problems(front=address) == [
        f"DUALBUS_FRONT is {address!r}: use tcp://127.0.0.1:PORT or ipc://PATH.",
    ]


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "*",
        "192.168.1.5",
        "10.0.0.1",
        "[::]",
        "[2001:db8::1]",
        "eth0",
        "example.org",
        "localhost.example.org",
    ],
)
@pytest.mark.parametrize("name", ["front", "back", "events", "progress"])
def test_an_address_that_other_machines_can_reach_needs_keys(name: str, host: str) -> None:
    assert problems(**{name: f"tcp://{host}:5570"}) == []

    [sentence] = problems(**{name: f"tcp://{host}:5570", "keys": "off"})

    assert sentence.startswith(f"DUALBUS_{name.upper()} is 'tcp://{host}:5570', which other machines can reach")


def test_keys_are_in_the_data_folder_or_elsewhere_or_off() -> None:
    def keys(**environ: str) -> Path | None:
        return Settings.from_env({"DUALBUS_DATA": "/d", **environ}).keys

    assert keys() == keys(DUALBUS_KEYS="") == Path("/d/keys")
    assert keys(DUALBUS_KEYS="/run/keys") == Path("/run/keys")
    assert keys(DUALBUS_KEYS="off") is None
    assert "keys=off" in str(Settings.from_env({"DUALBUS_KEYS": "off"}))


@pytest.mark.parametrize("timeout", ["0", "-5", "5.5", "5s", "١٢", "00", "3600001", "10000000", " 5", "1e3"])
def test_a_timeout_is_whole_milliseconds(timeout: str) -> None:
    assert problems(timeout_ms=timeout) == [
        f"DUALBUS_TIMEOUT_MS is {timeout!r}: use milliseconds, from 1 to 3600000.",
    ]


def test_the_format_and_the_level_of_the_log_are_among_a_few() -> None:
    assert problems(log_format="json", log_level="error") == []
    assert problems(log_format="xml", log_level="DEBUG") == [
        "DUALBUS_LOG_FORMAT is 'xml': use text or json.",
        "DUALBUS_LOG_LEVEL is 'DEBUG': use info, warning or error.",
    ]


@pytest.mark.parametrize("app", ["users", "users:", ":app", "users.py:app:x", "users/app", ".users:app", "a..b:app"])
def test_an_application_is_named_by_its_module_and_its_name_there(app: str) -> None:
    assert problems(app=app) == [f"DUALBUS_APP is {app!r}: use module:name, such as users:app."]


def test_front_and_back_may_be_lists_and_the_first_address_is_that_of_this_machine() -> None:
    settings = Settings.from_env(
        {"DUALBUS_FRONT": "tcp://127.0.0.1:1,ipc:///a", "DUALBUS_BACK": "ipc:///b,tcp://127.0.0.2:3,tcp://[::1]:4"}
    )

    assert (settings.front, settings.other_fronts) == ("tcp://127.0.0.1:1", ("ipc:///a",))
    assert (settings.back, settings.other_backs) == ("ipc:///b", ("tcp://127.0.0.2:3", "tcp://[::1]:4"))
    assert "back=ipc:///b,tcp://127.0.0.2:3,tcp://[::1]:4," in str(settings)
    assert problems(back="ipc:///b,nonsense") == [
        "DUALBUS_BACK is 'nonsense': use tcp://127.0.0.1:PORT or ipc://PATH."
    ]
    assert problems(events="ipc:///b,ipc:///c") == []  # a path may have a comma


def test_the_password_of_the_log_is_not_shown() -> None:
    assert "log=nats://…@h/name," in str(Settings(log="nats://ada:secret@h/name"))
    assert "log=postgresql://h/name," in str(Settings(log="postgresql://h/name?user=ada&password=secret"))


@pytest.mark.parametrize("address", ["http://127.0.0.1:5580", "http://localhost:80", "http://[::1]:8080/"])
def test_the_address_of_http_is_on_this_machine(address: str) -> None:
    assert problems(http=address) == []


@pytest.mark.parametrize(
    "address", ["127.0.0.1:5580", "ftp://127.0.0.1:5580", "http://127.0.0.1", "http://127.0.0.1:0", "http://a:1/x"]
)
def test_another_form_of_an_address_of_http_is_refused(address: str) -> None:
    assert problems(http=address) == [f"DUALBUS_HTTP is {address!r}: use http://127.0.0.1:PORT or https://HOST:PORT."]


FILES = {"http_cert": "cert.pem", "http_key": "key.pem"}
OPEN = "http://0.0.0.0:80"
PROXY = "https://shop.example.org"


def test_http_off_loopback_needs_tls_and_tokens() -> None:
    assert problems(http="https://0.0.0.0:443", **FILES) == problems(http=OPEN, http_origin=PROXY) == []

    refused = [
        (f"DUALBUS_HTTP is {OPEN!r}, which other machines can reach without TLS", {"http": OPEN}),
        ("DUALBUS_HTTP is 'https://a:443', which other", {"http": "https://a:443", **FILES, "keys": "off"}),
        (f"DUALBUS_HTTP_ORIGIN is {PROXY!r}, which other", {"http": OPEN, "http_origin": PROXY, "keys": "off"}),
        (f"DUALBUS_HTTP_ORIGIN is {PROXY!r}, which other", {"http_origin": PROXY, "keys": "off"}),
        ("DUALBUS_HTTP is 'https://a:443': set DUALBUS_HTTP_CERT and", {"http": "https://a:443"}),
        ("DUALBUS_HTTP is 'https://a:443': set", {"http": "https://a:443", "http_cert": "c", "http_origin": PROXY}),
        ("DUALBUS_HTTP_CERT or DUALBUS_HTTP_KEY is set, and DUALBUS_HTTP is", FILES),
    ]
    for beginning, values in refused:
        [sentence] = problems(**values)
        assert sentence.startswith(beginning)


@pytest.mark.parametrize("origin", ["http://a", "https://a/b", "https://:1", "a", "https://u@a", "https://a:x", "*"])
def test_another_form_of_an_origin_is_refused(origin: str) -> None:
    assert problems(http_origin=origin) == [
        f"DUALBUS_HTTP_ORIGIN is {origin!r}: use the address in browsers, such as https://HOST."
    ]


def test_the_address_in_browsers_is_the_origin_or_the_address() -> None:
    shop = Settings.from_env({"DUALBUS_HTTP_ORIGIN": "https://Shop.example.org:443/"})
    assert (shop.browser_origin, shop.has_tls) == ("https://shop.example.org", True)
    assert (Settings().browser_origin, Settings().has_tls) == ("http://127.0.0.1:5580", False)


@pytest.mark.parametrize(
    ("values", "port"),
    [
        ({"http": "http://127.0.0.1:5580"}, 5580),
        ({"http": "https://127.0.0.1:5581"}, 5581),
        ({"http": "http://127.0.0.1:5582", "http_origin": "https://shop.example.org"}, 443),
        ({"http": "http://127.0.0.1:5583", "http_origin": "https://shop.example.org:8443"}, 8443),
    ],
)
def test_all_web_processes_behind_an_address_have_the_same_cookies(values: dict[str, str], port: int) -> None:
    assert Settings(**values).cookie_port == port  # type: ignore[arg-type]
