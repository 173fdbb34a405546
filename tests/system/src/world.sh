#!/bin/bash
# The rest of the world as a sender meets it: a signed DNS with a root of its own, and Debian's Postfix behind it.
#
#   world.sh start DIRECTORY ADDRESS   in the network namespace of the world; prints DS of the root zone
#   world.sh accept DIRECTORY          Postfix stops greylisting grey@good.test
#   world.sh stop DIRECTORY
#
# good.test's TLSA record is that of the certificate that Postfix shows, bad.test's is another one, plain.test has none. sts.test and
# wrong.test have MTA-STS policies to enforce; the certificate, of an authority of the world's own (ca.pem), names only the host of the
# first. bogus.test says that it is signed, and is not.
set -eu
verb=$1 here=$2

start() {
  local address=$1
  mkdir -p "$here"/{dns,zones,postfix,spool,data,mail}
  chmod 755 "$here" "$here"/mail
  local new=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30)
  openssl req -x509 "${new[@]}" -subj "/CN=the world's authority" -keyout "$here/ca.key" -out "$here/ca.pem" 2>/dev/null
  openssl req -x509 "${new[@]}" -subj /CN=mx.good.test -CA "$here/ca.pem" -CAkey "$here/ca.key" -addext basicConstraints=critical,CA:FALSE \
    -addext "subjectAltName=DNS:mx.good.test,DNS:mx.sts.test,DNS:mta-sts.sts.test,DNS:mta-sts.wrong.test" \
    -keyout "$here/key.pem" -out "$here/cert.pem" 2>/dev/null
  local digest
  digest=$(openssl x509 -in "$here/cert.pem" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1)
  cat >"$here/zones/root.zone" <<Z
. 300 SOA ns.test. hostmaster.test. 1 3600 600 86400 300
. 300 NS ns.test.
ns.test. 300 A $address
mail.example.test. 300 A 192.0.2.1
$(for domain in good bad plain sts wrong; do
    echo "$domain.test. 300 MX 10 mx.$domain.test."
    echo "mx.$domain.test. 300 A $address"
  done)
$(for domain in sts wrong; do
    echo "mta-sts.$domain.test. 300 A $address"
    echo "_mta-sts.$domain.test. 300 TXT \"v=STSv1; id=1;\""
  done)
bogus.test. 300 NS ns.test.
bogus.test. 300 DS 12345 13 2 $(printf '%064d' 1)
_25._tcp.mx.good.test. 300 TLSA 3 1 1 $digest
_25._tcp.mx.bad.test. 300 TLSA 3 1 1 $(printf '%064d' 0)
Z
  cat >"$here/zones/bogus.zone" <<Z
bogus.test. 300 SOA ns.test. hostmaster.test. 1 3600 600 86400 300
bogus.test. 300 NS ns.test.
bogus.test. 300 MX 10 mx.plain.test.
Z
  cat >"$here/dns/knot.conf" <<C
server:
    listen: [ $address@53 ]
    rundir: $here/dns
database:
    storage: $here/dns
zone:
  - domain: .
    storage: $here/zones
    file: root.zone
    zonefile-sync: -1
    journal-content: all
    dnssec-signing: on
  - domain: bogus.test.
    storage: $here/zones
    file: bogus.zone
C
  knotd -c "$here/dns/knot.conf" -d >"$here/dns/log" 2>&1
  for _ in $(seq 100); do
    kdig +short +timeout=1 +retry=0 @"$address" . DNSKEY | grep -q . && break
  done

  getent passwd postern-world >/dev/null || useradd --system --no-create-home --shell /usr/sbin/nologin postern-world
  chown postern-world: "$here/mail"
  chown postfix "$here/data"
  cp /etc/postfix/dynamicmaps.cf /etc/postfix/postfix-files /etc/postfix/master.cf "$here/postfix/"
  cp -r /etc/postfix/postfix-files.d /etc/postfix/dynamicmaps.cf.d "$here/postfix/" 2>/dev/null || true
  # Nothing runs in a chroot, which would have to be furnished.
  sed -i -E 's/^([a-z-]+ +(inet|unix|fifo|pass) +[-yn]+ +[-yn]+ +)[-yn]/\1n/' "$here/postfix/master.cf"
  cat >"$here/postfix/main.cf" <<C
compatibility_level = 3.6
myhostname = mx.good.test
mydestination =
inet_interfaces = $address
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
queue_directory = $here/spool
data_directory = $here/data
maillog_file = $here/postfix.log
maillog_file_prefixes = $here
virtual_mailbox_domains = good.test, bad.test, plain.test, sts.test, wrong.test, bogus.test
virtual_mailbox_base = $here/mail
virtual_mailbox_maps = inline:{ bob@good.test=bob/, bob@bad.test=bad/, bob@plain.test=plain/, bob@sts.test=sts/, bob@wrong.test=wrong/, grey@good.test=grey/ }
virtual_uid_maps = static:$(id -u postern-world)
virtual_gid_maps = static:$(id -g postern-world)
smtpd_tls_cert_file = $here/cert.pem
smtpd_tls_key_file = $here/key.pem
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_recipient_restrictions = check_recipient_access inline:{ { grey@good.test = 451 4.7.1 greylisted, come back later } }
C
  cat >"$here/web.py" <<'P'
import http.server, ssl, sys

class Policy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        domain = self.headers["Host"].removeprefix("mta-sts.")
        text = f"version: STSv1\r\nmode: enforce\r\nmx: mx.{domain}\r\nmax_age: 86400\r\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

server = http.server.HTTPServer((sys.argv[1], 443), Policy)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2] + "/cert.pem", sys.argv[2] + "/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
P
  setsid /usr/bin/python3 "$here/web.py" "$address" "$here" >"$here/web.log" 2>&1 </dev/null &
  echo $! >"$here/web.pid"
  postfix -c "$here/postfix" start >"$here/postfix.start" 2>&1 || { cat "$here/postfix.start" >&2; exit 1; }
  keymgr -c "$here/dns/knot.conf" . ds
}

accept() {
  postconf -c "$here/postfix" -e smtpd_recipient_restrictions=
  # A reload leaves the connections that are open as they were.
  postfix -c "$here/postfix" stop >/dev/null 2>&1
  postfix -c "$here/postfix" start >/dev/null 2>&1
}

stop() {
  postfix -c "$here/postfix" stop >/dev/null 2>&1 || true
  [[ ! -e $here/dns/knot.pid ]] || kill "$(cat "$here/dns/knot.pid")" || true
  [[ ! -e $here/web.pid ]] || kill "$(cat "$here/web.pid")" || true
}

"$verb" "${@:3}"
