"""Every inner command: good and bad input, against the grammar of docs/protocol-commands.md."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.phone_bench import OAEP, PIN, WRONG, Bench, encrypt, pin

from phone_link.at.codec import parse_values, quote
from phone_link.at.types import Argument, Command, Form
from phone_link.cryptoki import (
    CK_FALSE,
    CK_TRUE,
    CKA,
    CKF,
    CKO,
    CKR,
    Template,
    decode_template,
    encode_template,
    encode_ulong,
)
from phone_link.errors import (
    DecryptFailed,
    KeyNotFound,
    PhoneError,
    PinIncorrect,
    PinLocked,
    PinRequired,
    ProtocolError,
)
from phone_link.phone.dispatch import COMMANDS, handler_for
from phone_link.phone.security_manager import MAX_SESSIONS

SECRET = bytes(range(32))


def refused(bench: Bench, line: str) -> int:
    with pytest.raises(PhoneError) as caught:
        bench.run(line)
    return caught.value.ckr


def template(*attributes: tuple[int, bytes]) -> str:
    return encode_template(attributes).hex().upper()


@pytest.fixture
def logged_in(bench: Bench) -> Bench:
    bench.manager.login_here(pin())
    assert bench.session() == 1
    return bench


def find(bench: Bench, *attributes: tuple[int, bytes]) -> list[int]:
    *handles, more = bench.only(f'*PFIND=1,"{template(*attributes)}"').split(",")
    assert more == "0"
    return [int(handle) for handle in handles]


def private_handle(bench: Bench) -> int:
    (handle,) = find(bench, (CKA.CLASS, encode_ulong(CKO.PRIVATE_KEY)))
    return handle


# Information


def test_info(bench: Bench) -> None:
    assert bench.only("*PINFO?") == '"2.40","phonevault","test phone","0.1.0"'


def test_slots(bench: Bench) -> None:
    assert bench.only("*PSLOTS=0") == bench.only("*PSLOTS=1") == "0"
    assert refused(bench, "*PSLOTS=2") == CKR.ARGUMENTS_BAD
    assert bench.only("*PSLOT=0") == '0,"key store of the phone","phonevault",1'
    assert refused(bench, "*PSLOT=1") == CKR.SLOT_ID_INVALID


def token_flags(bench: Bench) -> tuple[int, str]:
    values = parse_values(bench.only("*PTOK=0"))
    assert [values[i].string() for i in (1, 2, 3)] == ["test phone", "phonevault", "software"]
    return values[5].hex_integer(), values[6].token


def test_token_info_tells_the_state_of_the_pin(bench: Bench) -> None:
    flags, left = token_flags(bench)
    assert left == "3" and flags & CKF.TOKEN_LOGIN_REQUIRED
    assert not flags & (CKF.TOKEN_USER_PIN_COUNT_LOW | CKF.TOKEN_USER_PIN_LOCKED)
    with pytest.raises(PinIncorrect):
        bench.manager.login_here(pin(WRONG))
    assert token_flags(bench)[0] & CKF.TOKEN_USER_PIN_COUNT_LOW
    with pytest.raises(PinIncorrect):
        bench.manager.login_here(pin(WRONG))
    assert token_flags(bench)[0] & CKF.TOKEN_USER_PIN_FINAL_TRY
    with pytest.raises(PinLocked):
        bench.manager.login_here(pin(WRONG))
    flags, left = token_flags(bench)
    assert left == "0" and flags & CKF.TOKEN_USER_PIN_LOCKED
    assert refused(bench, "*PTOK=3") == CKR.SLOT_ID_INVALID


def test_mechanisms(bench: Bench) -> None:
    assert bench.only("*PMECH=0") == "0,9"
    assert bench.only("*PMECH=0,9") == "9,2048,4096,200"
    assert bench.only("*PMECH=0,0") == "0,2048,4096,10000"
    assert refused(bench, "*PMECH=0,1") == CKR.MECHANISM_INVALID
    assert refused(bench, "*PMECH=1") == CKR.SLOT_ID_INVALID


# Sessions


def test_sessions_open_and_close(bench: Bench) -> None:
    assert bench.session() == 1
    assert bench.session(flags=4) == 2
    assert bench.only("*PSES=1") == "1,0,2,6"
    assert bench.only("*PSES=2") == "2,0,0,4"
    assert bench.run("*PCLOSE=1").lines == ()
    assert refused(bench, "*PSES=1") == CKR.SESSION_HANDLE_INVALID
    assert refused(bench, "*PCLOSE=1") == CKR.SESSION_HANDLE_INVALID
    assert bench.run("*PCLOSEALL=0").ok
    assert refused(bench, "*PSES=2") == CKR.SESSION_HANDLE_INVALID
    assert bench.session() == 3  # a handle is not used again


@pytest.mark.parametrize(
    ("line", "ckr"),
    [
        ("*POPEN=1,6", CKR.SLOT_ID_INVALID),
        ("*POPEN=0,2", CKR.SESSION_PARALLEL_NOT_SUPPORTED),
        ("*POPEN=0,C", CKR.ARGUMENTS_BAD),
        ("*PCLOSEALL=1", CKR.SLOT_ID_INVALID),
        ("*PLOGIN=9,1", CKR.SESSION_HANDLE_INVALID),
        ("*PLOGOUT=9", CKR.SESSION_HANDLE_INVALID),
        ("*PFIND=9", CKR.SESSION_HANDLE_INVALID),
        ("*PATTR=9,1,0", CKR.SESSION_HANDLE_INVALID),
        ('*PGENKP=9,0,"",""', CKR.SESSION_HANDLE_INVALID),
        (f'*PDEC=9,{OAEP},1,""', CKR.SESSION_HANDLE_INVALID),
        ("*PRAND=9,1", CKR.SESSION_HANDLE_INVALID),
        ('*PSIGN=1,1,1,""', CKR.FUNCTION_NOT_SUPPORTED),
        ("*PFIND2=1", CKR.FUNCTION_NOT_SUPPORTED),
    ],
)
def test_what_does_not_exist_is_refused(bench: Bench, line: str, ckr: CKR) -> None:
    assert refused(bench, line) == ckr


def test_sessions_are_bounded_and_belong_to_one_connection(bench: Bench) -> None:
    for _ in range(MAX_SESSIONS):
        bench.session()
    assert refused(bench, "*POPEN=0,4") == CKR.SESSION_COUNT
    other = bench.connect()
    with pytest.raises(PhoneError) as caught:
        bench.run("*PSES=1", other)
    assert caught.value.ckr == CKR.SESSION_HANDLE_INVALID


# Login


def test_login_with_the_pin_from_the_computer(bench: Bench) -> None:
    bench.session()
    assert bench.run(f'*PLOGIN=1,1,"{PIN.decode()}"').ok
    assert bench.only("*PSES=1") == "1,0,3,6"
    assert refused(bench, '*PLOGIN=1,1,"1234"') == CKR.USER_ALREADY_LOGGED_IN
    assert bench.run("*PLOGOUT=1").ok
    assert bench.only("*PSES=1") == "1,0,2,6"
    assert not bench.module.logged_in
    assert refused(bench, "*PLOGOUT=1") == CKR.USER_NOT_LOGGED_IN


def test_wrong_pins_from_the_computer_are_counted_logged_and_block(bench: Bench) -> None:
    bench.session()
    for left in (2, 1):
        with pytest.raises(PinIncorrect) as caught:
            bench.run('*PLOGIN=1,1,"9999"')
        assert caught.value.tries_left == left
    assert refused(bench, '*PLOGIN=1,1,"9999"') == CKR.PIN_LOCKED
    assert refused(bench, '*PLOGIN=1,1,"1234"') == CKR.PIN_LOCKED
    assert bench.events() == ["wrong pin", "wrong pin", "pin blocked", "pin blocked"]
    assert all(entry.computer == "laptop" for entry in bench.entries)


def test_login_with_the_pin_typed_on_the_phone(bench: Bench) -> None:
    bench.session()
    assert refused(bench, "*PLOGIN=1,1") == CKR.USER_NOT_LOGGED_IN  # nobody types
    bench.user.typed_pin = WRONG
    assert refused(bench, "*PLOGIN=1,1") == CKR.PIN_INCORRECT
    bench.user.typed_pin = PIN
    assert bench.run("*PLOGIN=1,1").ok
    assert bench.user.pin_wanted_by == ["laptop"] * 3
    assert bench.manager.is_logged_in(bench.connect())  # for every connection


@pytest.mark.parametrize("line", ['*PLOGIN=1,0,"1234"', '*PLOGIN=1,2,"1234"'])
def test_only_the_user_logs_in(bench: Bench, line: str) -> None:
    bench.session()
    assert refused(bench, line) == CKR.USER_TYPE_INVALID
    assert bench.module.info().pin_tries_left == 3


def test_a_pin_that_cannot_be_one_is_not_counted(bench: Bench) -> None:
    bench.session()
    assert refused(bench, f'*PLOGIN=1,1,"{"1" * 17}"') == CKR.PIN_LEN_RANGE
    assert bench.module.info().pin_tries_left == 3


# Objects


def test_public_objects_are_found_before_login_private_ones_after(bench: Bench) -> None:
    bench.session()
    (public,) = find(bench)
    assert find(bench, (CKA.CLASS, encode_ulong(CKO.PRIVATE_KEY))) == []
    bench.manager.login_here(pin())
    assert len(find(bench)) == 2
    assert find(bench, (CKA.CLASS, encode_ulong(CKO.PUBLIC_KEY))) == [public]
    assert bench.only("*PFIND=1") == "1,2,0"


def test_find_by_attributes(logged_in: Bench) -> None:
    (key,) = logged_in.module.key_pairs()
    by_id = find(logged_in, (CKA.ID, key.id), (CKA.DECRYPT, CK_TRUE))
    assert by_id == find(logged_in, (CKA.CLASS, encode_ulong(CKO.PRIVATE_KEY)))
    assert len(find(logged_in, (CKA.LABEL, b"vault key"))) == 2
    assert find(logged_in, (CKA.LABEL, b"vault")) == []
    assert find(logged_in, (CKA.DECRYPT, CK_FALSE)) == []
    assert find(logged_in, (CKA.PRIVATE_EXPONENT, b"\x01")) == []
    assert find(logged_in, (0x12345678, b"")) == []


@pytest.mark.parametrize(
    "data", ["00", "000000000001", "00000000FFFF00", template((3, b"a")) * 2, "00" * 4097, "0"]
)
def test_a_malformed_template_is_refused(logged_in: Bench, data: str) -> None:
    with pytest.raises(ProtocolError):
        logged_in.run(f'*PFIND=1,"{data}"')


def test_attributes_come_one_a_line_each_with_its_own_result(logged_in: Bench) -> None:
    (key,) = logged_in.module.key_pairs()
    handle = private_handle(logged_in)
    kinds = (CKA.LABEL, CKA.PRIVATE_EXPONENT, 0x4711, CKA.MODULUS, CKA.PUBLIC_EXPONENT, CKA.SENSITIVE)
    lines = logged_in.run(f"*PATTR=1,{handle}," + ",".join(f"{kind:X}" for kind in kinds)).lines
    modulus = f"{key.modulus:X}"
    assert lines == (
        f'*PATTR: 3,0,9,"{b"vault key".hex().upper()}"',
        "*PATTR: 123,11,0",
        "*PATTR: 4711,12,0",
        f'*PATTR: 120,0,256,"{modulus}"',
        '*PATTR: 122,0,3,"010001"',
        '*PATTR: 103,0,1,"01"',
    )


@pytest.mark.parametrize("kind", [CKA.PRIME_1, CKA.PRIME_2, CKA.EXPONENT_1, CKA.EXPONENT_2, CKA.COEFFICIENT])
def test_sensitive_attributes_are_never_told(logged_in: Bench, kind: CKA) -> None:
    assert logged_in.only(f"*PATTR=1,{private_handle(logged_in)},{kind:X}") == f"{kind:X},11,0"


def test_attributes_of_a_public_key(bench: Bench) -> None:
    bench.session()
    (handle,) = find(bench)
    wanted = {CKA.CLASS: "00000002", CKA.MODULUS_BITS: "00000800", CKA.PRIVATE: "00", CKA.ENCRYPT: "01"}
    for kind, value in wanted.items():
        assert bench.only(f"*PATTR=1,{handle},{kind:X}") == f'{kind:X},0,{len(value) // 2},"{value}"'


def test_an_object_that_may_not_be_seen_has_no_attributes(logged_in: Bench) -> None:
    handle = private_handle(logged_in)
    logged_in.manager.logout_all()
    assert refused(logged_in, f"*PATTR=1,{handle},0") == CKR.OBJECT_HANDLE_INVALID
    assert refused(logged_in, "*PATTR=1,77,0") == CKR.OBJECT_HANDLE_INVALID
    with pytest.raises(ProtocolError):
        logged_in.run("*PATTR=1,1")


# Key generation

PUBLIC: Template = (
    (CKA.CLASS, encode_ulong(CKO.PUBLIC_KEY)),
    (CKA.TOKEN, CK_TRUE),
    (CKA.ENCRYPT, CK_TRUE),
    (CKA.MODULUS_BITS, encode_ulong(2048)),
    (CKA.PUBLIC_EXPONENT, b"\x01\x00\x01"),
    (CKA.LABEL, b"second"),
)
PRIVATE: Template = (
    (CKA.PRIVATE, CK_TRUE),
    (CKA.SENSITIVE, CK_TRUE),
    (CKA.DECRYPT, CK_TRUE),
    (CKA.ID, b"\x07"),
)


def generate(
    public: Template = PUBLIC, private: Template = PRIVATE, session: int = 1, mechanism: str = "0"
) -> str:
    return f'*PGENKP={session},{mechanism},"{template(*public)}","{template(*private)}"'


def test_a_key_pair_is_made_with_consent(logged_in: Bench) -> None:
    public, private = (int(handle) for handle in logged_in.only(generate()).split(","))
    assert find(logged_in, (CKA.ID, b"\x07")) == [public, private]
    assert [question.purpose for question in logged_in.user.questions] == ["make a new key"]
    assert logged_in.events()[-1] == "key made"
    assert logged_in.only(f"*PATTR=1,{private},3") == f'3,0,6,"{b"second".hex().upper()}"'


def test_no_key_pair_without_login_or_consent(bench: Bench) -> None:
    bench.session()
    with pytest.raises(PinRequired):
        bench.run(generate())
    bench.manager.login_here(pin())
    bench.user.granted = False
    assert refused(bench, generate()) == CKR.FUNCTION_REJECTED
    assert len(bench.module.key_pairs()) == 1
    bench.session(flags=4)
    assert refused(bench, generate(session=2)) == CKR.SESSION_READ_ONLY


def without(kind: int, attributes: Template) -> Template:
    return tuple(attribute for attribute in attributes if attribute[0] != kind)


@pytest.mark.parametrize(
    ("public", "private", "ckr"),
    [
        (without(CKA.MODULUS_BITS, PUBLIC), PRIVATE, CKR.TEMPLATE_INCOMPLETE),
        (
            (*without(CKA.MODULUS_BITS, PUBLIC), (CKA.MODULUS_BITS, encode_ulong(512))),
            PRIVATE,
            CKR.KEY_SIZE_RANGE,
        ),
        (without(CKA.ENCRYPT, PUBLIC), without(CKA.DECRYPT, PRIVATE), CKR.TEMPLATE_INCONSISTENT),
        ((*without(CKA.ENCRYPT, PUBLIC), (CKA.ENCRYPT, CK_FALSE)), PRIVATE, CKR.TEMPLATE_INCONSISTENT),
        ((*without(CKA.ENCRYPT, PUBLIC), (CKA.ENCRYPT, b"\x02")), PRIVATE, CKR.ATTRIBUTE_VALUE_INVALID),
        (
            (*without(CKA.PUBLIC_EXPONENT, PUBLIC), (CKA.PUBLIC_EXPONENT, b"\x03")),
            PRIVATE,
            CKR.ATTRIBUTE_VALUE_INVALID,
        ),
        (PUBLIC, (*without(CKA.SENSITIVE, PRIVATE), (CKA.SENSITIVE, CK_FALSE)), CKR.ATTRIBUTE_VALUE_INVALID),
        (PUBLIC, (*PRIVATE, (CKA.EXTRACTABLE, CK_TRUE)), CKR.ATTRIBUTE_VALUE_INVALID),
        (PUBLIC, (*PRIVATE, (CKA.MODULUS_BITS, encode_ulong(2048))), CKR.ATTRIBUTE_TYPE_INVALID),
        (PUBLIC, (*PRIVATE, (0x4711, b"")), CKR.ATTRIBUTE_TYPE_INVALID),
        ((*PUBLIC, (CKA.ID, b"\x08")), PRIVATE, CKR.TEMPLATE_INCONSISTENT),
        ((*without(CKA.LABEL, PUBLIC), (CKA.LABEL, b"\xff")), PRIVATE, CKR.ATTRIBUTE_VALUE_INVALID),
        ((*without(CKA.LABEL, PUBLIC), (CKA.LABEL, b"\x1b[2J")), PRIVATE, CKR.ATTRIBUTE_VALUE_INVALID),
        (PUBLIC, (*without(CKA.ID, PRIVATE), (CKA.ID, b"x" * 65)), CKR.ATTRIBUTE_VALUE_INVALID),
    ],
)
def test_templates_that_make_no_key(logged_in: Bench, public: Template, private: Template, ckr: CKR) -> None:
    assert refused(logged_in, generate(public, private)) == ckr
    assert len(logged_in.module.key_pairs()) == 1


def test_only_rsa_key_pairs_are_made(logged_in: Bench) -> None:
    assert refused(logged_in, generate(mechanism="1040")) == CKR.MECHANISM_INVALID
    with pytest.raises(ProtocolError):
        logged_in.run(generate(((CKA.MODULUS_BITS, b"\x08"),), PRIVATE))


# Decryption


def decrypt_line(bench: Bench, handle: int, secret: bytes = SECRET, mechanism: str = OAEP) -> str:
    (key,) = bench.module.key_pairs()
    return f'*PDEC=1,{mechanism},{handle},"{encrypt(key.public_der, secret).hex().upper()}"'


def test_decrypt_with_a_reason(logged_in: Bench) -> None:
    handle = private_handle(logged_in)
    reason = 'mount "~/a\\b" – vault'
    assert logged_in.run(f"*PREASON={quote(reason)}").ok
    line = decrypt_line(logged_in, handle)
    assert logged_in.only(line) == f'"{SECRET.hex().upper()}"'
    assert logged_in.only(line) == f'"{SECRET.hex().upper()}"'
    assert [question.reason for question in logged_in.user.questions] == [reason, ""]  # used once
    last, before = logged_in.entries[-1], logged_in.entries[-2]
    assert (last.event, last.computer, last.reason) == ("unlock", "laptop", "")
    assert (before.reason, before.detail) == (reason, "approved")
    assert before.key == logged_in.module.key_pairs()[0].id.hex()


def test_a_reason_is_bounded_and_made_printable(logged_in: Bench) -> None:
    logged_in.run(f"*PREASON={quote('a' + chr(0x202E) + 'b')}")
    assert logged_in.connection.reason == "a?b"
    with pytest.raises(ProtocolError):
        logged_in.run(f"*PREASON={quote('x' * 129)}")
    with pytest.raises(ProtocolError):
        logged_in.run("*PREASON=1")


def test_no_decryption_without_login(bench: Bench) -> None:
    bench.session()
    assert refused(bench, decrypt_line(bench, 1)) == CKR.USER_NOT_LOGGED_IN
    assert bench.user.questions == []


@pytest.mark.parametrize("mechanism", ["1", "3", "1087", '1:"00"'])
def test_other_mechanisms_do_not_decrypt(logged_in: Bench, mechanism: str) -> None:
    line = decrypt_line(logged_in, private_handle(logged_in), mechanism=mechanism)
    assert refused(logged_in, line) == CKR.MECHANISM_INVALID
    assert logged_in.user.questions == []


@pytest.mark.parametrize(
    "parameters", ["", "00", "000002500000000200", "00000250000000020001", "00000220000000010000"]
)
def test_other_parameters_do_not_decrypt(logged_in: Bench, parameters: str) -> None:
    line = decrypt_line(logged_in, private_handle(logged_in), mechanism=f'9:"{parameters}"')
    assert refused(logged_in, line) == CKR.MECHANISM_PARAM_INVALID


def test_decryption_needs_a_private_key(logged_in: Bench) -> None:
    (public,) = find(logged_in, (CKA.CLASS, encode_ulong(CKO.PUBLIC_KEY)))
    for handle in (public, 99, 0):
        with pytest.raises(KeyNotFound):
            logged_in.run(decrypt_line(logged_in, handle))


@pytest.mark.parametrize("data", ['""', '"00"', '"' + "AB" * 256 + '"'])
def test_a_bad_cryptogram_has_one_answer(logged_in: Bench, data: str) -> None:
    with pytest.raises(DecryptFailed):
        logged_in.run(f"*PDEC=1,{OAEP},{private_handle(logged_in)},{data}")
    assert logged_in.events()[-1] == "failed"


@pytest.mark.parametrize("data", ["@", "@256", "12", '9:"00"', '"0g"', '"abcd"'])
def test_a_cryptogram_is_quoted_upper_case_hexadecimal(logged_in: Bench, data: str) -> None:
    with pytest.raises(ProtocolError):
        logged_in.run(f"*PDEC=1,{OAEP},{private_handle(logged_in)},{data}")


def test_a_cryptogram_is_bounded(logged_in: Bench) -> None:
    line = f'*PDEC=1,{OAEP},{private_handle(logged_in)},"{"00" * 513}"'
    assert refused(logged_in, line) == CKR.DATA_LEN_RANGE


def test_random(bench: Bench) -> None:
    bench.session()
    assert len(bench.only("*PRAND=1,256")) == 2 + 512
    assert bench.only("*PRAND=1,32") != bench.only("*PRAND=1,32")
    for count in ("0", "257"):
        assert refused(bench, f"*PRAND=1,{count}") == CKR.ARGUMENTS_BAD


# All commands


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_has_one_form(bench: Bench, name: str) -> None:
    assert bench.run(f"{name}=?").ok
    form = COMMANDS[name][0]
    wrong = {Form.READ: f"{name}=1", Form.SET: f"{name}?"}[form]
    for line in (wrong, name):
        with pytest.raises(ProtocolError):
            bench.run(line)


@pytest.mark.parametrize("name", sorted(name for name, (form, _) in COMMANDS.items() if form is Form.SET))
@pytest.mark.parametrize("arguments", ["", ",", "1," * 40 + "1", '"x"', "FFFFFFFFFFFFFFFF", "@"])
def test_bad_arguments_are_refused_politely(logged_in: Bench, name: str, arguments: str) -> None:
    if name == "*PREASON":
        arguments = arguments.replace('"x"', '"x","y"')  # one text would be a good reason
    with pytest.raises((PhoneError, ProtocolError)):
        logged_in.run(f"{name}={arguments}")


arguments = st.builds(
    Argument,
    st.sampled_from(["", "0", "1", "2", "9", "FF", "4294967296", "@", "@5"]),
    st.sampled_from([None, "", "00", "ABCD", "zz", "é", OAEP[3:-1]]),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(sorted(COMMANDS)), st.lists(arguments, min_size=1, max_size=5))
def test_any_arguments_give_an_answer_or_a_refusal(
    logged_in: Bench, name: str, values: list[Argument]
) -> None:
    command = Command(name, Form.SET, tuple(values))
    if name in ("*PLOGIN", "*PCLOSE", "*PCLOSEALL"):
        return
    try:
        response = handler_for(logged_in.manager, logged_in.connection)(command)
    except (PhoneError, ProtocolError):
        return
    assert response.ok


@given(
    st.lists(
        st.tuples(st.integers(0, 0xFFFFFFFF), st.binary(max_size=30)), max_size=8, unique_by=lambda a: a[0]
    )
)
def test_templates_are_read_as_written(attributes: list[tuple[int, bytes]]) -> None:
    assert decode_template(encode_template(tuple(attributes))) == tuple(attributes)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_template_or_refused(data: bytes) -> None:
    try:
        attributes = decode_template(data)
    except ProtocolError:
        return
    assert encode_template(attributes) == data


def test_trouble_with_the_store_is_a_device_error(logged_in: Bench) -> None:
    (path,) = (logged_in.store.path / "keys").iterdir()
    (logged_in.store.path / "phone.json").unlink()
    assert path.exists()
    assert refused(logged_in, "*PTOK=0") == CKR.DEVICE_ERROR
    assert logged_in.events()[-1] == "failed"
