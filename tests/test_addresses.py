"""Where webhooks may go: nothing inside is reached through a URL, however it is written and whatever its name says."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from clinic import addresses
from clinic.addresses import Allowed, NotAllowed, allowed

INSIDE = (
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "169.254.0.1",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.0.9", "192.0.0.192", "192.0.2.1",
    "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1",
    "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1",
    "ff02::1", "5f00::1",
)  # fmt: skip
OUTSIDE = ("8.8.8.8", "1.1.1.1", "77.88.8.8", "172.32.0.1", "192.169.0.1", "2a02:6b8::feed:ff", "2606:4700::1111")


@pytest.mark.parametrize("address", INSIDE)
def test_s30_an_address_inside_is_refused(address):
    assert not addresses.is_public(ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_of_the_internet_is_taken(address):
    assert addresses.is_public(ip_address(address))


def code(url, ours="", within=2.0):
    """Why nothing is sent to `url`; None when it would be."""
    try:
        addresses.target(url, allowed(ours or None), within=within)
    except NotAllowed as exc:
        return exc.code
    return None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "0", "localhost", "localhost.",
        "LOCALHOST", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "169.254.169.254", "[fd00:ec2::254]", "10.0.0.1", "nowhere.invalid",
        "0.0.0.0", "0x0", "00.0.0.0", "0177.0.0.1", "00000177.0.0.1", "0x7f.0.0.1", "127.0.1", "127.0.0.1.",
        "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "3232235777", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]",
        "[::ffff:a9fe:a9fe]", "[64:ff9b::169.254.169.254]", "[64:ff9b:1::10.0.0.1]", "[2002:a9fe:a9fe::]",
        "[2002:c0a8:101::1]", "[fe80::1]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[0:0:0:0:0:0:0:1]", "[ff02::1]",
        "255.255.255.255",
    ],
)  # fmt: skip
def test_s30_no_writing_of_an_inner_address_gets_through(host):
    assert code(f"https://{host}/hook") == "address_not_allowed"


@pytest.mark.parametrize(
    "url",
    [
        "https://8.8.8.8@127.0.0.1/", "https://user:pass@8.8.8.8/", "https://8.8.8.8#@127.0.0.1/", "ftp://8.8.8.8/",
        "https://8.8.8.8\\@127.0.0.1/", "https:///hook", "https://8.8.8.8:443:80/", "//8.8.8.8/", "https://8.8.8.8/a b",
        "https://8.8.8.8/\r\nHost: x", "https://[fe80::1%25eth0]/", "file:///etc/passwd", "HTTPS://8.8.8.8/",
        "https://١٢٧.0.0.1/", "https://8.8.8.8/\u0130",
    ],
)  # fmt: skip
def test_s30_what_could_be_read_in_two_ways_is_no_url_of_ours(url):
    assert code(url) == "address_not_allowed"


def test_s30_strangers_are_sent_to_over_https_at_the_usual_doors_only():
    assert code("https://8.8.8.8/hook") is None
    assert code("https://8.8.8.8:8443/hook") is None
    assert code("http://8.8.8.8/hook") == "https_needed"
    assert code("https://8.8.8.8:25/hook") == code("https://8.8.8.8:80/hook") == "port_not_allowed"
    assert code("https://8.8.8.8:0/hook") == code("https://8.8.8.8:65536/hook") == "port_not_allowed"


def test_hosts_and_networks_of_our_own_are_named_in_the_settings(monkeypatch):
    monkeypatch.setattr(addresses, "look_up", lambda *_: ["10.1.2.3"])
    assert code("https://his.lan/hook") == "address_not_allowed"
    for ours in ("his.lan", "HIS.lan.", "10.1.0.0/16", "10.1.2.3", "other.lan, 10.0.0.0/8"):
        assert code("http://his.lan/hook", ours) is None, ours
        assert code("http://his.lan.:81/hook", ours) is None, ours
    for other in ("is.lan", "lan", "10.2.0.0/16", "fd00::/8"):
        assert code("https://his.lan/hook", other) == "address_not_allowed", other


@pytest.mark.parametrize("text", ["10.0.0.0/33", "his lan", "http://his.lan", "10.1.2.3/16", "his.lan,,", "*.lan"])
def test_a_setting_that_names_neither_host_nor_network_is_refused(text):
    with pytest.raises(ValueError, match="neither a host nor a network"):
        allowed(text)


def test_s30_one_inner_address_among_others_is_enough_to_refuse(monkeypatch):
    monkeypatch.setattr(addresses, "look_up", lambda *_: ["8.8.8.8", "127.0.0.1"])
    assert code("https://both.example/hook") == "address_not_allowed"
    # Nor is http allowed because one of two is ours.
    monkeypatch.setattr(addresses, "look_up", lambda *_: ["8.8.8.8", "10.0.0.1"])
    assert code("http://both.example/hook", "10.0.0.0/8") == "https_needed"


def test_s30_a_name_is_resolved_once_and_what_was_looked_at_is_what_is_connected_to(monkeypatch):
    answers = iter([["8.8.8.8"], ["127.0.0.1"]])
    monkeypatch.setattr(addresses, "look_up", lambda *_: next(answers))
    assert addresses.target("https://turns.example/hook", Allowed(), within=2).addresses == ("8.8.8.8",)
    assert code("https://turns.example/hook") == "address_not_allowed"


def test_s30_a_resolver_that_hangs_is_not_waited_for(monkeypatch):
    from threading import Event

    over = Event()
    monkeypatch.setattr(addresses, "look_up", lambda *_: over.wait(5) and ["8.8.8.8"])
    assert code("https://slow.example/hook", within=0.1) == "address_not_allowed"
    over.set()


def test_a_target_says_what_goes_into_the_request():
    found = addresses.target("https://[2606:4700::1111]:8443/a?b=c", Allowed(), within=2)
    assert (found.name, found.authority, found.path) == ("2606:4700::1111", "[2606:4700::1111]:8443", "/a?b=c")
    found = addresses.target("https://8.8.8.8?b", Allowed(), within=2)
    assert (found.authority, found.port, found.path) == ("8.8.8.8", 443, "/?b")


@pytest.mark.parametrize("address", INSIDE)
def test_s30_a_name_of_an_inner_address_is_refused(address, monkeypatch):
    """Such as the names that clouds give to the machine that knows their secrets."""
    monkeypatch.setattr(addresses, "look_up", lambda *_: [address])
    assert code("https://metadata.example/hook") == "address_not_allowed"
