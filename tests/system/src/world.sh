#!/bin/bash
# The rest of the world as a sender meets it: a signed DNS with a root of its own, and Debian's Postfix behind it.
#
#   world.sh start DIRECTORY ADDRESS   in the network namespace of the world; prints DS of the root zone
#   world.sh accept DIRECTORY          Postfix takes mail for grey@good.test and refused@good.test too
#   world.sh path DIRECTORY ADDRESS MODE   what stands before chance.test, dane.test and policy.test passes everything on, or meddles: path.py
#   world.sh misbehave DIRECTORY ADDRESS   hosts that misbehave (peer.py), each of a domain and an address of its own
#   world.sh end DIRECTORY PROGRAM     ends "web", "path" or "peers"
#   world.sh dns-stop DIRECTORY ADDRESS, and dns-start: nobody answers for the DNS, and somebody does
#   world.sh stop DIRECTORY
#
# good.test's TLSA record is that of the certificate that Postfix shows, bad.test's is another one, plain.test has none, and the signatures
# of forged.test's do not hold. sts.test and wrong.test have MTA-STS policies to enforce; the certificate, of an authority of the world's
# own (ca.pem), names only the host of the first. bogus.test says that it is signed, and is not. old.test takes seven bits and ASCII alone.
# far.test is in no DNS: smtp.relay.test takes mail for it, at ports 587 (SCRAM-SHA-256 and PLAIN) and 465 (LOGIN), from whoever logs in.
set -eu
verb=$1 here=$2

# host DOMAIN ADDRESS: its mail host.
host() { printf '%s. 300 MX 10 mx.%s.\nmx.%s. 300 A %s\n' "$1.test" "$1.test" "$1.test" "$2"; }

# peers BASE: domains whose hosts misbehave, with their addresses.
peers() {
  local number=11 name
  for name in cut silent drip stuck line lines endless; do
    echo "$name $1.$number"
    number=$((number + 1))
  done
}

zones() {
  local address=$1 base=${1%.*} digest
  digest=$(openssl x509 -in "$here/cert.pem" -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1)
  cat >"$here/zones/root.zone" <<Z
. 300 SOA ns.test. hostmaster.test. 1 3600 600 86400 300
. 300 NS ns.test.
ns.test. 300 A $address
mail.example.test. 300 A 192.0.2.1
smtp.relay.test. 300 A $address
$(for domain in good bad plain sts wrong forged; do host $domain "$address"; done)
$(for domain in chance dane policy; do host $domain "$base.3"; done)
$(host old "$base.4")
$(peers "$base" | while read -r domain at; do host "$domain" "$at"; done)
$(for domain in sts wrong policy; do
    echo "mta-sts.$domain.test. 300 A $address"
    echo "_mta-sts.$domain.test. 300 TXT \"v=STSv1; id=1;\""
  done)
bogus.test. 300 NS ns.test.
bogus.test. 300 DS 12345 13 2 $(printf '%064d' 1)
_tcp.mx.forged.test. 300 NS ns.test.
_tcp.mx.forged.test. 300 DS 12345 13 2 $(printf '%064d' 1)
good.test. 300 TXT "v=spf1 mx -all"
_dmarc.good.test. 300 TXT "v=DMARC1; p=reject"
plain.test. 300 TXT "v=spf1 include:loop.plain.test -all"
loop.plain.test. 300 TXT "v=spf1 redirect=loop.plain.test"
_dmarc.plain.test. 300 TXT "v=DMARC1; p=reject"
old.test. 300 TXT "v=spf1 ~all"
_dmarc.old.test. 300 TXT "v=DMARC1; p=quarantine"
_25._tcp.mx.good.test. 300 TLSA 3 1 1 $digest
_25._tcp.mx.dane.test. 300 TLSA 3 1 1 $digest
_25._tcp.mx.bad.test. 300 TLSA 3 1 1 $(printf '%064d' 0)
Z
  cat >"$here/zones/bogus.zone" <<Z
bogus.test. 300 SOA ns.test. hostmaster.test. 1 3600 600 86400 300
bogus.test. 300 NS ns.test.
bogus.test. 300 MX 10 mx.plain.test.
Z
  cat >"$here/zones/forged.zone" <<Z
_tcp.mx.forged.test. 300 SOA ns.test. hostmaster.test. 1 3600 600 86400 300
_tcp.mx.forged.test. 300 NS ns.test.
_25._tcp.mx.forged.test. 300 TLSA 3 1 1 $digest
Z
}

names() {
  cat >"$here/dns/knot.conf" <<C
server:
    listen: [ $1@53 ]
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
  - domain: _tcp.mx.forged.test.
    storage: $here/zones
    file: forged.zone
C
  dns-start "$1"
}

# Who may log in at the smarthost, each by mechanisms of its own. Debian has Postfix look in this folder and no other.
logins() {
  local name mechanisms
  mkdir -p "$here/postfix/sasl"
  while read -r name mechanisms; do
    printf 'pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: %s/postfix/sasl/sasldb2\nmech_list: %s\n' "$here" "$mechanisms" >"$here/postfix/sasl/$name.conf"
  done <<<$'smtpd SCRAM-SHA-256 PLAIN\nlogin LOGIN'
  for name in postern second; do
    printf %s "the password of $name" | saslpasswd2 -p -c -f "$here/postfix/sasl/sasldb2" -u relay.test "$name"
  done
  chgrp -R postfix "$here/postfix/sasl"
  chmod -R g+rX "$here/postfix/sasl"
}

mail() {
  local address=$1 base=${1%.*}
  cp /etc/postfix/dynamicmaps.cf /etc/postfix/postfix-files /etc/postfix/master.cf "$here/postfix/"
  cp -r /etc/postfix/postfix-files.d /etc/postfix/dynamicmaps.cf.d "$here/postfix/" 2>/dev/null || true
  # Nothing runs in a chroot, which would have to be furnished.
  sed -i -E 's/^([a-z-]+ +(inet|unix|fifo|pass) +[-yn]+ +[-yn]+ +)[-yn]/\1n/' "$here/postfix/master.cf"
  local submission="-o smtpd_sasl_auth_enable=yes -o smtpd_recipient_restrictions= -o smtpd_relay_restrictions=permit_sasl_authenticated,reject"
  cat >>"$here/postfix/master.cf" <<C
$base.4:25 inet n - n - - smtpd -o smtpd_discard_ehlo_keywords=8bitmime,smtputf8,chunking
$address:587 inet n - n - - smtpd $submission -o smtpd_tls_security_level=encrypt
$address:465 inet n - n - - smtpd $submission -o smtpd_tls_wrappermode=yes -o smtpd_sasl_path=login
C
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
virtual_mailbox_domains = good.test, bad.test, plain.test, sts.test, wrong.test, bogus.test, forged.test, chance.test, dane.test, policy.test, old.test, far.test
virtual_mailbox_base = $here/mail
virtual_mailbox_maps = inline:{ bob@good.test=bob/, bob@bad.test=bad/, bob@plain.test=plain/, bob@sts.test=sts/, bob@wrong.test=wrong/, grey@good.test=grey/,
    refused@good.test=refused/, büro@good.test=utf8/, bob@forged.test=forged/, bob@chance.test=chance/, bob@dane.test=dane/, bob@policy.test=policy/,
    bob@old.test=old/, bob@far.test=far/ }
virtual_uid_maps = static:$(id -u postern-world)
virtual_gid_maps = static:$(id -g postern-world)
smtpd_tls_cert_file = $here/cert.pem
smtpd_tls_key_file = $here/key.pem
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_tls_auth_only = yes
smtpd_sasl_local_domain = relay.test
smtpd_sasl_authenticated_header = yes
smtpd_recipient_restrictions = check_recipient_access inline:{
    { grey@good.test = 451 4.7.1 greylisted, come back later }, { refused@good.test = 550 5.7.1 not from you } }
C
  postfix -c "$here/postfix" start >"$here/postfix.start" 2>&1 || { cat "$here/postfix.start" >&2; exit 1; }
}

start() {
  local address=$1 base=${1%.*} number
  mkdir -p "$here"/{dns,zones,postfix,spool,data,mail}
  chmod 755 "$here" "$here"/mail
  for number in 3 4 $(peers "$base" | sed 's/.*\.//'); do ip addr add "$base.$number/24" dev wire0; done
  local new=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30) named=DNS:mx.good.test name
  for name in mx.sts mx.policy smtp.relay mta-sts.{sts,wrong,policy}; do named+=,DNS:$name.test; done
  openssl req -x509 "${new[@]}" -subj "/CN=the world's authority" -keyout "$here/ca.key" -out "$here/ca.pem" 2>/dev/null
  openssl req -x509 "${new[@]}" -subj /CN=mx.good.test -CA "$here/ca.pem" -CAkey "$here/ca.key" -addext basicConstraints=critical,CA:FALSE \
    -addext "subjectAltName=$named" -keyout "$here/key.pem" -out "$here/cert.pem" 2>/dev/null
  zones "$address"
  names "$address"
  getent passwd postern-world >/dev/null || useradd --system --no-create-home --shell /usr/sbin/nologin postern-world
  chown postern-world: "$here/mail"
  chown postfix "$here/data"
  logins
  mail "$address"
  /usr/bin/python3 "$here/web.py" "$address" "$here" 2>"$here/web.log" >"$here/web.pid"
  keymgr -c "$here/dns/knot.conf" . ds
}

dns-start() {
  local address=$1
  knotd -c "$here/dns/knot.conf" -d >>"$here/dns/log" 2>&1
  for _ in $(seq 100); do
    kdig +short +timeout=1 +retry=0 @"$address" . DNSKEY | grep -q . && break
  done
}

dns-stop() {
  local pid
  pid=$(cat "$here/dns/knot.pid")
  kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
}

accept() {
  postconf -c "$here/postfix" -e smtpd_recipient_restrictions=
  # A reload leaves the connections that are open as they were.
  postfix -c "$here/postfix" stop >/dev/null 2>&1
  postfix -c "$here/postfix" start >/dev/null 2>&1
}

path() {
  end path
  /usr/bin/python3 "$here/path.py" "${1%.*}.3" "$1" "$2" "$here/path.seen" 2>"$here/path.log" >"$here/path.pid"
}

misbehave() {
  peers "${1%.*}" | xargs /usr/bin/python3 "$here/peer.py" "$here" 2>"$here/peers.log" >"$here/peers.pid"
}

end() {
  [[ -s $here/$1.pid ]] || return 0
  kill "$(cat "$here/$1.pid")" || true
  rm "$here/$1.pid"
}

stop() {
  postfix -c "$here/postfix" stop >/dev/null 2>&1 || true
  [[ ! -e $here/dns/knot.pid ]] || kill "$(cat "$here/dns/knot.pid")" || true
  for program in web path peers; do end $program; done
}

"$verb" "${@:3}"
