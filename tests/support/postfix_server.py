"""Debian's Postfix as a private instance: configuration, queue, mailbox and log in a directory of the test's own.

    with Postfix(directory) as postfix: ...     postfix.port, postfix.bare_port; afterwards postfix.mails()

On `port` it wants STARTTLS (a certificate for localhost, signed by `ca_file`) and AUTH as USER; on `bare_port` it has neither
TLS, AUTH, 8BITMIME nor SMTPUTF8. It takes mail for every domain and keeps each in one Maildir. Needs root, as Postfix
does, and Debian's packages postfix, sasl2-bin, libsasl2-modules and openssl; Postfix.missing() says what is not there.
"""

import contextlib
import email
import email.message
import email.policy
import os
import pathlib
import pwd
import shutil
import socket
import subprocess

from postbus_process import ProcessError, wait_until

USER, PASSWORD = "shop", "planted-secret of the postfix test"
START_SECONDS = 60
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
DAEMONS = "/usr/lib/postfix/sbin"

MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/postfix.log
maillog_file_prefixes = {directory}
command_directory = /usr/sbin
daemon_directory = {daemons}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.localhost
mydestination =
local_transport = error:there are no local users
local_recipient_maps =
alias_maps =
virtual_mailbox_domains = static:every
virtual_mailbox_maps = static:inbox/
virtual_mailbox_base = {directory}/mail
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
virtual_mailbox_limit = 0
mailbox_size_limit = 0
message_size_limit = 20480000
smtputf8_enable = yes
smtpd_client_connection_count_limit = 0
smtpd_tls_cert_file = {directory}/server.pem
smtpd_tls_key_file = {directory}/server.key
smtpd_tls_security_level = encrypt
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = localhost
cyrus_sasl_config_path = {directory}/sasl
smtpd_relay_restrictions = permit_sasl_authenticated, reject
"""

# chroot is off: the files of the test lie outside of the queue.
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
127.0.0.1:{bare_port} inet n - n - - smtpd
  -o smtpd_tls_security_level=none
  -o smtpd_sasl_auth_enable=no
  -o smtpd_relay_restrictions=reject_unauth_destination
  -o smtpd_discard_ehlo_keywords=8bitmime,smtputf8
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
virtual unix - n n - - virtual
error unix - - n - - error
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.ca_file = self.directory / "ca.pem"
        self._process: subprocess.Popen | None = None
        self.port = self.bare_port = 0

    @staticmethod
    def missing() -> str:
        """What it needs and is not there; empty: nothing."""
        if os.geteuid() != 0:
            return "root, as which Postfix starts"
        programs = {"postfix": "postfix", "saslpasswd2": "sasl2-bin", "openssl": "openssl"}
        return ", ".join(f"Debian's package {package}" for name, package in programs.items() if not shutil.which(name, path=PATH))

    def __enter__(self) -> "Postfix":
        self._prepare()
        for _ in range(5):  # somebody may take a port between our choosing it and Postfix's binding it
            with contextlib.ExitStack() as stack:
                probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
                self.port, self.bare_port = (probe.getsockname()[1] for probe in probes)
            (self.directory / "master.cf").write_text(MASTER.format(port=self.port, bare_port=self.bare_port))
            self._run("postfix", "-c", str(self.directory), "check")  # makes the queue's folders
            # Not by `postfix start-fg`, which puts a shell in between. It changes its user on the way, which undoes what
            # ends our other children with us: hence -e, the seconds after which it ends by itself.
            self._process = subprocess.Popen(
                [f"{DAEMONS}/master", "-c", str(self.directory), "-s", "-e", "600"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            if wait_until(lambda: self._greets() or self._ended(), START_SECONDS, self._log) == "greets":
                return self
        raise ProcessError(f"Postfix does not start: {self._log()}")

    def __exit__(self, *_) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def mails(self) -> list[email.message.EmailMessage]:
        """What is in the Maildir, each as Python reads it."""
        files = (self.directory / "mail" / "inbox" / "new").glob("*")
        return [email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]

    def _prepare(self) -> None:
        owner = pwd.getpwnam("postfix")
        nobody = pwd.getpwnam("nobody")
        self.directory.mkdir()
        for name, uid in (("queue", 0), ("data", owner.pw_uid), ("mail", nobody.pw_uid), ("sasl", 0)):
            (self.directory / name).mkdir()
            os.chown(self.directory / name, uid, -1)
        for folder in (self.directory, *self.directory.parents):  # Postfix's own users must get through
            if folder.stat().st_uid == os.geteuid() and folder != pathlib.Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
        (self.directory / "main.cf").write_text(
            MAIN.format(directory=self.directory, daemons=DAEMONS, uid=nobody.pw_uid, gid=nobody.pw_gid)
        )
        (self.directory / "sasl" / "smtpd.conf").write_text(
            f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: {self.directory}/sasldb2\n"
        )
        self._run("saslpasswd2", "-p", "-c", "-f", "sasldb2", "-u", "localhost", USER, input=PASSWORD)
        os.chown(self.directory / "sasldb2", owner.pw_uid, -1)
        new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
        self._run("openssl", "req", "-x509", *new_key, "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem")
        self._run("openssl", "req", "-x509", "-CA", "ca.pem", "-CAkey", "ca.key", *new_key, "-subj", "/CN=localhost",
                  "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE",
                  "-keyout", "server.key", "-out", "server.pem")  # fmt: skip

    def _run(self, *command: str, input: str = "") -> None:
        done = subprocess.run(command, input=input, text=True, capture_output=True, cwd=self.directory,
                              env={**os.environ, "PATH": PATH})  # fmt: skip
        if done.returncode != 0:
            raise ProcessError(f"{command[0]} ended with exit code {done.returncode}: {done.stderr}")

    def _greets(self) -> str:
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                return "greets" if connection.recv(4) == b"220 " else ""
        return ""

    def _ended(self) -> str:
        return "ended" if self._process.poll() is not None else ""

    def _log(self) -> str:
        log = self.directory / "postfix.log"
        return log.read_text(errors="replace")[-3000:] if log.exists() else "it has no log"
