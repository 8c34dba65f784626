"""What a payload asks the proxy for, read in one way only; and where no name may lead."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent.destinations import FIELDS_MAX, Destination, parse_head, permitted

PRIVATE = (
    *("127.0.0.1", "10.0.0.1", "172.16.5.4", "192.168.1.1", "100.64.0.1", "255.255.255.255"),
    *("::1", "fc00::1", "fd20:ce::1", "::ffff:10.0.0.1", "2001:db8::1"),
)
NOWHERE = (
    *("0.0.0.0", "169.254.169.254", "169.254.170.2", "224.0.1.1", "239.255.255.250"),  # noqa: S104 (must be refused)
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "192.88.99.0", "192.88.99.1", "192.88.99.255"),
    *(
        "::",
        "::2",
        "::7f00:1",
        "::203.0.114.1",
        "::a9fe:a9fe",
        "::ffff:169.254.169.254",
        "::ffff:168.63.129.16",
    ),
    *("::ffff:0:7f00:1", "::ffff:0:203.0.114.1", "::ffff:0:0", "fe80::1", "fe80::1%eth0", "ff02::1"),
    *(
        "fec0::1",
        "feff:ffff::1",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fd00:42::42",
    ),
    *("64:ff9b::a9fe:a9fe", "64:ff9b::203.0.114.1", "64:ff9b:1::a00:1", "2002:a9fe:a9fe::1", "2001::1"),
    *("not an address", ""),
)
PUBLIC = (
    "203.0.114.1",
    "168.63.129.17",
    "192.88.98.255",
    "192.88.100.1",
    "::ffff:203.0.114.1",
    "2400:4000::1",
)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_only_an_operator_opens(address: str) -> None:
    assert not permitted(address, permit_private=False)
    assert permitted(address, permit_private=True)


@pytest.mark.parametrize("address", NOWHERE)
def test_addresses_that_no_name_may_lead_to(address: str) -> None:
    assert not permitted(address, permit_private=False)
    assert not permitted(address, permit_private=True)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_others_are_open(address: str) -> None:
    assert permitted(address, permit_private=False)


@pytest.mark.parametrize(
    "fields",
    [
        b"Host: a.example\r\nHost: a.example\r\n",
        b"Host: b.example\r\n",
        b"Host: a.example:81\r\n",
        b"Host: a.example, b.example\r\n",
        b"Host : a.example\r\n",
        b"Accept: x\r\n y\r\n",
        b"Accept: x\r\n\ty\r\n",
        b" Accept: x\r\n",
        b"Accept: x\nHost: b.example\r\n",
        b"Accept: x\rHost: b.example\r\n",
        b"Accept: x\0\r\n",
        b"Accept: x\x85Host: b.example\r\n",
        b"Accept: \xe3\x83\x87\r\n",
        b"Accept\r\n",
        b": x\r\n",
        b"Acc ept: x\r\n",
        b"Content-Length: 0\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"transfer-encoding: identity\r\nContent-Length: 5\r\n",
        b"Trailer: x\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: websocket\r\n",
        b"Connection: upgrade\r\n",
        b"Connection: keep-alive\r\nConnection: close, host\r\n",
        b"Connection: keep-alive, authorization\r\n",
        b"X: y\r\n" * (FIELDS_MAX + 1),
        b"\r\nAccept: x\r\n",
        b"Accept: x",
    ],
)
def test_a_field_that_could_be_read_in_two_ways_is_refused(fields: bytes) -> None:
    for first in (b"GET http://a.example/ HTTP/1.1\r\n", b"CONNECT a.example:80 HTTP/1.1\r\n"):
        assert parse_head(first + b"Accept: x\r\n") is not None
        assert parse_head(first + fields) is None


def test_what_ordinary_clients_send_is_understood() -> None:
    told = b"Host: A.example:443\r\nUser-Agent: curl/8\r\nProxy-Connection: Keep-Alive\r\n"
    assert parse_head(b"CONNECT a.example:443 HTTP/1.0\r\n") == Destination("a.example", 443, b"")
    assert parse_head(b"CONNECT A.Example:443 HTTP/1.1\r\n") == Destination("a.example", 443, b"")
    assert parse_head(b"CONNECT a.example:443 HTTP/1.1\r\n" + told) == Destination("a.example", 443, b"")
    assert parse_head(b"CONNECT [2400:4000::1]:443 HTTP/1.1\r\n") == Destination("2400:4000::1", 443, b"")
    line = b"HEAD http://[2400:4000::1]:8080?a=%20?b HTTP/1.0\r\n"
    passed = parse_head(line + b"TE: trailers\r\nConnection: TE, close\r\nCookie:\r\n")
    assert passed is not None
    assert passed.name == "2400:4000::1:8080"
    assert passed.head == (
        b"HEAD /?a=%20?b HTTP/1.0\r\nhost: [2400:4000::1]:8080\r\ncookie: \r\nconnection: close\r\n\r\n"
    )


def joined(first: str, lines: list[str], end: str = "\r\n") -> bytes:
    return end.join([first, *lines, ""]).encode("latin-1")


PIECES = st.sampled_from(
    [
        *(
            "GET",
            "HEAD",
            "CONNECT",
            "POST",
            " ",
            "\t",
            "\r",
            "\n",
            "\r\n",
            "\0",
            ":",
            ",",
            "/",
            "?",
            "#",
            "@",
            "[",
            "]",
        ),
        *(
            "http://",
            "a.example",
            "b.example",
            "80",
            "443",
            "HTTP/1.1",
            "HTTP/1.0",
            "HTTP/2",
            "Host: ",
            "accept: x",
        ),
        *(
            "Connection: ",
            "close",
            "Transfer-Encoding: chunked",
            "Content-Length: 3",
            "Upgrade: x",
            "%41",
            "\x0b",
            "\x85",
        ),
    ]
)
LINES = st.lists(PIECES, max_size=8).map("".join) | st.sampled_from(
    ["Accept: x", "Range: y", "host: a.example"]
)
FIRST = LINES | st.builds(
    "GET http://{}{} HTTP/1.1".format, st.sampled_from(["a.example", "a.example:8080"]), LINES
)
HEADS = st.builds(
    joined,
    FIRST,
    st.lists(LINES, max_size=4),
    st.sampled_from(["\r\n", "\n", "\r\n\r\n"]),
)


ORDINARY = st.builds(
    joined,
    st.builds(
        "{} http://{}{} HTTP/1.{}".format,
        st.sampled_from(["GET", "HEAD"]),
        st.sampled_from(["a.example", "A.example:80", "a.example:8080"]),
        st.from_regex(r"(/[a-zA-Z0-9?&=+.,;:@!$'()*~_/-]{0,12})?", fullmatch=True),
        st.sampled_from("01"),
    ),
    st.lists(
        st.builds(
            "{}:{}".format,
            st.sampled_from(["accept", "Range", "COOKIE", "x-host", "te"]),
            st.text("\t ,:;=az\x7f\x80\0", max_size=6),
        )
        | st.sampled_from(["host: a.example", "Connection: close, TE"]),
        max_size=4,
    ),
)


@given(HEADS | ORDINARY | st.binary(max_size=200))
def test_what_is_passed_on_is_one_request_to_the_listed_host_for_a_lenient_reader_too(head: bytes) -> None:
    found = parse_head(head)
    if found is None or not found.head:
        return
    assert found.head.count(b"\n") == found.head.count(b"\r\n") == found.head.count(b"\r")
    server = h11.Connection(h11.SERVER)
    server.receive_data(found.head)
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target[:1]) in {(b"GET", b"/"), (b"HEAD", b"/")}
    named = [value.decode() for name, value in request.headers if name == b"host"]
    assert named == [found.host if found.port == 80 else found.name]
    assert isinstance(server.next_event(), h11.EndOfMessage)
    assert server.trailing_data == (b"", False)
    assert server.their_state is h11.MUST_CLOSE
