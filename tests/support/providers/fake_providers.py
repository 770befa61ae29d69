#!/usr/bin/python3
"""Mail providers on loopback, over TLS, as their documentation has them: Mailtrap, SendGrid, Amazon SES.

    with FakeProviders(directory) as providers: ...   in a test: .url, .ca_file, .mails(), .rules
    fake_providers.py DIRECTORY [--port 0]            a process: prints {"url", "ca_file"}, serves until SIGTERM;
                      [--ids-only]                    forgets what is in a mail, where hundreds of thousands come

One port serves all of them; the path says which API it is:

    POST /api/send[/SANDBOX] /api/batch[/SANDBOX]     Mailtrap   https://api-docs.mailtrap.io
    POST /v3/mail/send                                SendGrid   https://www.twilio.com/docs/sendgrid/api-reference/mail-send
    POST /v2/email/outbound-emails                    SES        https://docs.aws.amazon.com/ses/latest/APIReference-V2

Fields nobody documents are refused, so that a misspelt one is found here. What was accepted is kept by postbus's id.

Trouble comes by rule, the first that matches, or by recipient, in the local part of the address:

    rules.append(Rule(provider="ses", status=503, times=2))       latency, hang, close, headers, items: see Rule
    answer-429-after-3@…  answer-503@…  hang@…  close@…  slow-200@…   each with any +label

A process is told with POST /_control/rules (a JSON list of Rule's fields), and asked with GET /_control/mails, ids or count.

Needs Debian's python3-cryptography.
"""

import argparse
import base64
import collections
import dataclasses
import datetime
import email
import email.policy
import hashlib
import hmac
import http.client
import http.server
import ipaddress
import json
import pathlib
import re
import signal
import socket
import ssl
import threading
import time
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

TOKEN = "planted-secret-token"
ACCESS_KEY_ID = "AKIAFAKEFAKEFAKEFAKE"
SECRET_ACCESS_KEY = "planted-secret/access+key"
REGION = "eu-central-1"


@dataclasses.dataclass
class Rule:
    provider: str = ""  # "mailtrap", "sendgrid", "ses"; "" = each
    recipient: str = ""  # a regular expression found in one of the recipients; "" = any
    times: int = 0  # how often it holds; 0 = always
    status: int = 0  # answered instead; 0 = the provider's usual answer
    message: str = "told to"
    headers: dict = dataclasses.field(default_factory=dict)
    error_type: str = ""  # SES: the exception's name
    latency: float = 0  # seconds before the answer
    hang: bool = False  # the mail is taken, and no answer ever comes
    close: bool = False  # the mail is taken, and the connection ends
    body: str | None = None  # answered as it is
    items: list = dataclasses.field(default_factory=list)  # Mailtrap's batch: indexes that fail


@dataclasses.dataclass
class Mail:
    provider: str
    id: str  # postbus's
    provider_id: str
    recipients: list
    payload: dict  # the request, of a batch the item; SES: with "message", the raw mail
    answered: bool = True


class Refused(Exception):
    """The provider's answer is an error."""

    def __init__(self, status: int, message: str, field: str | None = None, error_type: str = "", headers=None):
        super().__init__(message)
        self.status, self.message, self.field, self.error_type = status, message, field, error_type
        self.headers = headers or {}


class Answer(Exception):
    def __init__(self, status: int, headers: dict, body: bytes):
        super().__init__(status)
        self.answer = (status, headers, body)


class Hang(Exception):
    pass


class Close(Exception):
    pass


def check(condition, status: int, message: str, field: str | None = None, error_type: str = "") -> None:
    if not condition:
        raise Refused(status, message, field, error_type)


def check_fields(value: dict, known: str, where: str) -> None:
    unknown = set(value) - set(known.split())
    check(not unknown, 400, f"unknown field {sorted(unknown)} in {where}", where)


def is_address(text) -> bool:
    return isinstance(text, str) and re.fullmatch(r"[!-?A-~]+@[A-Za-z0-9.-]+", text) is not None


def json_answer(status: int, value, headers=None) -> tuple[int, dict, bytes]:
    return status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode()


class Window:
    """At most `limit` in `seconds`."""

    def __init__(self, limit: int, seconds: float):
        self._limit, self._seconds = limit, seconds
        self._times = collections.deque()

    def take(self) -> bool:
        now = time.monotonic()
        while self._times and self._times[0] <= now - self._seconds:
            self._times.popleft()
        if len(self._times) >= self._limit:
            return False
        self._times.append(now)
        return True


class Api:
    """One provider: reads requests, says yes or no."""

    name = ""
    RATE = (0, 0)  # requests in seconds, as documented; holds from FakeProviders.limit on

    def __init__(self, providers):
        self.providers = providers
        self.window: Window | None = None

    def handle(self, path: str, headers, body: bytes) -> tuple[int, dict, bytes]:
        raise NotImplementedError

    def error(self, refused: Refused) -> tuple[int, dict, bytes]:
        raise NotImplementedError

    def bearer(self, headers) -> None:
        check(headers.get("Authorization") == f"Bearer {TOKEN}", 401, "Unauthorized")

    def rate(self, message: str, error_type: str = "", **headers) -> None:
        if self.window and not self.window.take():
            raise Refused(429, message, error_type=error_type, headers=headers)

    def parse(self, headers, body: bytes) -> dict:
        check(headers.get("Content-Type") == "application/json", 415, "Content-Type must be application/json")
        try:
            value = json.loads(body)
        except ValueError as error:
            raise Refused(400, "Bad Request: not JSON") from error
        check(isinstance(value, dict), 400, "Bad Request: not an object")
        return value

    def accept(self, id: str, recipients: list, payload: dict, provider_id: str | None = None) -> str:
        """Keeps the mail, unless a rule says otherwise; the id it got."""
        mail = Mail(self.name, id, provider_id or str(uuid.uuid4()), recipients, payload)
        try:
            self._trouble(recipients)
        except (Hang, Close):
            mail.answered = False
            self.providers.keep(mail)
            raise
        self.providers.keep(mail)
        return mail.provider_id

    def _trouble(self, recipients: list) -> None:
        rule = self.providers.rule(self.name, recipients)
        if rule is None:
            return
        if rule.latency:
            time.sleep(rule.latency)
        if rule.hang:
            raise Hang
        if rule.close:
            raise Close
        if rule.body is not None:
            raise Answer(rule.status or 200, rule.headers, rule.body.encode())
        if rule.status:
            raise Refused(rule.status, rule.message, error_type=rule.error_type, headers=rule.headers)


class Mailtrap(Api):
    name = "mailtrap"
    RATE = (150, 10)
    MAX_MESSAGE = 10_000_000
    MAX_BATCH = 50_000_000

    def handle(self, path, headers, body):
        found = re.fullmatch(r"/api/(send|batch)(?:/(\d+))?", path)
        check(found, 404, "Not Found")
        check(headers.get("User-Agent"), 403, "Forbidden")  # what stands before the API wants one
        self.bearer(headers)
        self.rate("Too many requests")
        request = self.parse(headers, body)
        if found[1] == "send":
            return json_answer(200, {"success": True, "message_ids": self._send(request)})
        check(len(body) <= self.MAX_BATCH, 413, "Payload too large")
        check_fields(request, "base requests", "the batch")
        mails = request.get("requests")
        check(isinstance(mails, list) and 1 <= len(mails) <= 500, 400, "'requests' must have 1 to 500 items")
        rule = self.providers.rule(self.name, [], of_items=True)
        responses = []
        silence = None
        for index, mail in enumerate(mails):
            try:
                check(rule is None or index not in rule.items, 400, "told to")
                responses.append({"success": True, "message_ids": self._send(mail)})
            except Refused as refused:
                if refused.status != 400:
                    raise
                responses.append({"success": False, "errors": [refused.message]})
            except (Hang, Close) as trouble:  # all of the batch is taken
                silence = trouble
        if silence is not None:
            raise silence
        return json_answer(200, {"success": True, "responses": responses})

    def _send(self, mail: dict) -> list:
        check_fields(mail, "from to cc bcc reply_to subject text html attachments headers category custom_variables",
                     "the mail")  # fmt: skip
        check(is_address(mail.get("from", {}).get("email")), 400, "'from' address is invalid")
        recipients = []
        for field in ("to", "cc", "bcc"):
            check(len(mail.get(field, [])) <= 1000, 400, f"'{field}' is invalid")
            for one in mail.get(field, []):
                check_fields(one, "email name", field)
                check(is_address(one.get("email")), 400, f"'{field}' address is invalid")
                recipients.append(one["email"])
        check(recipients, 400, "'to', 'cc' or 'bcc' address is required")
        check(mail.get("subject"), 400, "'subject' is required")
        check(mail.get("text") or mail.get("html"), 400, "must specify either text or html body")
        check(len(json.dumps(mail)) <= self.MAX_MESSAGE, 400, "message is too large")
        for attachment in mail.get("attachments", []):
            check_fields(attachment, "content filename type disposition content_id", "attachments")
            check(attachment.get("content") and attachment.get("filename"), 400, "'attachments' need content and filename")
            base64.b64decode(attachment["content"], validate=True)
        check(len(mail.get("category", "")) <= 255, 400, "'category' is too long")
        for field in ("headers", "custom_variables"):
            for value in mail.get(field, {}).values():
                check(isinstance(value, str), 400, f"'{field}' must be strings")
        id = mail.get("custom_variables", {}).get("postbus_id", "")
        return [self.accept(id, recipients, mail), *(str(uuid.uuid4()) for _ in recipients[1:])]

    def error(self, refused):
        return json_answer(refused.status, {"success": False, "errors": [refused.message]}, refused.headers)


class SendGrid(Api):
    name = "sendgrid"
    RATE = (600, 60)
    MAX_MESSAGE = 30_000_000

    def handle(self, path, headers, body):
        self.bearer(headers)
        self.rate("too many requests", **{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 5)})
        check(len(body) <= self.MAX_MESSAGE, 413, "payload too large")
        mail = self.parse(headers, body)
        check_fields(mail, "personalizations from reply_to reply_to_list subject content attachments headers categories "
                     "custom_args send_at mail_settings tracking_settings", "the mail")  # fmt: skip
        recipients = self._recipients(mail.get("personalizations"))
        check(is_address(mail.get("from", {}).get("email")), 400, "The from object must be provided for every email send.",
              "from.email")  # fmt: skip
        check(mail.get("subject"), 400, "The subject is required.", "subject")
        content = mail.get("content")
        check(isinstance(content, list) and content, 400, "The content parameter is required.", "content")
        types = [part.get("type") for part in content]
        check(types in (["text/plain"], ["text/html"], ["text/plain", "text/html"]), 400, "text/plain must come first",
              "content")  # fmt: skip
        check(all(part.get("value") for part in content), 400, "The content value must be a string at least one character "
              "in length.", "content.0.value")  # fmt: skip
        for attachment in mail.get("attachments", []):
            check_fields(attachment, "content filename type disposition content_id", "attachments")
            check(attachment.get("filename"), 400, "The attachment filename is required.", "attachments")
            base64.b64decode(attachment["content"], validate=True)
        reserved = "x-sg-id x-sg-eid received dkim-signature content-type content-transfer-encoding to from subject reply-to cc bcc"
        for name in mail.get("headers", {}):
            check(name.lower() not in reserved.split(), 400, f"{name} is reserved", f"headers.{name}")
        check(len(mail.get("categories", [])) <= 10, 400, "too many categories", "categories")
        check(len(json.dumps(mail.get("custom_args", {}))) <= 10_000, 400, "custom_args are too long", "custom_args")
        if mail.get("mail_settings", {}).get("sandbox_mode", {}).get("enable"):
            return 200, {}, b""
        id = self.accept(mail.get("custom_args", {}).get("postbus_id", ""), recipients, mail)
        return 202, {"X-Message-Id": id}, b""

    @staticmethod
    def _recipients(personalizations) -> list:
        """invalid-…@ is an address SendGrid does not like."""
        check(isinstance(personalizations, list) and 1 <= len(personalizations) <= 1000, 400,
              "The personalizations field is required and must have at least one personalization.", "personalizations")  # fmt: skip
        recipients = []
        for p, personalization in enumerate(personalizations):
            check_fields(personalization, "to cc bcc subject headers custom_args send_at", "personalizations")
            check(personalization.get("to"), 400, "The to array is required for all personalization objects, and must "
                  "have at least one email object with a valid email address.", f"personalizations.{p}.to")  # fmt: skip
            seen = set()
            for field in ("to", "cc", "bcc"):
                for i, one in enumerate(personalization.get(field, [])):
                    check_fields(one, "email name", field)
                    address = one.get("email")
                    check(is_address(address) and not address.startswith("invalid-"), 400, "Does not contain a valid address.",
                          f"personalizations.{p}.{field}.{i}.email")  # fmt: skip
                    check(address.lower() not in seen, 400, "Each email address in the personalization block should be "
                          "unique between to, cc, and bcc.", f"personalizations.{p}")  # fmt: skip
                    seen.add(address.lower())
                    recipients.append(address)
        check(len(recipients) <= 1000, 400, "too many recipients", "personalizations")
        return recipients

    def error(self, refused):
        error = {"message": refused.message, "field": refused.field, "help": None}
        return json_answer(refused.status, {"errors": [error]}, refused.headers)


class Ses(Api):
    name = "ses"
    RATE = (14, 1)
    MAX_MESSAGE = 40 * 1024 * 1024

    def handle(self, path, headers, body):
        check_signature(headers, path, body)
        self.rate("Maximum sending rate exceeded.", "TooManyRequestsException")
        request = self.parse(headers, body)
        known = {"Destination", "Content", "ConfigurationSetName", "EmailTags", "FromEmailAddress"}
        check(set(request) <= known, 400, "unknown member")
        check(request.get("ConfigurationSetName", "known") == "known", 400, "Configuration set does not exist.",
              error_type="NotFoundException")  # fmt: skip
        recipients = [one for addresses in request.get("Destination", {}).values() for one in addresses]
        check(1 <= len(recipients) <= 50, 400, "Recipient count is not 1 to 50.")
        check(all(is_address(one) for one in recipients), 400, "Illegal address")
        for tag in request.get("EmailTags", []):
            legal = re.fullmatch(r"[A-Za-z0-9_-]{1,256}", tag["Name"]) and re.fullmatch(r"[\w.@-]{1,256}", tag["Value"])
            check(legal, 400, "Illegal tag")
        data = request.get("Content", {}).get("Raw", {}).get("Data", "")
        check(len(data) <= self.MAX_MESSAGE, 400, "Message length is more than 41943040 bytes.")
        raw = base64.b64decode(data, validate=True)
        check(all(len(line) <= 998 for line in raw.split(b"\r\n")), 400, "Line too long.", error_type="MessageRejected")
        message = email.message_from_bytes(raw, policy=email.policy.default)
        check(message["From"], 400, "Missing From header.", error_type="MessageRejected")
        id = re.match(r"<([^@>]+)@", message["Message-ID"] or "")
        payload = {**request, "message": raw.decode("latin-1")}
        provider_id = f"{uuid.uuid4().hex[:16]}-{uuid.uuid4()}-000000"
        return json_answer(200, {"MessageId": self.accept(id[1] if id else "", recipients, payload, provider_id)})

    def error(self, refused):
        types = {403: "AccessDeniedException", 429: "TooManyRequestsException", 500: "InternalFailure", 503: "ServiceUnavailable"}
        error_type = refused.error_type or types.get(refused.status, "BadRequestException")
        headers = {"x-amzn-ErrorType": f"{error_type}:http://internal.amazon.com/coral/com.amazonaws.services/"}
        return json_answer(refused.status, {"message": refused.message}, {**headers, **refused.headers})


def sigv4(headers, path: str, body: bytes, region: str, secret: str, signed: list, date: str) -> str:
    """AWS Signature Version 4, from its documentation; `signed` are header names in lower case."""
    fields = [f"{name}:{' '.join(headers[name].split())}" for name in signed]
    canonical = "\n".join(["POST", path, "", *fields, "", ";".join(signed), hashlib.sha256(body).hexdigest()])
    scope = f"{date[:8]}/{region}/ses/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in [*scope.split("/"), text]:
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def check_signature(headers, path: str, body: bytes) -> None:
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([a-z0-9-]+)/ses/aws4_request, SignedHeaders=([a-z0-9;-]+), "
        r"Signature=([0-9a-f]{64})",
        headers.get("Authorization", ""),
    )
    check(found, 403, "Missing Authentication Token", error_type="MissingAuthenticationTokenException")
    key, day, region, names, given = found.groups()
    signed = names.split(";")
    check(key == ACCESS_KEY_ID, 403, "The security token included in the request is invalid.",
          error_type="UnrecognizedClientException")  # fmt: skip

    def check_part(condition, message):
        check(condition, 403, message, error_type="InvalidSignatureException")

    check_part(signed == sorted(signed) and {"host", "x-amz-date"} <= set(signed), "SignedHeaders")
    check_part("x-amz-security-token" not in headers or "x-amz-security-token" in signed, "the token is not signed")
    date = headers.get("x-amz-date", "")
    check_part(date[:8] == day, "Date in Credential scope does not match YYYYMMDD")
    at = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    check_part(abs(time.time() - at.timestamp()) < 300, "Signature expired")
    check_part(region == REGION, "Credential should be scoped to a valid region.")
    expected = sigv4(headers, path, body, region, SECRET_ACCESS_KEY, signed, date)
    check_part(hmac.compare_digest(expected, given), "The request signature we calculated does not match the signature you "
               "provided.")  # fmt: skip


class FakeProviders:
    """Thread-safe; `lock` guards `rules` once mails flow. `names` are whom the certificate is for."""

    def __init__(self, directory, port: int = 0, names=("localhost", "127.0.0.1")):
        self.rules: list[Rule] = []
        self.ids_only = False  # mails are kept without what is in them
        self.requests = 0
        self.connections = 0
        self._mails: list[Mail] = []
        self.lock = threading.Lock()
        self._over = threading.Event()
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.ca_file = directory / "ca.pem"
        self.mailtrap, self.sendgrid, self.ses = Mailtrap(self), SendGrid(self), Ses(self)
        make_certificates(self.ca_file, directory / "server.pem", names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "server.pem")
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._server.providers, self._server.context = self, context
        self.port = self._server.server_address[1]
        self.url = f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> "FakeProviders":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    @staticmethod
    def limit(api: Api) -> None:
        """The documented rate holds from now on."""
        api.window = Window(*api.RATE)

    def mails(self) -> list[Mail]:
        """In the order they came; one that came twice is there twice."""
        with self.lock:
            return list(self._mails)

    def ids(self) -> list[str]:
        return [mail.id for mail in self.mails()]

    def keep(self, mail: Mail) -> None:
        if self.ids_only:
            mail.payload = {}
        with self.lock:
            self._mails.append(mail)

    def rule(self, provider: str, recipients: list, of_items: bool = False) -> Rule | None:
        with self.lock:
            for rule in self.rules:
                if rule.provider not in ("", provider) or bool(rule.items) != of_items:
                    continue
                if rule.recipient and not any(re.search(rule.recipient, one) for one in recipients):
                    continue
                if rule.times:
                    rule.times -= 1
                    if rule.times == 0:
                        self.rules.remove(rule)
                return rule
        return rule_by_recipient(recipients)

    def handle(self, path: str, headers, body: bytes) -> tuple[int, dict, bytes]:
        with self.lock:
            self.requests += 1
        routes = {"/api/": self.mailtrap, "/v3/mail/send": self.sendgrid, "/v2/email/outbound-emails": self.ses}
        api = next((api for route, api in routes.items() if path.startswith(route)), None)
        if api is None:
            return json_answer(404, {"message": "Not Found"})
        try:
            return api.handle(path, headers, body)
        except Refused as refused:
            return api.error(refused)
        except Answer as answer:
            return answer.answer
        except Hang:
            self._over.wait()
            raise Close from None

    def control(self, method: str, path: str, body: bytes) -> tuple[int, dict, bytes]:
        if (method, path) == ("POST", "/_control/rules"):
            rules = [Rule(**fields) for fields in json.loads(body)]
            with self.lock:
                self.rules[:] = rules
            return json_answer(200, {})
        if (method, path) == ("GET", "/_control/mails"):
            return json_answer(200, [dataclasses.asdict(mail) for mail in self.mails()])
        if (method, path) == ("GET", "/_control/ids"):
            return json_answer(200, self.ids())
        if (method, path) == ("GET", "/_control/count"):
            return json_answer(200, len(self._mails))
        return json_answer(404, {})


def rule_by_recipient(recipients: list) -> Rule | None:
    for recipient in recipients:
        word = recipient.partition("@")[0].partition("+")[0]
        if found := re.fullmatch(r"answer-(\d{3})(?:-after-(\d+))?", word):
            return Rule(status=int(found[1]), headers={"Retry-After": found[2]} if found[2] else {})
        if found := re.fullmatch(r"slow-(\d+)", word):
            return Rule(latency=int(found[1]) / 1000)
        if word in ("hang", "close"):
            return Rule(**{word: True})
    return None


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 100

    def finish_request(self, request, client_address):
        try:
            with self.context.wrap_socket(request, server_side=True) as secured:
                secured.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.providers.connections += 1
                self.RequestHandlerClass(secured, client_address, self)
        except OSError:  # the client went away, or does not trust us
            pass


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer(self.server.providers.control("GET", self.path, b""))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/_control/"):
            self._answer(self.server.providers.control("POST", self.path, body))
            return
        try:
            self._answer(self.server.providers.handle(self.path, self.headers, body))
        except Close:
            self.close_connection = True

    def _answer(self, answer):
        status, headers, body = answer
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} {http.client.responses.get(status, 'Unknown')}\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)


def make_certificates(ca_file: pathlib.Path, server_file: pathlib.Path, names) -> None:
    """A CA nobody else trusts, and a server's key and certificate by it."""
    now = datetime.datetime.utcnow()

    def certificate(subject: str, key, issuer_key, extension):
        def name(text):
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        builder = x509.CertificateBuilder(
            issuer_name=name("postbus test CA"),
            subject_name=name(subject),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(days=1),
            not_valid_after=now + datetime.timedelta(days=2),
        )
        return builder.add_extension(extension, critical=False).sign(issuer_key, hashes.SHA256())

    def alternative(name: str):
        try:
            return x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            return x509.DNSName(name)

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = certificate("postbus test CA", ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=None))
    server = certificate(names[0], key, ca_key, x509.SubjectAlternativeName([alternative(name) for name in names]))
    pem = serialization.Encoding.PEM
    ca_file.write_bytes(ca.public_bytes(pem))
    server_file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()) + server.public_bytes(pem)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Mail providers on loopback.")
    parser.add_argument("directory")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ids-only", action="store_true")
    arguments = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    with FakeProviders(arguments.directory, arguments.port) as providers:
        providers.ids_only = arguments.ids_only
        print(json.dumps({"url": providers.url, "ca_file": str(providers.ca_file)}), flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
