#!/bin/bash
# The rest of the world as a sender meets it: a signed DNS with a root of its own, and Debian's Postfix behind it.
#
#   world.sh start DIRECTORY ADDRESS   in the network namespace of the world; prints DS of the root zone
#   world.sh stop DIRECTORY
#
# good.test's TLSA record is that of the certificate that Postfix shows, bad.test's is another one, plain.test has none.
set -eu
verb=$1 here=$2

start() {
  local address=$1
  mkdir -p "$here"/{dns,zones,postfix,spool,data,mail}
  chmod 755 "$here" "$here"/mail
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=mx.good.test \
    -keyout "$here/key.pem" -out "$here/cert.pem" 2>/dev/null
  local digest
  digest=$(openssl x509 -in "$here/cert.pem" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1)
  cat >"$here/zones/root.zone" <<Z
. 300 SOA ns.test. hostmaster.test. 1 3600 600 86400 300
. 300 NS ns.test.
ns.test. 300 A $address
mail.example.test. 300 A 192.0.2.1
$(for domain in good bad plain; do
    echo "$domain.test. 300 MX 10 mx.$domain.test."
    echo "mx.$domain.test. 300 A $address"
  done)
_25._tcp.mx.good.test. 300 TLSA 3 1 1 $digest
_25._tcp.mx.bad.test. 300 TLSA 3 1 1 $(printf '%064d' 0)
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
virtual_mailbox_domains = good.test, bad.test, plain.test
virtual_mailbox_base = $here/mail
virtual_mailbox_maps = inline:{ bob@good.test=bob/, bob@bad.test=bad/, bob@plain.test=plain/ }
virtual_uid_maps = static:$(id -u postern-world)
virtual_gid_maps = static:$(id -g postern-world)
smtpd_tls_cert_file = $here/cert.pem
smtpd_tls_key_file = $here/key.pem
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
C
  postfix -c "$here/postfix" start >"$here/postfix.start" 2>&1 || { cat "$here/postfix.start" >&2; exit 1; }
  keymgr -c "$here/dns/knot.conf" . ds
}

stop() {
  postfix -c "$here/postfix" stop >/dev/null 2>&1 || true
  [[ ! -e $here/dns/knot.pid ]] || kill "$(cat "$here/dns/knot.pid")" || true
}

"$verb" "${@:3}"
